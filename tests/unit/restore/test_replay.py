"""The state of a store after the events of live capture: the last write wins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagDeleted,
    TagsSet,
)
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.state import Run, StoreState

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
START_S = 1_767_322_800
NS = 1_000_000_000


def events(*entries: tuple[Any, ...], session: str = "a" * 16) -> list[Event]:
    return [
        cls(RUN_ID, session, seq, (START_S + seq) * NS, *fields)
        for seq, (cls, *fields) in enumerate(entries)
    ]


def run_after(*entries: tuple[Any, ...]) -> Run:
    created = (RunCreated, "1", "main", "fox", "ada", 5, "file:///a", {"t": "0"}, STORE)
    run = StateBuilder().feed(events(created, *entries))
    assert run is not None
    return run


def state_after(*calls: tuple[Any, ...]) -> StoreState:
    builder = StateBuilder()
    entries = [(StoreCalled, c[0], {}, c[1], *c[2:]) if isinstance(c[0], str) else c for c in calls]
    assert builder.feed(events(*entries)) is None
    return builder.finish()


def test_time_that_is_not_a_number_breaks_off() -> None:
    with pytest.raises(ValueError, match="'late' is not a time"):
        run_after((RunUpdated, "FINISHED", "late"))


def test_call_with_a_malformed_value_is_left_unhandled() -> None:
    info = {"trace_id": "t", "execution_duration": f"{'9' * 400}s"}
    [(method, _)] = state_after(("start_trace", {"trace_info": info})).unhandled_calls
    assert method == "start_trace"


def test_document_that_breaks_off_leaves_nothing() -> None:
    def broken() -> Iterator[Event]:
        yield from events((StoreCalled, "create_registered_model", {}, {"name": "m"}))
        raise ValueError("not a time")

    builder = StateBuilder()
    with pytest.raises(ValueError, match="not a time"):
        builder.feed(broken())
    assert builder.finish() == StoreState()


# -- runs --------------------------------------------------------------------------------


def test_last_write_to_a_run_wins() -> None:
    run = run_after(
        (ParamsLogged, {"p": "1"}),
        (TagsSet, {"t": "1", "u": "2"}),
        (TagDeleted, "u"),
        (RunUpdated, "FINISHED", 9),
        (RunUpdated, None, None, "wolf", None),
        (RunUpdated, None, None, None, "deleted"),
    )
    assert (run.params, run.tags) == ({"p": "1"}, {"t": "1", "mlflow.runName": "wolf"})
    assert (run.name, run.status, run.end_time_ms) == ("wolf", "FINISHED", 9)
    assert run.lifecycle == "deleted"


def test_unfinished_run_is_running_and_resumed_run_has_no_end_time() -> None:
    assert (run_after().status, run_after().end_time_ms) == ("RUNNING", None)
    resumed = run_after((RunUpdated, "FAILED", 9), (RunUpdated, "RUNNING"))
    assert (resumed.status, resumed.end_time_ms) == ("RUNNING", None)


def test_metric_points_keep_order_models_and_datasets() -> None:
    run = run_after(
        (MetricsLogged, ["a", "b", "a"], [1.0, 2.0, 0.5], [3, 3, 3], [1, 1, 0]),
        (MetricsLogged, ["a"], [9.0], [1], [7], (), None, ["m-1"], [["iris", "d"]]),
    )
    assert list(run.points["a"].values) == [1.0, 0.5, 9.0]
    assert list(run.points["a"].steps) == [1, 0, 7]
    assert (run.points["a"].models, run.points["a"].datasets) == ({2: "m-1"}, {2: ("iris", "d")})
    assert list(run.points["b"].values) == [2.0]


def test_repeated_inputs_and_outputs_are_kept_once() -> None:
    dataset = {"name": "iris", "digest": "1", "schema": None, "tags": {}}
    run = run_after(
        (InputsLogged, [dataset], ["m-1"]),
        (InputsLogged, [{"name": "iris", "digest": "1"}], ["m-1"]),
        (OutputsLogged, [("m-2", 3)]),
        (OutputsLogged, [("m-2", 3), ("m-2", 4)]),
    )
    assert run.datasets == [{"name": "iris", "digest": "1"}]
    assert (run.input_models, run.output_models) == (["m-1"], [("m-2", 3), ("m-2", 4)])


def test_deleted_artifacts_are_removed() -> None:
    def files(*paths: str) -> list[dict[str, Any]]:
        return [{"path": path, "size": 1, "sha256": None} for path in paths]

    run = run_after(
        (ArtifactsLogged, files("a", "b/c", "b/d", "bc")),
        (ArtifactsLogged, files("b"), None, (), True),
    )
    assert sorted(run.artifacts) == ["a", "bc"]


# -- experiments and models --------------------------------------------------------------


def test_experiment_calls() -> None:
    state = state_after(
        ("create_experiment", {"name": "a", "tags": [{"key": "k", "value": "v"}]}, "1"),
        ("create_experiment", {"name": "b"}, "2"),
        ("rename_experiment", {"experiment_id": "1", "new_name": "c"}),
        ("set_experiment_tag", {"experiment_id": "1", "tag": {"key": "l", "value": "w"}}),
        ("delete_experiment_tag", {"experiment_id": "1", "key": "k"}),
        ("delete_experiment", {"experiment_id": "1"}),
        ("_hard_delete_experiment", {"experiment_id": "2"}),
    )
    [experiment] = state.experiments.values()
    assert (experiment.name, experiment.tags) == ("c", {"l": "w"})
    assert experiment.lifecycle == "deleted"
    assert experiment.creation_time_ms == START_S * 1000
    assert experiment.last_update_time_ms == (START_S + 5) * 1000


def test_logged_model_events() -> None:
    state = state_after(
        (ModelLogged, "m-1", "own", "tree", "PENDING", "1", "s3://m", 7, {"p": "1"}, {"t": "1"}),
        (ModelLogged, "m-1", None, None, "READY"),
        (ModelLogged, "m-1", None, None, None, None, None, None, None, {"u": "2"}),
        (ModelLogged, "m-1", None, None, None, None, None, None, None, None, "t"),
        (ModelLogged, "m-1", None, None, "DELETED"),
        (ArtifactsLogged, [{"path": "MLmodel", "size": 3, "sha256": None}], ("model", "m-1")),
        ("log_logged_model_metrics", {"model_id": "m-1", "metrics": [{"key": "a", "value": 1.0}]}),
    )
    model = state.models["m-1"]
    assert (model.status, model.lifecycle, model.tags) == ("READY", "deleted", {"u": "2"})
    assert (model.name, model.params, model.source_run_id) == ("own", {"p": "1"}, RUN_ID)
    assert list(model.artifacts) == ["MLmodel"]
    assert model.metrics == [{"run_id": RUN_ID, "key": "a", "value": 1.0}]


def test_registry_calls() -> None:
    first, second = {"name": "iris", "version": "1"}, {"name": "iris", "version": "2"}
    state = state_after(
        ("create_registered_model", {"name": "iris", "tags": [{"key": "k", "value": "v"}]}),
        ("create_model_version", {"name": "iris", "source": "s3://1"}, {"version": "1"}),
        ("create_model_version", {"name": "iris", "source": "s3://2"}, {"version": "2"}),
        ("transition_model_version_stage", {**first, "stage": "Production"}),
        (
            "transition_model_version_stage",
            {**second, "stage": "Production", "archive_existing_versions": True},
        ),
        ("set_registered_model_alias", {**first, "alias": "old"}),
        ("set_registered_model_alias", {**second, "alias": "champion"}),
        ("set_model_version_tag", {**second, "tag": {"key": "a", "value": "1"}}),
        ("update_model_version", {**second, "description": "better"}),
        ("delete_model_version", first),
        ("delete_registered_model_tag", {"name": "iris", "key": "k"}),
        ("rename_registered_model", {"name": "iris", "new_name": "flowers"}),
        ("create_registered_model", {"name": "gone"}),
        ("delete_registered_model", {"name": "gone"}),
    )
    [model] = state.registered_models.values()
    assert (model.name, model.tags, model.aliases) == ("flowers", {}, {"champion": 2})
    assert [version.stage for version in model.versions.values()] == [
        "Deleted_Internal",
        "Production",
    ]
    assert model.versions[2].fields["source"] == "s3://2"
    assert model.versions[2].fields["description"] == "better"
    assert model.versions[2].tags == {"a": "1"}


def test_stage_transition_can_archive_other_versions() -> None:
    created = [("create_model_version", {"name": "iris", "version": str(n)}) for n in (1, 2, 3)]
    moved = [
        ("transition_model_version_stage", {"name": "iris", "version": version, "stage": stage})
        for version, stage in (("1", "Production"), ("2", "Staging"), ("3", "Production"))
    ]
    moved[-1][1]["archive_existing_versions"] = True
    state = state_after(("create_registered_model", {"name": "iris"}), *created, *moved)
    stages = [version.stage for version in state.registered_models["iris"].versions.values()]
    assert stages == ["Archived", "Staging", "Production"]


def test_copied_versions_and_prompts() -> None:
    version = {"name": "iris", "version": "1"}
    state = state_after(
        ("create_registered_model", {"name": "iris"}),
        ("create_model_version", {"name": "iris", "source": "s3://1", "run_id": "r"}, version),
        (
            "copy_model_version",
            {"src_mv": version, "dst_name": "copy"},
            {"name": "copy", "version": "1"},
        ),
        ("create_prompt", {"name": "hello", "tags": {"lang": "de"}}),
        ("create_prompt_version", {"name": "hello", "template": "Hallo"}, {"version": 1}),
        ("set_prompt_alias", {"name": "hello", "alias": "now", "version": 1}),
    )
    copied = state.registered_models["copy"].versions[1].fields
    assert (copied["source"], copied["run_id"]) == ("models:/iris/1", "r")
    prompt = state.registered_models["hello"]
    assert prompt.tags == {"mlflow.prompt.is_prompt": "true", "lang": "de"}
    assert prompt.versions[1].tags["mlflow.prompt.text"] == "Hallo"
    assert prompt.aliases == {"now": 1}


# -- traces and the rest -----------------------------------------------------------------


def test_trace_calls() -> None:
    info = {
        "trace_id": "tr-1",
        "trace_location": {"mlflow_experiment": {"experiment_id": "1"}},
        "request_time": 5,
        "execution_duration": "1.5s",
        "state": "OK",
        "tags": {"a": "1"},
    }
    span = {"trace_id": "tr-1", "span_id": "1", "name": "one"}
    assessed = {"trace_id": "tr-1", "assessment_id": "a-1", "name": "good"}
    feedback = {**assessed, "feedback": {"value": 1}}
    corrected = {**feedback, "assessment_id": "a-2", "overrides": "a-1"}
    state = state_after(
        ("log_spans", {"location": "1", "spans": [span]}),
        ("start_trace", {"trace_info": info}, {"tags": {"a": "1", "added": "2"}}),
        ("log_spans", {"location": "1", "spans": [{**span, "name": "ended"}]}),
        ("set_trace_tag", {"trace_id": "tr-1", "key": "b", "value": "2"}),
        ("delete_trace_tag", {"trace_id": "tr-1", "key": "a"}),
        ("create_assessment", {"assessment": feedback}),
        ("create_assessment", {"assessment": corrected}),
        ("update_assessment", {**assessed, "feedback": {"value": 2}}),
        ("create_assessment", {"assessment": {**feedback, "assessment_id": "a-3"}}),
        (
            "create_assessment",
            {"assessment": {**feedback, "assessment_id": "a-4", "overrides": "a-3"}},
        ),
        ("delete_assessment", {"trace_id": "tr-1", "assessment_id": "a-4"}),
        ("link_traces_to_run", {"trace_ids": ["tr-1"], "run_id": "r"}),
        ("start_trace", {"trace_info": {**info, "trace_id": "tr-2"}}),
        ("delete_traces", {"experiment_id": "1", "trace_ids": ["tr-2"]}),
    )
    [trace] = state.traces.values()
    assert (trace.experiment_id, trace.request_time_ms, trace.duration_ms) == ("1", 5, 1500)
    assert (trace.tags, trace.runs) == ({"added": "2", "b": "2"}, ["r"])
    assert [span["name"] for span in trace.spans.values()] == ["ended"]
    assert trace.assessments["a-1"]["feedback"] == {"value": 2}
    assert trace.assessments["a-1"]["valid"] is False
    assert trace.assessments["a-3"]["valid"] is True
    assert trace.assessments.keys() == {"a-1", "a-2", "a-3"}


def test_evaluation_dataset_calls() -> None:
    named = {"dataset_id": "d-1"}
    first = {"inputs": {"q": 1}, "expectations": {"a": 1}}
    state = state_after(
        ("create_dataset", {"name": "qa", "experiment_ids": ["1"]}, named),
        ("upsert_dataset_records", {**named, "records": [first, {"inputs": {"q": 2}}]}),
        ("upsert_dataset_records", {**named, "records": [{**first, "expectations": {"a": 2}}]}),
        ("add_dataset_to_experiments", {**named, "experiment_ids": ["2"]}),
        ("remove_dataset_from_experiments", {**named, "experiment_ids": ["1"]}),
        ("set_dataset_tags", {**named, "tags": {"k": "v", "l": "w"}}),
        ("delete_dataset_tag", {**named, "key": "l"}),
    )
    dataset = state.evaluation_datasets["d-1"]
    assert (dataset.row["name"], dataset.experiments, dataset.tags) == ("qa", ["2"], {"k": "v"})
    changed, other = dataset.records.values()
    assert (changed["expectations"], other["inputs"]) == ({"a": 2}, {"q": 2})
    assert changed["created_time"] == other["created_time"] == other["last_update_time"]
    assert changed["last_update_time"] > changed["created_time"]


def test_calls_of_many_documents_are_replayed_in_order_of_time() -> None:
    named = {"experiment_id": "1"}

    def call(second: int, method: str, **arguments: Any) -> Event:
        arguments = {**named, **arguments}
        return StoreCalled(RUN_ID, "a" * 16, 0, second * NS, method, {}, arguments)

    builder = StateBuilder()
    builder.feed([call(3, "rename_experiment", new_name="last")])
    builder.feed([call(2, "rename_experiment", new_name="second")])
    builder.feed([call(1, "create_experiment", name="first")])
    assert builder.finish().experiments["1"].name == "last"


def test_unknown_calls_are_kept_as_rows_or_unhandled_calls() -> None:
    state = state_after(
        ("record_jobs", {"rows": [{"id": "1"}]}),
        ("brand_new_method", {"a": 1}),
        ("create_model_version", {"name": "iris"}),
    )
    assert state.table_rows == {"jobs": [{"id": "1"}]}
    assert state.unhandled_calls == [
        ("brand_new_method", {"a": 1}),
        ("create_model_version", {"name": "iris"}),
    ]
