"""Present values of aliases and versions that several documents changed."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.events import SessionStarted, StoreCalled
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.graph.thing_names import resolve
from yprov_mlflow.prov.graph.walk import walk
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

STORE_UUID = "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff"
STORE = {"uuid": STORE_UUID, "uri": "sqlite:///m.db"}
ALIAS = {"name": "clf", "alias": "champion"}
START_NS = 1_767_322_800 * 10**9


def document_of(run: str, *calls: tuple[int, str, dict[str, Any]]) -> Document:
    """Return the document of a run, or of the store, with calls at these seconds."""
    owner = run or store_id(STORE_UUID)
    session = (run or "0")[0] * 16
    events: list[Any] = [SessionStarted(owner, session, 0, START_NS, {"store": STORE})]
    for second, method, arguments in calls:
        seq, time_ns = len(events), START_NS + second * 10**9
        result = arguments if method == "create_model_version" else None
        events.append(StoreCalled(owner, session, seq, time_ns, method, {}, arguments, result))
    return translate(events)


def version(second: int, model_id: str) -> tuple[int, str, dict[str, Any]]:
    fields = {"name": "clf", "version": 1, "source": "s", "model_id": model_id}
    return second, "create_model_version", fields


def set_alias(second: int) -> tuple[int, str, dict[str, Any]]:
    return second, "set_registered_model_alias", {**ALIAS, "version": 1}


def aliases(*documents: Document) -> tuple[list[str], list[str]]:
    """Return the aliases of version 1, and those that it had."""
    graph = LocalGraph.in_memory(documents)
    start = resolve(graph, "models:/clf/1").records
    [thing] = walk(graph, start, "up", 0).things.values()
    return thing.details.get("aliases", []), thing.details.get("former_aliases", [])


def test_alias_that_another_run_removed_names_nothing() -> None:
    removal = (20, "delete_registered_model_alias", ALIAS)
    first = document_of("1" * 32, version(5, "m-1"), set_alias(10))
    assert aliases(first) == (["champion"], [])
    assert aliases(first, document_of("2" * 32, removal)) == ([], ["champion"])
    later = document_of("3" * 32, set_alias(30))
    assert aliases(first, document_of("2" * 32, removal), later) == (["champion"], [])


def test_version_of_a_model_that_was_registered_again_has_one_origin() -> None:
    delete = (20, "delete_registered_model", {"name": "clf"})
    documents = {
        "several": (
            document_of("1" * 32, version(10, "m-1")),
            document_of("", delete),
            document_of("2" * 32, version(30, "m-2")),
        ),
        "one": (document_of("", version(10, "m-1"), delete, version(30, "m-2")),),
    }
    for kind, part in documents.items():
        graph = LocalGraph.in_memory(part)
        lineage = walk(graph, resolve(graph, "models:/clf/1").records, "up")
        models = [thing.details.get("model_id") for thing in lineage.things.values()]
        assert [model for model in models if model] == ["m-2"], kind
