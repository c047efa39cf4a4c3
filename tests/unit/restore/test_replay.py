"""What a store has after the calls of live capture: the last writer wins, deletions delete."""

from __future__ import annotations

from typing import Any

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
from yprov_mlflow.prov.restore.state import Run, StoreState

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
START_S = 1_767_322_800
NS = 1_000_000_000


def events(*told: tuple[Any, ...], session: str = "a" * 16) -> list[Event]:
    return [
        cls(RUN_ID, session, seq, (START_S + seq) * NS, *fields)
        for seq, (cls, *fields) in enumerate(told)
    ]


def run_after(*told: tuple[Any, ...]) -> Run:
    created = (RunCreated, "1", "main", "fox", "ada", 5, "file:///a", {"t": "0"}, STORE)
    run = StateBuilder().feed(events(created, *told))
    assert run is not None
    return run


def estate_after(*calls: tuple[Any, ...]) -> StoreState:
    reduction = StateBuilder()
    told = [(StoreCalled, c[0], {}, c[1], *c[2:]) if isinstance(c[0], str) else c for c in calls]
    assert reduction.feed(events(*told)) is None
    return reduction.finish()


# -- runs --------------------------------------------------------------------------------


def test_a_run_has_what_was_set_last() -> None:
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


def test_a_run_that_nobody_ended_is_running_and_one_that_was_resumed_has_no_end() -> None:
    assert (run_after().status, run_after().end_time_ms) == ("RUNNING", None)
    again = run_after((RunUpdated, "FAILED", 9), (RunUpdated, "RUNNING"))
    assert (again.status, again.end_time_ms) == ("RUNNING", None)


def test_points_stay_in_their_order_with_their_models() -> None:
    run = run_after(
        (MetricsLogged, ["a", "b", "a"], [1.0, 2.0, 0.5], [3, 3, 3], [1, 1, 0]),
        (MetricsLogged, ["a"], [9.0], [1], [7], (), None, ["m-1"], [["iris", "d"]]),
    )
    assert list(run.points["a"].values) == [1.0, 0.5, 9.0]
    assert list(run.points["a"].steps) == [1, 0, 7]
    assert (run.points["a"].models, run.points["a"].datasets) == ({2: "m-1"}, {2: ("iris", "d")})
    assert list(run.points["b"].values) == [2.0]


def test_what_is_read_and_put_out_twice_is_there_once() -> None:
    dataset = {"name": "iris", "digest": "1", "schema": None, "tags": {}}
    run = run_after(
        (InputsLogged, [dataset], ["m-1"]),
        (InputsLogged, [{"name": "iris", "digest": "1"}], ["m-1"]),
        (OutputsLogged, [("m-2", 3)]),
        (OutputsLogged, [("m-2", 3), ("m-2", 4)]),
    )
    assert run.datasets == [{"name": "iris", "digest": "1"}]
    assert (run.models_in, run.models_out) == (["m-1"], [("m-2", 3), ("m-2", 4)])


def test_files_that_were_removed_are_gone() -> None:
    def files(*paths: str) -> list[dict[str, Any]]:
        return [{"path": path, "size": 1, "sha256": None} for path in paths]

    run = run_after(
        (ArtifactsLogged, files("a", "b/c", "b/d", "bc")),
        (ArtifactsLogged, files("b"), None, (), True),
    )
    assert sorted(run.artifacts) == ["a", "bc"]


# -- experiments and models --------------------------------------------------------------


def test_experiments() -> None:
    estate = estate_after(
        ("create_experiment", {"name": "a", "tags": [{"key": "k", "value": "v"}]}, "1"),
        ("create_experiment", {"name": "b"}, "2"),
        ("rename_experiment", {"experiment_id": "1", "new_name": "c"}),
        ("set_experiment_tag", {"experiment_id": "1", "tag": {"key": "l", "value": "w"}}),
        ("delete_experiment_tag", {"experiment_id": "1", "key": "k"}),
        ("delete_experiment", {"experiment_id": "1"}),
        ("_hard_delete_experiment", {"experiment_id": "2"}),
    )
    [found] = estate.experiments.values()
    assert (found.name, found.tags, found.lifecycle) == ("c", {"l": "w"}, "deleted")
    assert found.creation_time_ms == START_S * 1000
    assert found.last_update_time_ms == (START_S + 5) * 1000


