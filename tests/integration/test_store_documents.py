"""What belongs to no run: ``recover`` writes a document of it for each store."""

from __future__ import annotations

import json
from pathlib import Path

from integration.conftest import Server, Workplace
from integration.documents import RunDocument

REGISTER = """
import sys, mlflow
for name in sys.argv[1:]:
    mlflow.MlflowClient().create_registered_model(name)
"""


def _recover(workplace: Workplace, *words: str) -> dict[str, dict[str, str]]:
    """Run the command; give what it says of each document, by where that is."""
    made = json.loads(workplace.yprov("recover", "--json", *words, uri=workplace.sqlite).out)
    return {outcome["where"]: outcome for outcome in made}


def _documents(folder: Path) -> list[Path]:
    """Give all files in a folder of stores, which are nothing but their documents."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in found} <= {"prov.json"}
    return found


def _models(path: Path) -> set[str]:
    """Give the names of the registered models that a document speaks of; it must be valid."""
    models = RunDocument.load(path).of_type("mlf:RegisteredModel").values()
    return {str(record["prov:label"]) for record in models}


def test_the_registry_has_its_document(workplace: Workplace) -> None:
    uri = f"yprov+{workplace.sqlite}"
    workplace.run(REGISTER, uri, "iris")
    stores = workplace.journal / "stores"
    assert not stores.exists()

    [(where, outcome)] = _recover(workplace).items()
    [document] = _documents(stores)
    assert where == str(document)
    assert (outcome["state"], outcome["reason"]) == ("written", "")
    assert outcome["run_id"] == f"store:{document.parent.name}"
    assert document.parent.parent == stores
    assert _models(document) == {"iris"}
    first = document.read_bytes()

    [outcome] = _recover(workplace).values()
    assert outcome["state"] == "current"
    [outcome] = _recover(workplace, "--again").values()
    assert outcome["state"] == "written"
    assert document.read_bytes() == first
    document.unlink()
    [outcome] = _recover(workplace).values()
    assert outcome["state"] == "written"
    assert document.read_bytes() == first

    workplace.run(REGISTER, uri, "wine")
    [outcome] = _recover(workplace).values()
    assert outcome["state"] == "written"
    assert _documents(stores) == [document]
    assert _models(document) == {"iris", "wine"}


def test_a_document_that_cannot_be_written_leaves_the_earlier_one(workplace: Workplace) -> None:
    workplace.run(REGISTER, f"yprov+{workplace.sqlite}", "iris")
    _recover(workplace)
    [document] = _documents(workplace.journal / "stores")
    before = document.read_bytes()
    workplace.run(REGISTER, f"yprov+{workplace.sqlite}", "wine")
    # Measuring coverage would write files of its own.
    limit = f"unset COVERAGE_PROCESS_START; ulimit -f {len(before) // 1024 - 1}"
    command = ("bash", "-c", f"{limit}; exec yprov-mlflow recover")
    done = workplace.call(*command, uri=workplace.sqlite, check=False)
    assert done.code == 1
    assert "failed   store:" in done.out and "File too large" in done.out
    assert document.read_bytes() == before
    assert _documents(workplace.journal / "stores") == [document]


def test_server_and_client_each_tell_what_they_saw(
    workplace: Workplace, app_server: Server
) -> None:
    shared = {"YPROV_MLFLOW_DIR": str(app_server.journal)}
    workplace.run(REGISTER, app_server.uri, "of the client here", YPROV_MLFLOW="1", **shared)
    workplace.run(REGISTER, app_server.uri, "of a client elsewhere")
    workplace.call("yprov-mlflow", "recover", uri=app_server.uri, **shared)
    [client] = _documents(app_server.journal / "stores")
    [server] = _documents(app_server.journal / "server" / "stores")
    assert client.parent.name == server.parent.name
    assert _models(client) == {"of the client here"}
    assert _models(server) == {"of the client here", "of a client elsewhere"}
