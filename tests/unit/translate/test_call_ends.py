"""Calls that end, move or replace objects of a store without naming them all."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.events import SessionStarted, StoreCalled
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.translate.inverse import events_of

STORE = store_id("9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff")
START_NS = 1_767_322_800 * 10**9
SESSION = "a" * 16
IRIS = "store:model/iris"
NAMED = {"name": "iris"}


def document_of(*calls: tuple[Any, ...]) -> Document:
    """Return the document of calls: method, arguments, and perhaps result and state before."""
    events: list[Any] = [SessionStarted(STORE, SESSION, 0, START_NS, {"user": "alice"})]
    for seq, (method, arguments, *others) in enumerate(calls, 1):
        time_ns = START_NS + seq * 10**9
        events.append(StoreCalled(STORE, SESSION, seq, time_ns, method, {}, arguments, *others))
    return translate(events)


def current(document: Document, base: str) -> list[Any]:
    """Return the values of a property that have not ended."""
    ended = {r["prov:entity"] for r in document.records.get("wasInvalidatedBy", {}).values()}
    entities = document.records["entity"].items()
    return [r.get("prov:value") for i, r in entities if i.startswith(f"{base}/") and i not in ended]


def version(number: int, model_id: str = "") -> tuple[Any, ...]:
    arguments = {**NAMED, "source": "s3://x", "model_id": model_id, "tags": []}
    return "create_model_version", arguments, {**NAMED, "version": number}


def alias(number: int, before: Any = None) -> tuple[Any, ...]:
    arguments = {**NAMED, "alias": "champion", "version": str(number)}
    return "set_registered_model_alias", arguments, None, before


def transition(number: int, stage: str, before: Any = None) -> tuple[Any, ...]:
    arguments = {**NAMED, "version": number, "stage": stage, "archive_existing_versions": True}
    return "transition_model_version_stage", arguments, None, before


CREATE = ("create_registered_model", {**NAMED, "tags": [{"key": "k", "value": "v"}]}, NAMED)
DELETE = ("delete_registered_model", NAMED)


def test_nothing_of_a_deleted_model_is_left_for_one_of_its_name() -> None:
    create = ("create_registered_model", {**NAMED, "description": "text"}, NAMED)
    document = document_of(
        CREATE,
        create,
        version(1, "m-1"),
        alias(1),
        transition(1, "Staging"),
        DELETE,
        ("create_registered_model", NAMED, NAMED),
        version(1, "m-2"),
    )
    properties = ("tag/k", "property/description", "alias/champion", "version/1/stage")
    assert [current(document, f"{IRIS}/{prop}") for prop in properties] == [[]] * len(properties)
    assert len(current(document, f"{IRIS}/version/1/entry")) == 1
    derived = {
        (r["prov:generatedEntity"].split("/")[-2], r["prov:usedEntity"])
        for r in document.records["wasDerivedFrom"].values()
        if "logged-model" in r["prov:usedEntity"]
    }
    # The entity exists since its first creation, so the new entry derives from the new model.
    assert derived == {
        ("version", "store:logged-model/m-1"),
        ("entry", "store:logged-model/m-2"),
    }


def test_versions_that_other_documents_made_end_with_their_model() -> None:
    state = {"aliases": {"champion": "3"}, "tags": {"k": "v"}, "description": None}
    versions = [{"version": "3", "stage": "Staging", "tags": {"t": "1"}, "description": "text"}]
    document = document_of((*DELETE, None, {**state, "versions": versions}))
    ended = {r["prov:entity"] for r in document.records["wasInvalidatedBy"].values()}
    bases = {entity.removeprefix(f"{IRIS}/").rpartition("/")[0] for entity in ended}
    of_version = ("entry", "stage", "tag/t", "property/description")
    of_model = {"alias/champion", "tag/k", "entry"}
    assert bases == of_model | {f"version/3/{part}" for part in of_version}


def test_properties_that_other_documents_set_end_with_their_version() -> None:
    versions = [{"version": "1", "stage": "Staging", "tags": {"t": "1"}, "description": None}]
    before = {"aliases": {}, "versions": versions}
    document = document_of(
        ("delete_model_version", {**NAMED, "version": 1}, None, before), CREATE, version(1)
    )
    for prop in ("stage", "tag/t"):
        assert current(document, f"{IRIS}/version/1/{prop}") == []


def test_renamed_model_keeps_everything_under_its_new_name() -> None:
    document = document_of(
        CREATE,
        version(1),
        alias(1),
        transition(1, "Staging"),
        ("rename_registered_model", {**NAMED, "new_name": "rose"}),
    )
    rose = "store:model/rose"
    for prop, value in (("tag/k", "v"), ("alias/champion", "1"), ("version/1/stage", "Staging")):
        assert current(document, f"{IRIS}/{prop}") == []
        assert current(document, f"{rose}/{prop}") == [value]
    pairs = {
        (r["prov:generatedEntity"], r["prov:usedEntity"])
        for r in document.records["wasDerivedFrom"].values()
    }
    assert (f"{rose}/version/1", f"{IRIS}/version/1") in pairs


def test_transition_archives_versions_of_other_documents() -> None:
    before = {"versions": [{"version": "1", "stage": "Production"}, {"version": "2"}]}
    document = document_of(transition(2, "Production", before))
    assert current(document, f"{IRIS}/version/1/stage") == ["Archived"]
    assert current(document, f"{IRIS}/version/2/stage") == ["Production"]


def test_alias_that_another_document_moved_has_no_end_here() -> None:
    document = document_of(alias(1, {"aliases": {}}), alias(3, {"aliases": {"champion": "2"}}))
    assert current(document, f"{IRIS}/alias/champion") == ["1", "3"]
    [end] = document.records["wasInvalidatedBy"].values()
    ended = document.records["entity"][end["prov:entity"]]
    assert ended["mlf:target"]["$"] == f"{IRIS}/version/2"


def test_state_before_a_call_survives_the_way_back() -> None:
    before = {"aliases": {"champion": "2"}}
    [call] = [e for e in events_of(document_of(alias(3, before))) if isinstance(e, StoreCalled)]
    assert call.before == before


def test_versions_of_a_scorer_stand_side_by_side() -> None:
    named = {"experiment_id": "1", "name": "exact"}

    def register(number: int) -> tuple[Any, ...]:
        return "register_scorer", {**named, "serialized_scorer": "{}"}, {"scorer_version": number}

    document = document_of(register(1), register(2), ("delete_scorer", {**named, "version": 1}))
    scorer = "store:scorer/1/name/exact"
    counts = [len(current(document, f"{scorer}/{part}entry")) for part in ("", "version/2/")]
    assert counts == [1, 1] and current(document, f"{scorer}/version/1/entry") == []


def test_records_are_added_to_those_of_earlier_calls() -> None:
    named = {"dataset_id": "d-1"}
    calls = [
        ("upsert_dataset_records", {**named, "records": [{"inputs": {"x": value}}]})
        for value in ("a", "b")
    ]
    document = document_of(
        ("create_dataset", {"name": "eval", "experiment_ids": ["1"]}, named), *calls
    )
    members = [r["prov:entity"] for r in document.records["hadMember"].values()]
    assert len(members) == 2
    assert all(document.records["entity"][m]["mlf:count"]["$"] == "1" for m in members)
    assert "wasInvalidatedBy" not in document.records
    assert document.records["entity"]["store:dataset/d-1"]["prov:label"] == "eval"


def test_overridden_assessment_is_valid_again_without_its_override() -> None:
    def feedback(name: str, overrides: str | None = None) -> tuple[Any, ...]:
        ids = {"trace_id": "tr-1", "assessment_id": name, "overrides": overrides}
        return "create_assessment", {"assessment": {**ids, "feedback": {"value": 1}}}

    calls = [feedback("a-1"), feedback("a-2", "a-1")]
    entry = "store:trace/tr-1/assessment/a-1/entry"
    assert current(document_of(*calls), entry) == []
    delete = ("delete_assessment", {"trace_id": "tr-1", "assessment_id": "a-2"})
    assert len(current(document_of(*calls, delete), entry)) == 1


def test_assessments_and_tags_end_with_their_trace() -> None:
    feedback = {"trace_id": "tr-1", "assessment_id": "a-1", "feedback": {"value": 1}}
    document = document_of(
        ("start_trace", {"trace_info": {"trace_id": "tr-1", "tags": {"k": "v"}}}),
        ("create_assessment", {"assessment": feedback}),
        ("delete_traces", {"experiment_id": "1", "trace_ids": ["tr-1"]}),
    )
    trace = "store:trace/tr-1"
    for base in ("entry", "tag/k", "assessment/a-1/entry", "assessment/a-1/value"):
        assert current(document, f"{trace}/{base}") == []


def test_tokens_and_cost_are_numbers_of_spans_and_traces() -> None:
    span = {
        "trace_id": "tr-1",
        "span_id": "0" * 15 + "1",
        "name": "chat",
        "start_time_unix_nano": START_NS,
        "attributes": {
            "mlflow.traceRequestId": '"tr-1"',
            "mlflow.chat.tokenUsage": '{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}',
            "mlflow.llm.cost": '{"total_cost": 0.25}',
        },
    }
    metadata = {"mlflow.trace.tokenUsage": '{"input_tokens": 3}'}
    document = document_of(
        ("start_trace", {"trace_info": {"trace_id": "tr-1", "trace_metadata": metadata}}),
        ("log_spans", {"spans": [span]}),
    )
    activity = document.records["activity"][f"store:trace/tr-1/span/{'0' * 15}1"]
    assert [activity[f"mlf:{kind}Tokens"]["$"] for kind in ("input", "output", "total")] == [*"347"]
    assert activity["mlf:costUsd"]["$"] == "0.25"
    assert document.records["entity"]["store:trace/tr-1"]["mlf:inputTokens"]["$"] == "3"