def test_logged_models() -> None:
    estate = estate_after(
        (ModelLogged, "m-1", "own", "tree", "PENDING", "1", "s3://m", 7, {"p": "1"}, {"t": "1"}),
        (ModelLogged, "m-1", None, None, "READY"),
        (ModelLogged, "m-1", None, None, None, None, None, None, None, {"u": "2"}),
        (ModelLogged, "m-1", None, None, None, None, None, None, None, None, "t"),
        (ModelLogged, "m-1", None, None, "DELETED"),
        (ArtifactsLogged, [{"path": "MLmodel", "size": 3, "sha256": None}], ("model", "m-1")),
        ("log_logged_model_metrics", {"model_id": "m-1", "metrics": [{"key": "a", "value": 1.0}]}),
    )
    model = estate.models["m-1"]
    assert (model.status, model.lifecycle, model.tags) == ("READY", "deleted", {"u": "2"})
    assert (model.name, model.params, model.source_run_id) == ("own", {"p": "1"}, RUN_ID)
    assert list(model.artifacts) == ["MLmodel"]
    assert model.metrics == [{"run_id": RUN_ID, "key": "a", "value": 1.0}]


def test_the_registry() -> None:
    one, two = {"name": "iris", "version": "1"}, {"name": "iris", "version": "2"}
    estate = estate_after(
        ("create_registered_model", {"name": "iris", "tags": [{"key": "k", "value": "v"}]}),
        ("create_model_version", {"name": "iris", "source": "s3://1"}, {"version": "1"}),
        ("create_model_version", {"name": "iris", "source": "s3://2"}, {"version": "2"}),
        ("transition_model_version_stage", {**one, "stage": "Production"}),
        (
            "transition_model_version_stage",
            {**two, "stage": "Production", "archive_existing_versions": True},
        ),
        ("set_registered_model_alias", {**one, "alias": "old"}),
        ("set_registered_model_alias", {**two, "alias": "champion"}),
        ("set_model_version_tag", {**two, "tag": {"key": "a", "value": "1"}}),
        ("update_model_version", {**two, "description": "better"}),
        ("delete_model_version", one),
        ("delete_registered_model_tag", {"name": "iris", "key": "k"}),
        ("rename_registered_model", {"name": "iris", "new_name": "flowers"}),
        ("create_registered_model", {"name": "gone"}),
        ("delete_registered_model", {"name": "gone"}),
    )
    [model] = estate.registered.values()
    assert (model.name, model.tags, model.aliases) == ("flowers", {}, {"champion": 2})
    assert [version.stage for version in model.versions.values()] == [
        "Deleted_Internal",
        "Production",
    ]
    assert model.versions[2].fields["source"] == "s3://2"
    assert model.versions[2].fields["description"] == "better"
    assert model.versions[2].tags == {"a": "1"}


def test_who_comes_to_a_stage_may_archive_those_in_it() -> None:
    made = [("create_model_version", {"name": "iris", "version": str(n)}) for n in (1, 2, 3)]
    moved = [
        ("transition_model_version_stage", {"name": "iris", "version": version, "stage": stage})
        for version, stage in (("1", "Production"), ("2", "Staging"), ("3", "Production"))
    ]
    moved[-1][1]["archive_existing_versions"] = True
    estate = estate_after(("create_registered_model", {"name": "iris"}), *made, *moved)
    stages = [version.stage for version in estate.registered["iris"].versions.values()]
    assert stages == ["Archived", "Staging", "Production"]


