"""Documents to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from yprov_mlflow.prov.events import MetricsLogged, ParamsLogged, RunCreated, RunUpdated, TagsSet
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

EXAMPLE = Path(__file__).parents[2] / "data" / "reference" / "run-example.json"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
START_MS = 1_767_322_800_000


def run_document(number: int) -> Document:
    """Return the document of a small run in a store."""
    run_id = f"{number:032x}"

    def event(cls, *fields):
        event.seq += 1
        return cls(run_id, "store", event.seq, 0, *fields)

    event.seq = -1
    return translate(
        [
            event(RunCreated, "1", "exp", f"run {number}", "ada", START_MS, "file:///a", {}, STORE),
            event(RunUpdated, "FINISHED", START_MS + 5000),
            event(ParamsLogged, {"lr": "0.01", "opt/type: x": "adam"}),
            event(TagsSet, {"note": 'two\nlines, "quoted" and \\ ☃'}),
            event(
                MetricsLogged, ["loss"] * 2, [0.5, float("nan")], [START_MS, START_MS + 1], [0, 1]
            ),
        ]
    )


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    return [run_document(number) for number in (1, 2, 3)]


@pytest.fixture(scope="session")
def example() -> Document:
    """Return a document with nearly every construct of the mapping."""
    return prov_json.loads(EXAMPLE.read_bytes())
