"""The code of a run in its document: one plan, with the kept files as members."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.events import (
    CODE_FACTS,
    NOTEBOOK_FACTS,
    FactsCollected,
    RunCreated,
    RunUpdated,
    SessionStarted,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

SHA256 = "a" * 64


def document(**facts: dict[str, Any]) -> Document:
    created = ("0", "Default", "fit", "ada", 1000, "/a", {}, {"uuid": "0" * 32, "uri": "x"})
    events = [
        SessionStarted("r", "s", 0, 10**9, {"argv": ["a.py"]}),
        RunCreated("r", "s", 1, 10**9 + 1, *created),
        *(
            FactsCollected("r", "s", 2 + number, 10**9 + 2 + number, name, found)
            for number, (name, found) in enumerate(facts.items())
        ),
        RunUpdated("r", "s", 9, 10**9 + 9, "FINISHED", 1001, None, None),
    ]
    return translate(events)


def plans(document: Document) -> dict[str, Any]:
    entities = document.records["entity"]
    return {i: e for i, e in entities.items() if "schema:SoftwareSourceCode" in str(e)}


def kept(sha256: str = SHA256) -> dict[str, Any]:
    files = [{"path": "files/new.py", "sha256": sha256, "size": 3, "withheld": True}]
    return {"files": files, "digest": sha256[:16], "invocation": {"kind": "script"}}


def test_kept_files_are_members_of_the_code() -> None:
    result = document(git={"commit": "c" * 40}, **{CODE_FACTS: kept()})
    ((code, record),) = plans(result).items()
    assert record["mlf:keptIn"] == f"provenance/code/{'a' * 16}"
    members = result.records["hadMember"].values()
    (member,) = (member for member in members if member["prov:collection"] == code)
    file = result.records["entity"][member["prov:entity"]]
    assert file["mlf:path"] == "files/new.py"
    assert file["mlf:secretsWithheld"]["$"] == "true"
    contents = [s["prov:generalEntity"] for s in result.records["specializationOf"].values()]
    assert f"sha256:{SHA256}" in contents


def test_code_is_identified_by_the_kept_files_as_well() -> None:
    git = {"commit": "c" * 40}
    alone = document(git=git)
    first, same, other = (document(git=git, **{CODE_FACTS: kept(c * 64)}) for c in "aab")
    assert plans(first).keys() == plans(same).keys()
    assert len({*plans(alone), *plans(first), *plans(other)}) == 3


def test_cells_are_kept_beside_the_code() -> None:
    cells = {**kept("b" * 64), "first_cell": 2, "last_cell": 5}
    result = document(**{CODE_FACTS: kept(), NOTEBOOK_FACTS: cells})
    ((_, record),) = plans(result).items()
    assert record["mlf:keptIn"] == [f"provenance/code/{c * 16}" for c in "ab"]
    (session,) = (a for a in result.records["activity"].values() if "mlf:firstCell" in a)
    assert (session["mlf:firstCell"]["$"], session["mlf:lastCell"]["$"]) == ("2", "5")
    assert session["mlf:invocation"] == '{"kind":"script"}'


def test_a_collector_that_failed_leaves_its_reason() -> None:
    result = document(**{CODE_FACTS: {"files": [], "problem": "git took too long"}})
    assert plans(result) == {}
    assert "git took too long" in str(result.records["entity"])
