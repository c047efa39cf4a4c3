"""Calls of the store: registry, experiments, traces, prompts, and unknown methods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yprov_mlflow.prov.events import SessionStarted, StoreCalled
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import Options, translate

STORE = store_id("9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff")
START_NS = 1_767_322_800 * 10**9
SESSION = "a" * 16


def document_of(*calls: tuple[str, dict[str, Any], Any], hash_user: bool = False) -> Document:
    events: list[Any] = [SessionStarted(STORE, SESSION, 0, START_NS, {"user": "alice"})]
    for seq, (method, arguments, result) in enumerate(calls, 1):
        time_ns = START_NS + seq * 10**9
        events.append(StoreCalled(STORE, SESSION, seq, time_ns, method, {}, arguments, result))
    return translate(events, Options(hash_user=hash_user))


def values_of(document: Document, base: str) -> dict[str, Any]:
    """Return the entities below an id."""
    entities = document.records["entity"]
    return {i: e for i, e in entities.items() if i.startswith(f"{base}/")}


def ended(document: Document) -> set[str]:
    return {r["prov:entity"] for r in document.records.get("wasInvalidatedBy", {}).values()}


def derivations(document: Document) -> set[tuple[str, str]]:
    return {
        (r["prov:generatedEntity"], r["prov:usedEntity"])
        for r in document.records.get("wasDerivedFrom", {}).values()
    }


def version(number: int, **more: Any) -> tuple[str, dict[str, Any], Any]:
    return (
        "create_model_version",
        {"name": "iris", "source": "s3://x", "run_id": None, "tags": [], **more},
        {"name": "iris", "version": number},
    )


ALIAS = {"name": "iris", "alias": "champion"}
IRIS = "store:model/iris"


def test_what_is_created_again_has_its_values_anew() -> None:
    """The deletion in between is in another document: here the creation ends what was before."""
    tags = [{"key": "w", "value": "1"}]
    stage = {"name": "iris", "version": "1", "stage": "Staging"}
    create = ("create_registered_model", {"name": "iris", "tags": tags}, {"name": "iris"})
    staged = ("transition_model_version_stage", stage, None)
    document = document_of(create, version(1, tags=tags), staged, create, version(1, tags=tags))
    for base in (f"{IRIS}/tag/w", f"{IRIS}/version/1/tag/w", f"{IRIS}/version/1/entry"):
        first, second = sorted(values_of(document, base))
        assert first in ended(document) and second not in ended(document)
    assert values_of(document, f"{IRIS}/version/1/stage").keys() <= ended(document)


def test_a_model_that_is_created_again_has_no_versions() -> None:
    create = ("create_registered_model", {"name": "iris"}, {"name": "iris"})
    document = document_of(create, version(1), create)
    assert values_of(document, f"{IRIS}/version/1/entry").keys() <= ended(document)


def test_a_deleted_version_gets_no_new_name() -> None:
    named = {"name": "iris", "version": "1"}
    rename = ("rename_registered_model", {"name": "iris", "new_name": "rose"}, None)
    for calls in ([version(1)], []):  # created by a call of this document, or of another one
        document = document_of(*calls, ("delete_model_version", named, None), rename)
        assert not values_of(document, "store:model/rose/version")


@pytest.mark.parametrize("is_prompt", [False, True])
def test_only_versions_of_models_are_models(is_prompt: bool) -> None:
    named = {"name": "m", "version": 1}
    link = ("link_prompt_version_to_run", {**named, "run_id": "1" * 32}, None)
    tag = ("set_model_version_tag", {**named, "key": "a", "value": "b"}, None)
    document = document_of(*([tag, link] if is_prompt else [tag]))
    version = document.records["entity"]["store:model/m/version/1"]
    assert ("mls:Model" in str(version["prov:type"])) is not is_prompt


def test_a_model_version_derives_from_its_logged_model() -> None:
    document = document_of(version(1, model_id="m-1"))
    assert (f"{IRIS}/version/1", "store:logged-model/m-1") in derivations(document)
    (derivation,) = document.records["wasDerivedFrom"].values()
    assert derivation["prov:generation"] in document.records["wasGeneratedBy"]
    assert derivation["prov:usage"] in document.records["used"]


def test_a_model_version_derives_from_an_artifact_of_a_run() -> None:
    run = "1" * 32
    document = document_of(version(1, source=f"runs:/{run}/model"))
    ((_, origin),) = derivations(document)
    prefix, _, local = origin.partition(":")
    assert document.prefixes[prefix] == "urn:uuid:11111111-1111-1111-1111-111111111111#"
    assert local == "folder/model"


def test_an_alias_keeps_its_history() -> None:
    document = document_of(
        version(1),
        version(2),
        ("set_registered_model_alias", {**ALIAS, "version": "1"}, None),
        ("set_registered_model_alias", {**ALIAS, "version": "2"}, None),
        ("delete_registered_model_alias", ALIAS, None),
    )
    assignments = values_of(document, f"{IRIS}/alias/champion")
    assert [e["mlf:target"]["$"] for e in assignments.values()] == [
        f"{IRIS}/version/1",
        f"{IRIS}/version/2",
    ]
    assert set(assignments) == ended(document)


def test_a_transition_archives_the_existing_version() -> None:
    def to(stage: str, number: str, archive: bool) -> tuple[str, dict[str, Any], Any]:
        arguments = {"name": "iris", "version": number, "stage": stage}
        return (
            "transition_model_version_stage",
            {**arguments, "archive_existing_versions": archive},
            None,
        )

    document = document_of(
        version(1), version(2), to("Production", "1", False), to("Production", "2", True)
    )
    stages = values_of(document, f"{IRIS}/version/1/stage")
    assert [e["prov:value"] for e in stages.values()] == ["Production", "Archived"]


def test_renaming_back_makes_no_cycle() -> None:
    rename = "rename_registered_model"
    document = document_of(
        ("create_registered_model", {"name": "iris"}, {"name": "iris"}),
        version(1),
        (rename, {"name": "iris", "new_name": "rose"}, None),
        (rename, {"name": "rose", "new_name": "iris"}, None),
    )
    entries = [
        *values_of(document, f"{IRIS}/entry"),
        *values_of(document, "store:model/rose/entry"),
    ]
    pairs = derivations(document)
    assert len(entries) == 3
    assert not any((b, a) in pairs for a, b in pairs)
    alternates = {
        (r["prov:alternate1"], r["prov:alternate2"])
        for r in document.records["alternateOf"].values()
    }
    assert ("store:model/rose/version/1", f"{IRIS}/version/1") in alternates


def test_tags_of_known_and_unknown_objects() -> None:
    document = document_of(
        ("set_experiment_tag", {"experiment_id": "1", "tag": {"key": "k", "value": "v"}}, None),
        ("delete_experiment_tag", {"experiment_id": "1", "key": "k"}, None),
        ("set_trace_tag", {"trace_id": "tr-1", "key": "k", "value": "v"}, None),
        ("set_gizmo_tag", {"gizmo_id": "g", "key": "k", "value": "v"}, None),
    )
    assert set(values_of(document, "store:experiment/1/tag/k")) == ended(document)
    (tag,) = values_of(document, "store:trace/tr-1/tag/k").values()
    assert tag["prov:value"] == "v"
    assert values_of(document, "store:gizmo/g/tag/k")


def test_deleting_and_restoring_an_experiment() -> None:
    document = document_of(
        ("create_experiment", {"name": "exp", "tags": []}, "1"),
        ("rename_experiment", {"experiment_id": "1", "new_name": "new"}, None),
        ("delete_experiment", {"experiment_id": "1"}, None),
        ("restore_experiment", {"experiment_id": "1"}, None),
    )
    entries = list(values_of(document, "store:experiment/1/entry"))
    assert len(entries) == 2
    names = values_of(document, "store:experiment/1/name")
    assert [record["prov:value"] for record in names.values()] == ["exp", "new"]
    assert ended(document) == {entries[0], *list(names)[:1]}
    assert (entries[1], entries[0]) in derivations(document)
    assert document.records["entity"]["store:experiment/1"]["prov:label"] == "new"


def test_traces_spans_and_assessments() -> None:
    second = 10**9
    span = {
        "trace_id": "b3RlbA==",
        "span_id": "AAAAAAAAAAE=",
        "parent_span_id": None,
        "name": "predict",
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + second,
        "status": {"code": "STATUS_CODE_OK"},
        "attributes": {
            "mlflow.traceRequestId": '"tr-1"',
            "mlflow.spanInputs": '{"x":1}',
            "mlflow.spanOutputs": "3.5",
            "mlflow.spanType": '"CHAIN"',
        },
    }
    child = {**span, "span_id": "AAAAAAAAAAI=", "parent_span_id": "AAAAAAAAAAE="}
    assessment = {
        "trace_id": "tr-1",
        "name": "right",
        "source": {"source_type": "HUMAN", "source_id": "alice"},
        "feedback": {"value": True},
        "span_id": "0000000000000001",
    }
    document = document_of(
        ("start_trace", {"trace_info": {"trace_id": "tr-1", "tags": {"t": "u"}}}, None),
        ("log_spans", {"location": "1", "spans": [child, span]}, None),
        (
            "create_assessment",
            {"assessment": {**assessment, "assessment_id": None}},
            {**assessment, "assessment_id": "a-1"},
        ),
    )
    root = "store:trace/tr-1/span/0000000000000001"
    activity = document.records["activity"][root]
    assert activity["prov:startTime"] < activity["prov:endTime"]
    assert activity["mlf:spanType"] == "CHAIN"
    assert document.records["entity"][f"{root}/in"]["prov:value"] == '{"x":1}'
    assert document.records["entity"][f"{root}/out"]["prov:value"]["$"] == "3.5"
    assert root in {r["prov:starter"] for r in document.records["wasStartedBy"].values()}
    assert f"{root}/out" in {r["prov:entity"] for r in document.records["wasGeneratedBy"].values()}
    judgment = "store:trace/tr-1/assessment/a-1"
    assert document.records["entity"][judgment]["prov:value"]["$"] == "true"
    assert (judgment, f"{root}/out") in derivations(document)
    (attribution,) = document.records["wasAttributedTo"].values()
    assert attribution["prov:agent"] == "store:user/alice"


def test_the_order_of_span_attributes_does_not_change_the_document() -> None:
    in_order = {"mlflow.spanInputs": '"x"', "mlflow.spanOutputs": '"y"'}
    texts = [
        json.dumps(document_of(("log_spans", {"spans": [span]}, None)).to_json_object())
        for attributes in (in_order, dict(reversed(in_order.items())))
        for span in [{"trace_id": "tr-1", "span_id": "1", "attributes": attributes}]
    ]
    assert "mlf:spanFields" in texts[0]
    assert texts[0] == texts[1]


def test_a_prompt_has_one_entity_for_all_calls() -> None:
    """MLflow registers prompts as models, but gives them aliases as prompts."""
    is_prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    named = {"name": "ask", "version": 1}
    document = document_of(
        ("create_registered_model", {"name": "ask", "tags": is_prompt}, {"name": "ask"}),
        ("create_model_version", {"name": "ask", "tags": is_prompt, "source": "dummy"}, named),
        ("set_prompt_alias", {**named, "alias": "prod"}, None),
    )
    for entity, kind in (
        ("store:model/ask", "Prompt"),
        ("store:model/ask/version/1", "PromptVersion"),
    ):
        types = [value["$"] for value in document.records["entity"][entity]["prov:type"]]
        assert f"mlf:{kind}" in types
        assert "mls:Model" not in types
    (assignment,) = values_of(document, "store:model/ask/alias/prod").values()
    assert assignment["mlf:target"]["$"] == "store:model/ask/version/1"


def test_aliases_end_with_the_version_that_they_name() -> None:
    named = {"name": "m", "version": 1}
    document = document_of(
        ("create_model_version", {"name": "m", "source": "dummy"}, named),
        ("set_registered_model_alias", {**named, "alias": "champion"}, None),
        ("set_registered_model_alias", {"name": "m", "version": 2, "alias": "other"}, None),
        ("delete_model_version", named, None),
    )
    ended = {end["prov:entity"] for end in document.records["wasInvalidatedBy"].values()}
    assert values_of(document, "store:model/m/alias/champion").keys() <= ended
    assert not values_of(document, "store:model/m/alias/other").keys() & ended


def test_version_without_logged_model_derives_from_its_source() -> None:
    """A server fills the missing id of the model with an empty text."""
    run_id = "0" * 32
    fields = {"name": "m", "source": f"runs:/{run_id}/model", "run_id": run_id, "model_id": ""}
    document = document_of(("create_model_version", fields, {**fields, "version": 1}))
    origins = [d["prov:usedEntity"] for d in document.records["wasDerivedFrom"].values()]
    assert [origin.partition(":")[2] for origin in origins] == ["folder/model"]
    assert not any("logged-model" in entity for entity in document.records["entity"])


def test_an_unknown_call_keeps_its_arguments_and_its_result() -> None:
    document = document_of(("ponder_things", {"b": [1], "a": None}, {"answer": 42}))
    (activity,) = (
        a for i, a in document.records["activity"].items() if i.startswith("store:event/")
    )
    assert json.loads(activity["mlf:arguments"]) == {"a": None, "b": [1]}
    results = [e for i, e in document.records["entity"].items() if i.endswith("/result")]
    assert [json.loads(e["prov:value"]) for e in results] == [{"answer": 42}]


def test_an_incomplete_call_is_kept_like_an_unknown_one() -> None:
    document = document_of(("create_model_version", {"name": None}, ["odd"]))
    assert any(i.endswith("/result") for i in document.records["entity"])


def test_logins_in_calls_are_hashed_too() -> None:
    call = ("create_issue", {"created_by": "alice", "name": "n"}, {"issue_id": "i-1"})
    assert "alice" in str(document_of(call).to_json_object())
    assert "alice" not in str(document_of(call, hash_user=True).to_json_object())
