"""Events restored from documents, and fields of old runs that PROV has no term for."""

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
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import Options, events_of, translate

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}


def events(*others: tuple[Any, ...], status: str | None = "FINISHED", **values: Any) -> list[Event]:
    fields = {"user_id": "ada", "start_time_ms": 5, "artifact_uri": None, **values}
    extra = fields.pop("fields", {})
    created = (RunCreated, "1", "main", "fox", *fields.values(), {}, STORE, extra)
    rows = [created, (RunUpdated, status, 9, None, None), *others]
    return [cls(RUN_ID, STORE_SESSION, seq, 0, *args) for seq, (cls, *args) in enumerate(rows)]


def plan_of(document: Document) -> dict[str, Any]:
    [association] = document.records["wasAssociatedWith"].values()
    return document.records["entity"][association["prov:plan"]]


def test_commit_and_entry_point_of_an_old_run_are_its_plan() -> None:
    fields = {"source_name": "train.py", "source_version": "c0ffee", "entry_point_name": "main"}
    document = translate(events(fields=fields))
    plan = plan_of(document)
    assert (plan["mlf:gitCommit"], plan["mlf:entryPoint"]) == ("c0ffee", "train.py")
    assert json.loads(document.records["entity"]["run:record"]["mlf:fields"]) == fields


def test_tags_about_the_code_win_over_fields() -> None:
    tags = {"mlflow.source.git.commit": "beef", "mlflow.source.name": "other.py"}
    document = translate(events((TagsSet, tags), fields={"source_version": "c0ffee"}))
    assert plan_of(document)["mlf:gitCommit"] == "beef"


def test_a_run_without_user_uses_its_code() -> None:
    document = translate(events(user_id="", fields={"source_version": "c0ffee"}))
    [usage] = document.records["used"].values()
    assert (usage["prov:activity"], usage["prov:role"]["$"]) == ("run:run", "mlf:code")
    assert document.records["activity"]["run:run"]["mlf:userId"] == ""


def test_a_run_of_unknown_status_has_no_status() -> None:
    assert "mlf:status" not in translate(events(status=None)).records["activity"]["run:run"]


def test_hashed_login_names_are_restored_hashed() -> None:
    options = Options(hash_user=True)
    document = translate(events((TagsSet, {"mlflow.user": "ada"})), options)
    created = next(e for e in events_of(document) if isinstance(e, RunCreated))
    assert created.user_id is not None
    assert created.user_id.startswith("user-")
    assert "ada" not in str(document.records)


def test_restored_points_of_several_sessions_are_in_order_of_time() -> None:
    def metric(session: str, seq: int, second: int, context: str, value: float) -> Event:
        time_ns = (1_767_322_800 + second) * 10**9
        columns = (["m"], [value], [7], [0], [[context]])
        return MetricsLogged(RUN_ID, session, seq, time_ns, *columns)

    logged = [
        metric("a" * 16, 0, 1, "training", 1.0),
        metric("b" * 16, 0, 2, "validation", 2.0),
        metric("a" * 16, 1, 3, "training", 3.0),
    ]
    [event] = [e for e in events_of(translate(logged)) if isinstance(e, MetricsLogged)]
    assert (event.keys, list(event.values)) == (["m"] * 3, [1.0, 2.0, 3.0])


def test_spans_are_restored_exactly() -> None:
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
    call = (StoreCalled, "log_spans", {"trace": "tr-1"}, {"spans": [span, broken]})
    [event] = [e for e in events_of(translate(events(call))) if isinstance(e, StoreCalled)]
    assert event.arguments == {"spans": [span, broken]}
    assert list(event.arguments["spans"][0]["attributes"]["mlflow.spanInputs"]) == list(
        '{"z": 1, "a": [1.0, null]}'
    )


def test_lone_surrogates_are_restored() -> None:
    tags = {"odd \ud800": "\udcff"}
    document = translate(events((TagsSet, tags)))
    assert "\ud800" not in str(document.records)
    [event] = [e for e in events_of(document) if isinstance(e, TagsSet)]
    assert event.tags == tags


def test_documents_of_other_software_are_refused() -> None:
    with pytest.raises(DocumentError, match="neither a run nor a store"):
        list(events_of(Document({"ex": "http://example.org/"}, {"entity": {"ex:a": {}}})))
