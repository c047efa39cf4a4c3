"""What a source says of an old run that PROV has no term for, and the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.events import (
    STORE_SESSION,
    Event,
    MetricsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.translate import Document, Options, events_of, translate

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}


def events(*told: tuple[Any, ...], status: str | None = "FINISHED", **given: Any) -> list[Event]:
    fields = {"user_id": "ada", "start_time_ms": 5, "artifact_uri": None, **given}
    extra = fields.pop("fields", {})
    created = (RunCreated, "1", "main", "fox", *fields.values(), {}, STORE, extra)
    all_told = [created, (RunUpdated, status, 9, None, None), *told]
    return [cls(RUN_ID, STORE_SESSION, seq, 0, *rest) for seq, (cls, *rest) in enumerate(all_told)]


def plan_of(document: Document) -> dict[str, Any]:
    [association] = document.records["wasAssociatedWith"].values()
    return document.records["entity"][association["prov:plan"]]


def test_the_commit_and_the_entry_point_of_an_old_run_are_its_plan() -> None:
    fields = {"source_name": "train.py", "source_version": "c0ffee", "entry_point_name": "main"}
    document = translate(events(fields=fields))
    plan = plan_of(document)
    assert (plan["mlf:gitCommit"], plan["mlf:entryPoint"]) == ("c0ffee", "train.py")
    assert json.loads(document.records["entity"]["run:record"]["mlf:fields"]) == fields


def test_tags_of_a_store_say_more_of_the_code_than_fields() -> None:
    tags = {"mlflow.source.git.commit": "beef", "mlflow.source.name": "other.py"}
    document = translate(events((TagsSet, tags), fields={"source_version": "c0ffee"}))
    assert plan_of(document)["mlf:gitCommit"] == "beef"


def test_a_plan_that_no_user_is_known_of_is_an_influence() -> None:
    document = translate(events(user_id="", fields={"source_version": "c0ffee"}))
    [influence] = document.records["wasInfluencedBy"].values()
    assert influence["prov:influencee"] == "run:run"
    assert document.records["activity"]["run:run"]["mlf:userId"] == ""


def test_nobody_claims_that_a_run_of_unknown_status_is_running() -> None:
    assert "mlf:status" not in translate(events(status=None)).records["activity"]["run:run"]


def test_login_names_can_be_hidden_and_still_come_back_as_they_are_shown() -> None:
    options = Options(hash_user=True)
    document = translate(events((TagsSet, {"mlflow.user": "ada"})), options)
    created = next(e for e in events_of(document) if isinstance(e, RunCreated))
    assert created.user_id is not None
    assert created.user_id.startswith("user-")
    assert "ada" not in str(document.records)


def test_points_of_many_sessions_come_in_the_order_of_their_times() -> None:
    def metric(session: str, seq: int, second: int, context: str, value: float) -> Event:
        time_ns = (1_767_322_800 + second) * 10**9
        columns = (["m"], [value], [7], [0], [[context]])
        return MetricsLogged(RUN_ID, session, seq, time_ns, *columns)

    told = [
        metric("a" * 16, 0, 1, "training", 1.0),
        metric("b" * 16, 0, 2, "validation", 2.0),
        metric("a" * 16, 1, 3, "training", 3.0),
    ]
    [found] = [e for e in events_of(translate(told)) if isinstance(e, MetricsLogged)]
    assert (found.keys, list(found.values)) == (["m"] * 3, [1.0, 2.0, 3.0])


def test_spans_come_back_as_mlflow_spelt_them() -> None:
    span = {
        "trace_id": "AAAA",
        "span_id": "1",
        "parent_span_id": None,
        "name": "one",
        "start_time_unix_nano": 1,
        "end_time_unix_nano": 2,
        "events": [{"name": "e", "time_unix_nano": 1, "attributes": {"b": 1, "a": 2}}],
        "status": {"code": "STATUS_CODE_OK", "message": "so so"},
        "attributes": {
            "mlflow.traceRequestId": '"tr-1"',
            "mlflow.spanInputs": '{"z": 1, "a": [1.0, null]}',
            "mlflow.spanOutputs": '"{}"',
            "own": "no JSON",
        },
    }
    broken = {"name": "without ids"}
    told = (StoreCalled, "log_spans", {"trace": "tr-1"}, {"spans": [span, broken]})
    [found] = [e for e in events_of(translate(events(told))) if isinstance(e, StoreCalled)]
    assert found.arguments == {"spans": [span, broken]}
    assert list(found.arguments["spans"][0]["attributes"]["mlflow.spanInputs"]) == list(
        '{"z": 1, "a": [1.0, null]}'
    )


def test_lone_surrogates_come_back() -> None:
    tags = {"odd \ud800": "\udcff"}
    document = translate(events((TagsSet, tags)))
    assert "\ud800" not in str(document.records)
    [found] = [e for e in events_of(document) if isinstance(e, TagsSet)]
    assert found.tags == tags


def test_documents_of_others_are_refused() -> None:
    with pytest.raises(DocumentError, match="no run and of no store"):
        list(events_of(Document({"ex": "http://example.org/"}, {"entity": {"ex:a": {}}})))
