"""The index on disk: replacing, several processes, kills and damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from pyoxigraph import Store

from yprov_mlflow.prov.errors import GraphError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.graph import handover, index_folder, run_table
from yprov_mlflow.prov.graph.index_folder import IndexFolder
from yprov_mlflow.prov.graph.run_rows import MARKS, ROWS
from yprov_mlflow.prov.layout import GRAPH, INCOMING, INDEX_LOCK, TAKEN
from yprov_mlflow.prov.model.document import Document

LABELS = "SELECT ?label { ?run a prov:Activity ; rdfs:label ?label } ORDER BY ?label"

WRITER = """
import sys
from pathlib import Path
from yprov_mlflow.prov.graph import index_folder
from yprov_mlflow.prov.model.document import Document

index_folder.TURN_BYTES = 1  # a turn for each document
folder, first = Path(sys.argv[1]), int(sys.argv[2])

def document(number):
    namespace = f"urn:uuid:00000000-0000-0000-0000-{number:012d}#"
    return Document({"run": namespace}, {"activity": {"run:run": {"prov:label": f"run {number}"}}})

index_folder.IndexFolder(folder).add(document(number) for number in range(first, first + 10))
"""


def run(number: int, label: str = "") -> Document:
    namespace = f"urn:uuid:00000000-0000-0000-0000-{number:012d}#"
    record = {"prov:label": label or f"run {number}", "prov:type": "mlf:Run"}
    prefixes = {"run": namespace, "mlf": "https://w3id.org/yprov/mlflow#"}
    return Document(prefixes, {"activity": {"run:run": record}})


def names(index: IndexFolder) -> list[object]:
    return sorted(str(row["name"]) for row in run_table.runs(index.graph()).rows)


def labels(index: IndexFolder) -> list[str]:
    return [row[0].value for row in index.graph().select(LABELS).rows]


@pytest.fixture
def index(tmp_path: Path) -> IndexFolder:
    return IndexFolder(tmp_path / "index")


def leave(index: IndexFolder, number: int, label: str = "") -> None:
    handover.hand_over(index.folder, f"{number:032x}", prov_json.dumps(run(number, label)))


def test_the_same_documents_again_change_nothing(index: IndexFolder) -> None:
    documents = [run(1), run(2)]
    assert index.add(documents)[:3] == (2, 0, 2)
    assert index.add(documents)[:3] == (0, 2, 0)
    assert labels(index) == ["run 1", "run 2"]


def test_a_document_replaces_that_of_the_same_run(index: IndexFolder) -> None:
    index.add([run(1), run(2)])
    index.add([run(1, "renamed")])
    assert labels(index) == names(index) == ["renamed", "run 2"]


def test_parts_of_a_run_in_several_turns_are_kept(
    index: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_folder, "TURN_BYTES", 1)
    index.add([run(1, "before")])
    updates: list[int] = []
    parts = [run(1, f"part {number}") for number in range(5)]
    assert index.add(parts, lambda update: updates.append(update.added))[:3] == (5, 0, 5)
    assert labels(index) == [f"part {number}" for number in range(5)]
    assert updates[:5] == [1, 2, 3, 4, 5]


def test_an_index_without_rows_is_made_again(index: IndexFolder) -> None:
    index.add([run(1)])
    store = Store(str(index.folder / GRAPH))
    for quad in list(store.quads_for_pattern(None, ROWS, None, MARKS)):
        store.remove(quad)
    store.flush()
    del store
    with pytest.raises(GraphError, match="index --rebuild"):
        run_table.runs(index.graph())


def test_documents_of_one_run_in_one_call_are_parts_of_it(index: IndexFolder) -> None:
    index.add([run(1, "first machine"), run(1, "second machine")])
    assert labels(index) == ["first machine", "second machine"]


def test_documents_that_wait_are_added_once(index: IndexFolder) -> None:
    leave(index, 1)
    leave(index, 2)
    leave(index, 2, "later")
    assert handover.waiting(index.folder) == 2
    assert index.drain().added == 2
    assert handover.waiting(index.folder) == 0
    assert labels(index) == ["later", "run 1"]
    assert index.drain().added == 0


def test_a_kill_before_the_digest_is_noted_costs_nothing(index: IndexFolder) -> None:
    leave(index, 1)
    # As a process leaves it that is killed in the middle: the file taken, half of the graph there.
    (index.folder / TAKEN).mkdir()
    (file,) = (index.folder / INCOMING).iterdir()
    file.rename(index.folder / TAKEN / file.name)
    stale = run(1, "half of it")
    index.add([stale])
    digest = next(index.graph().store.quads_for_pattern(None, None, None, MARKS))
    index._in_turn(1, lambda store: store.remove(digest))
    assert index.drain().added == 1
    assert labels(index) == ["run 1"]


def test_processes_write_at_once_while_others_read(index: IndexFolder) -> None:
    command = [sys.executable, "-c", WRITER, str(index.folder)]
    index.add([run(0)])
    writers = [subprocess.Popen([*command, str(first)]) for first in (10, 20, 30)]
    while any(writer.poll() is None for writer in writers):
        assert "run 0" in labels(index)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(labels(index)) == sorted(["run 0", *(f"run {n}" for n in range(10, 40))])


def test_a_question_does_not_wait_for_a_long_writer(index: IndexFolder) -> None:
    index.add([run(1)])
    leave(index, 2)
    with FileLock(str(index.folder / INDEX_LOCK)):
        (problem,) = index.drain(timeout_s=0.05).problems
        assert "1 documents are not in the index yet" in problem
    assert labels(index) == ["run 1"]
    assert index.drain().added == 1


def test_a_damaged_waiting_document_is_named_and_the_others_are_added(index: IndexFolder) -> None:
    leave(index, 1)
    leave(index, 2)
    file = sorted((index.folder / INCOMING).iterdir())[0]
    file.write_bytes(file.read_bytes()[:20])
    (problem,) = index.drain().problems
    assert file.name in problem
    assert labels(index) == ["run 2"]


def test_a_damaged_index_names_the_cure_and_can_be_cleared(index: IndexFolder) -> None:
    index.add([run(1)])
    (index.folder / GRAPH / "CURRENT").write_bytes(b"nonsense")
    with pytest.raises(GraphError, match="index --rebuild"):
        index.graph()
    with pytest.raises(GraphError, match="index --rebuild"):
        index.add([run(2)])
    index.clear()
    index.add([run(2)])
    assert labels(index) == ["run 2"]


def test_without_an_index_the_cure_is_named(index: IndexFolder) -> None:
    with pytest.raises(GraphError, match="yprov-mlflow index"):
        index.graph()


def test_documents_are_removed_by_name(index: IndexFolder) -> None:
    index.add([run(1), run(2)])
    graphs = [iri for iri in index.digests() if "000000000002" in iri]
    assert index.remove([*graphs, "urn:absent"]) == 1
    assert labels(index) == names(index) == ["run 1"]