def test_copies_and_prompts() -> None:
    version = {"name": "iris", "version": "1"}
    estate = estate_after(
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
    copied = estate.registered["copy"].versions[1].fields
    assert (copied["source"], copied["run_id"]) == ("models:/iris/1", "r")
    prompt = estate.registered["hello"]
    assert prompt.tags == {"mlflow.prompt.is_prompt": "true", "lang": "de"}
    assert prompt.versions[1].tags["mlflow.prompt.text"] == "Hallo"
    assert prompt.aliases == {"now": 1}


# -- traces and the rest -----------------------------------------------------------------


def test_traces() -> None:
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
    given = {**assessed, "feedback": {"value": 1}}
    corrected = {**given, "assessment_id": "a-2", "overrides": "a-1"}
    estate = estate_after(
        ("log_spans", {"location": "1", "spans": [span]}),
        ("start_trace", {"trace_info": info}, {"tags": {"a": "1", "added": "2"}}),
        ("log_spans", {"location": "1", "spans": [{**span, "name": "ended"}]}),
        ("set_trace_tag", {"trace_id": "tr-1", "key": "b", "value": "2"}),
        ("delete_trace_tag", {"trace_id": "tr-1", "key": "a"}),
        ("create_assessment", {"assessment": given}),
        ("create_assessment", {"assessment": corrected}),
        ("update_assessment", {**assessed, "feedback": {"value": 2}}),
        ("create_assessment", {"assessment": {**given, "assessment_id": "a-3"}}),
        (
            "create_assessment",
            {"assessment": {**given, "assessment_id": "a-4", "overrides": "a-3"}},
        ),
        ("delete_assessment", {"trace_id": "tr-1", "assessment_id": "a-4"}),
        ("link_traces_to_run", {"trace_ids": ["tr-1"], "run_id": "r"}),
        ("start_trace", {"trace_info": {**info, "trace_id": "tr-2"}}),
        ("delete_traces", {"experiment_id": "1", "trace_ids": ["tr-2"]}),
    )
    [trace] = estate.traces.values()
    assert (trace.experiment_id, trace.request_time_ms, trace.duration_ms) == ("1", 5, 1500)
    assert (trace.tags, trace.runs) == ({"added": "2", "b": "2"}, ["r"])
    assert [one["name"] for one in trace.spans.values()] == ["ended"]
    assert trace.assessments["a-1"]["feedback"] == {"value": 2}
    assert trace.assessments["a-1"]["valid"] is False
    assert trace.assessments["a-3"]["valid"] is True
    assert trace.assessments.keys() == {"a-1", "a-2", "a-3"}


def test_data_sets_for_evaluation() -> None:
    named = {"dataset_id": "d-1"}
    first = {"inputs": {"q": 1}, "expectations": {"a": 1}}
    estate = estate_after(
        ("create_dataset", {"name": "qa", "experiment_ids": ["1"]}, named),
        ("upsert_dataset_records", {**named, "records": [first, {"inputs": {"q": 2}}]}),
        ("upsert_dataset_records", {**named, "records": [{**first, "expectations": {"a": 2}}]}),
        ("add_dataset_to_experiments", {**named, "experiment_ids": ["2"]}),
        ("remove_dataset_from_experiments", {**named, "experiment_ids": ["1"]}),
        ("set_dataset_tags", {**named, "tags": {"k": "v", "l": "w"}}),
        ("delete_dataset_tag", {**named, "key": "l"}),
    )
    dataset = estate.datasets["d-1"]
    assert (dataset.row["name"], dataset.experiments, dataset.tags) == ("qa", ["2"], {"k": "v"})
    changed, other = dataset.records.values()
    assert (changed["expectations"], other["inputs"]) == ({"a": 2}, {"q": 2})
    assert changed["created_time"] == other["created_time"] == other["last_update_time"]
    assert changed["last_update_time"] > changed["created_time"]


def test_calls_of_many_documents_count_in_the_order_of_their_times() -> None:
    named = {"experiment_id": "1"}

    def call(second: int, method: str, **given: Any) -> Event:
        arguments = {**named, **given}
        return StoreCalled(RUN_ID, "a" * 16, 0, second * NS, method, {}, arguments)

    reduction = StateBuilder()
    reduction.feed([call(3, "rename_experiment", new_name="last")])
    reduction.feed([call(2, "rename_experiment", new_name="second")])
    reduction.feed([call(1, "create_experiment", name="first")])
    assert reduction.finish().experiments["1"].name == "last"


def test_what_is_not_known_is_left_and_not_lost() -> None:
    estate = estate_after(
        ("record_jobs", {"rows": [{"id": "1"}]}),
        ("brand_new_method", {"a": 1}),
        ("create_model_version", {"name": "iris"}),
    )
    assert estate.rows == {"jobs": [{"id": "1"}]}
    assert estate.left == [
        ("brand_new_method", {"a": 1}),
        ("create_model_version", {"name": "iris"}),
    ]
