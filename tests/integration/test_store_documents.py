"""``recover`` writes a document for each store, with all objects outside of runs."""

from __future__ import annotations

import json
from pathlib import Path

from support.readers.documents import RunDocument

from integration.conftest import Sandbox, Server

REGISTER = """
import sys, mlflow
for name in sys.argv[1:]:
    mlflow.MlflowClient().create_registered_model(name)
"""


def _recover(sandbox: Sandbox, *words: str) -> dict[str, dict[str, str]]:
    """Run ``recover`` and return its result for each document, by path."""
    results = json.loads(sandbox.yprov("recover", "--json", *words, uri=sandbox.sqlite).out)
    return {outcome["where"]: outcome for outcome in results}


def _documents(folder: Path) -> list[Path]:
    """Return the documents in a folder of stores, and check for other files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in paths} <= {"prov.json"}
    return paths


def _models(path: Path) -> set[str]:
    """Validate a document and return the names of its registered models."""
    models = RunDocument.load(path).of_type("mlf:RegisteredModel").values()
    return {str(record["prov:label"]) for record in models}


def test_recover_writes_document_of_model_registry(sandbox: Sandbox) -> None:
    uri = f"yprov+{sandbox.sqlite}"
    sandbox.train(REGISTER, uri, "iris")
    stores = sandbox.journal / "stores"
    assert not stores.exists()

    [(where, outcome)] = _recover(sandbox).items()
    [document] = _documents(stores)
    assert where == str(document)
    assert (outcome["state"], outcome["reason"]) == ("written", "")
    assert outcome["run_id"] == f"store:{document.parent.name}"
    assert document.parent.parent == stores
    assert _models(document) == {"iris"}
    first = document.read_bytes()

    [outcome] = _recover(sandbox).values()
    assert outcome["state"] == "current"
    [outcome] = _recover(sandbox, "--again").values()
    assert outcome["state"] == "written"
    assert document.read_bytes() == first
    document.unlink()
    [outcome] = _recover(sandbox).values()
    assert outcome["state"] == "written"
    assert document.read_bytes() == first

    sandbox.train(REGISTER, uri, "wine")
    [outcome] = _recover(sandbox).values()
    assert outcome["state"] == "written"
    assert _documents(stores) == [document]
    assert _models(document) == {"iris", "wine"}


def test_failed_write_keeps_previous_document(sandbox: Sandbox) -> None:
    sandbox.train(REGISTER, f"yprov+{sandbox.sqlite}", "iris")
    _recover(sandbox)
    [document] = _documents(sandbox.journal / "stores")
    before = document.read_bytes()
    sandbox.train(REGISTER, f"yprov+{sandbox.sqlite}", "wine")
    # Coverage measurement would write files, too, and exceed the limit; so would cached bytecode,
    # which would then be cut off for all others.
    unlimited = "unset COVERAGE_PROCESS_START; export PYTHONDONTWRITEBYTECODE=1"
    limit = f"{unlimited}; ulimit -f {len(before) // 1024 - 1}"
    command = ("bash", "-c", f"{limit}; exec yprov-mlflow recover")
    done = sandbox.call(*command, uri=sandbox.sqlite, check=False)
    assert done.code == 1
    assert "failed   store:" in done.out and "File too large" in done.out
    assert document.read_bytes() == before
    assert _documents(sandbox.journal / "stores") == [document]


def test_server_and_client_write_separate_store_documents(
    sandbox: Sandbox, app_server: Server
) -> None:
    shared = {"YPROV_MLFLOW_DIR": str(app_server.journal)}
    sandbox.run(REGISTER, app_server.uri, "logged by local client", YPROV_MLFLOW="1", **shared)
    sandbox.train(REGISTER, app_server.uri, "logged by remote client")
    sandbox.call("yprov-mlflow", "recover", uri=app_server.uri, **shared)
    [client] = _documents(app_server.journal / "stores")
    [server] = _documents(app_server.journal / "server" / "stores")
    assert client.parent.name == server.parent.name
    assert _models(client) == {"logged by local client"}
    assert _models(server) == {"logged by local client", "logged by remote client"}
