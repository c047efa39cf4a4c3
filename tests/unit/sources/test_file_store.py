"""Events of a file store: each layout that MLflow has had, and each kind of record in it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from array import array

import pytest
from support.builders.file_store_builder import (
    RUN,
    STARTED,
    FileStoreBuilder,
    write_files,
    write_meta,
)
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.ids import store_id, store_uuid
from yprov_mlflow.prov.sources import open_source


@pytest.fixture
def tree(tmp_path):
    return FileStoreBuilder(tmp_path / "mlruns")


# -- runs --------------------------------------------------------------------------------


def test_events_of_a_run_are_ordered(tree):
    folder = tree.run(
        params={"lr": "0.1"},
        tags={"mlflow.runName": "a run", "team": "x"},
        metrics={"loss": [(5, 0.5, 0), (6, 0.25, 1)], "acc": [(7, 1.0, 0)]},
        artifacts={"model/MLmodel": "flavors", "plot.png": b"\x89PNG"},
    )
    reading = SourceContents(tree.root)
    store = {"uuid": store_uuid(1, "file:///elsewhere/mlruns/0", ""), "uri": f"file://{tree.root}"}
    head = (folder.name, "store")
    sha = {path: hashlib.sha256(content).hexdigest() for path, content in _FILES.items()}
    uri = f"file:///elsewhere/mlruns/0/{folder.name}/artifacts"
    assert reading.run_events() == [
        RunCreated(*head, 0, 0, "0", "Default", "a run", "alice", STARTED, uri, {}, store, _LOCAL),
        RunUpdated(*head, 1, 0, "FINISHED", STARTED + 5, None, None),
        ParamsLogged(*head, 2, 0, {"lr": "0.1"}),
        TagsSet(*head, 3, 0, {"mlflow.runName": "a run", "team": "x"}),
        MetricsLogged(*head, 4, 0, ["acc"], array("d", [1.0]), array("q", [7]), array("q", [0])),
        MetricsLogged(
            *head,
            5,
            0,
            ["loss"] * 2,
            array("d", [0.5, 0.25]),
            array("q", [5, 6]),
            array("q", [0, 1]),
        ),
        ArtifactsLogged(
            *head,
            6,
            0,
            [
                {"path": "model/MLmodel", "size": 7, "sha256": sha["model/MLmodel"]},
                {"path": "plot.png", "size": 4, "sha256": sha["plot.png"]},
            ],
        ),
    ]
    assert reading.problems == []


_FILES = {"model/MLmodel": b"flavors", "plot.png": b"\x89PNG"}
_LOCAL = {"source_type": "LOCAL"}


def test_run_refs_have_experiment_status_and_lifecycle(tree):
    tree.experiment("7", name="seven", trash=True)
    tree.run(2, status=1, end_time=None)
    tree.run(1, lifecycle_stage="deleted", deleted_time=77)
    tree.run(3, experiment=".trash/7")
    refs = SourceContents(tree.root).refs
    assert [(r.key, r.experiment_id, r.experiment_name, r.status, r.lifecycle) for r in refs] == [
        (f"0/{RUN}1", "0", "Default", "FINISHED", "deleted"),
        (f"0/{RUN}2", "0", "Default", "RUNNING", "active"),
        (f".trash/7/{RUN}3", "7", "seven", "FINISHED", "active"),
    ]
    assert {ref.start_time_ms for ref in refs} == {STARTED}


def test_deleted_run_has_lifecycle_and_deleted_time(tree):
    tree.run(lifecycle_stage="deleted", deleted_time=77)
    reading = SourceContents(tree.root)
    assert reading.single(RunUpdated).lifecycle == "deleted"
    assert reading.single(RunCreated).fields == {"source_type": "LOCAL", "deleted_time": 77}


@pytest.mark.parametrize(
    ("number", "word"), [(1, "RUNNING"), (2, "SCHEDULED"), (3, "FINISHED"), (4, "FAILED")]
)
def test_status_numbers_become_words(tree, number, word):
    tree.run(status=number)
    assert SourceContents(tree.root).single(RunUpdated).status == word


def test_keys_with_slashes_are_nested_files(tree):
    tree.run(
        params={"a/b/c": "1", "a/d": "2", "with space": "3", "ünï": "4"},
        tags={"x/y": "z"},
        metrics={"train/loss": [(1, 2.0, 3)]},
    )
    reading = SourceContents(tree.root)
    assert reading.params() == {"a/b/c": "1", "a/d": "2", "with space": "3", "ünï": "4"}
    assert reading.tags() == {"x/y": "z"}
    assert reading.points("train/loss") == [(1, 2.0, 3)]


def test_values_keep_line_ends_and_spaces(tree):
    values = {"empty": "", "lines": "a\nb\r\n\n", "long": "x" * 70_000, "space": "  v  "}
    tree.run(params=values, tags=values)
    reading = SourceContents(tree.root)
    assert reading.params() == reading.tags() == values
    assert reading.problems == []


def test_missing_empty_folders_are_no_problem(tree):
    folder = tree.run()
    for name in ("params", "metrics", "tags", "artifacts"):
        (folder / name).rmdir()
    reading = SourceContents(tree.root)
    assert [type(event) for event in reading.run_events()] == [RunCreated, RunUpdated]
    assert reading.problems == []


def test_same_run_id_in_two_experiments_gives_two_runs(tree):
    tree.experiment("1")
    tree.run(4, params={"in": "0"})
    tree.run(4, experiment="1", params={"in": "1"})
    reading = SourceContents(tree.root)
    assert [ref.run_id for ref in reading.refs] == [f"{RUN}4"] * 2
    assert reading.params(f"0/{RUN}4") == {"in": "0"}
    assert reading.params(f"1/{RUN}4") == {"in": "1"}


def test_run_name_falls_back_to_tag(tree):
    tree.run(run_name=..., tags={"mlflow.runName": "tagged"})
    assert SourceContents(tree.root).single(RunCreated).run_name == "tagged"


def test_empty_run_name_is_kept(tree):
    tree.run(run_name="")
    assert SourceContents(tree.root).single(RunCreated).run_name == ""


# -- before 1.0 --------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path):
    """A store of MLflow 0.x: only run_uuid, numbers as experiment ids, seconds, no steps."""
    tree = FileStoreBuilder(tmp_path / "mlruns")
    write_meta(
        tree.root / "0" / "meta.yaml",
        experiment_id=0,
        name="Default",
        artifact_location="/Users/jules/mlruns/0",
    )
    tree.run(
        experiment_id=0,
        lifecycle_stage=...,
        run_id=...,
        run_name=...,
        name="Run 4",
        source_name="train.py",
        source_version="cf69a55a",
        entry_point_name="main",
        source_type=3,
        artifact_uri=f"/Users/jules/mlruns/0/{RUN}0/artifacts",
        params={"drop_rate": "0.2\n", "text": "a\nb\n"},
        metrics={"loss": [(1530055550, 0.5), (1530055551, 0.25)]},
        artifacts={"a.txt": "a"},
    )
    return tree


def test_fields_of_old_meta_yaml_are_kept(old):
    reading = SourceContents(old.root)
    created = reading.single(RunCreated)
    assert (created.run_name, created.experiment_id) == ("Run 4", "0")
    assert created.fields == {
        "name": "Run 4",
        "source_type": "PROJECT",
        "source_name": "train.py",
        "source_version": "cf69a55a",
        "entry_point_name": "main",
        "metric_timestamps": "s",
    }
    assert reading.problems == []


def test_timestamps_in_seconds_become_ms(old):
    reading = SourceContents(old.root)
    assert reading.points("loss") == [(1530055550000, 0.5, 0), (1530055551000, 0.25, 0)]


def test_seconds_become_ms_only_without_steps(tree):
    tree.run(
        metrics={
            "with steps": [(1594065576, 4.0, 1)],
            "no time": [(123, 1.0)],
            "ms": [(1594065576000, 1.0)],
            "seconds": [(1594065576, 1.0), (5, 2.0)],
        }
    )
    reading = SourceContents(tree.root)
    assert reading.points("with steps") == [(1594065576, 4.0, 1)]
    assert reading.points("no time") == [(123, 1.0, 0)]
    assert reading.points("ms") == [(1594065576000, 1.0, 0)]
    assert reading.points("seconds") == [(1594065576000, 1.0, 0), (5, 2.0, 0)]
    assert reading.reasons() == ["has timestamps in seconds, converted to milliseconds"]


def test_final_line_feed_of_old_params_is_removed(old):
    assert SourceContents(old.root).params() == {"drop_rate": "0.2", "text": "a\nb"}


def test_tags_inside_meta_yaml_are_read(tree):
    tree.run(tags={"k": "of the file"}, **{"lifecycle_stage": "active"})
    folder = tree.root / "0" / f"{RUN}0"
    text = (
        (folder / "meta.yaml")
        .read_text()
        .replace("tags: []", "tags:\n- {key: k, value: v}\n- {key: old, value: w}")
    )
    (folder / "meta.yaml").write_text(text)
    assert SourceContents(tree.root).tags() == {"k": "of the file", "old": "w"}


# -- metrics -----------------------------------------------------------------------------


def test_points_keep_order_and_exact_values(tree):
    points = [(9, 1.0, 5), (1, "nan", -2), (1, "nan", -2), (-3, "inf", 0), (0, "-inf", 0)]
    tree.run(metrics={"m": [*points, (2, "-0.0", 2**62)]})
    reading = SourceContents(tree.root)
    assert [(stamp, str(value), step) for stamp, value, step in reading.points("m")] == [
        (9, "1.0", 5),
        (1, "nan", -2),
        (1, "nan", -2),
        (-3, "inf", 0),
        (0, "-inf", 0),
        (2, "-0.0", 2**62),
    ]
    assert reading.problems == []


def test_metric_events_have_at_most_8192_points_in_arrays(tree):
    count = 3 * 8192 + 5
    tree.run(metrics={"m": [(i, i / 7, i) for i in range(count)]})
    events = SourceContents(tree.root).select(MetricsLogged)
    assert [len(event.values) for event in events] == [8192, 8192, 8192, 5]
    assert all(isinstance(e.values, array) and isinstance(e.steps, array) for e in events)
    assert [step for event in events for step in event.steps] == list(range(count))
    assert [value for event in events for value in event.values] == [i / 7 for i in range(count)]


def test_points_with_dataset_name_it(tree):
    tree.run(
        metrics={"m": [(1, 0.5, 3, "iris", "d1"), (2, 0.6, 4, "my data set", "d2"), (3, 1, 5)]}
    )
    event = SourceContents(tree.root).single(MetricsLogged)
    assert event.datasets == [("iris", "d1"), ("my data set", "d2"), None]
    assert list(event.steps) == [3, 4, 5]


# -- experiments, inputs, models ---------------------------------------------------------


def test_experiments_become_store_calls(tree):
    tree.experiment("7", name="seven", trash=True, tags={"mlflow.note.content": "a\nb"})
    tree.experiment("8", lifecycle_stage="deleted", artifact_location="s3://u:secret@host/8")
    reading = SourceContents(tree.root)
    assert reading.store[0].run_id == store_id(reading.source.store()["uuid"])
    assert [event.seq for event in reading.store] == list(range(len(reading.store)))
    created = [event.arguments for event in reading.calls("create_experiment")]
    assert created[1] == {
        "name": "seven",
        "experiment_id": "7",
        "artifact_location": "file:///elsewhere/mlruns/7",
        "tags": {"mlflow.note.content": "a\nb"},
        "creation_time": 1,
        "last_update_time": 2,
        "lifecycle_stage": "deleted",
    }
    assert created[2]["artifact_location"] == "s3://host/8"
    assert [arguments["lifecycle_stage"] for arguments in created] == [
        "active",
        "deleted",
        "deleted",
    ]
    assert [e.subjects for e in reading.calls("delete_experiment")] == [
        {"experiment": "7"},
        {"experiment": "8"},
    ]


def test_inputs_are_datasets_with_tags_and_models(tree):
    folder = tree.run()
    dataset = {"name": "iris", "digest": "d", "source_type": "code", "source": "{}"}
    write_meta(tree.root / "0/datasets/d0/meta.yaml", **dataset, schema="x" * 100_000, profile=None)
    ends = {"destination_type": "RUN", "destination_id": "d0"}
    described = {"source_type": "DATASET", "source_id": "d0", **ends}
    tags = {"mlflow.data.context": "eval"}
    write_meta(folder / "inputs/i0/meta.yaml", **described, tags=tags)
    described = {"source_type": "MODEL", "source_id": "m-1", **ends}
    write_meta(folder / "inputs/i1/meta.yaml", **described, tags={})
    reading = SourceContents(tree.root)
    event = reading.single(InputsLogged)
    expected = {**dataset, "schema": "x" * 100_000, "profile": None, "tags": tags}
    assert event.datasets == [expected]
    assert event.models == ["m-1"]
    assert reading.problems == []


def test_unused_datasets_are_store_events(tree):
    tree.run()
    write_meta(tree.root / "0/datasets/d0/meta.yaml", name="iris", digest="d")
    (call,) = SourceContents(tree.root).calls("record_datasets")
    assert call.arguments["rows"][0] | {"name": "iris"} == call.arguments["rows"][0]
    assert call.subjects == {"experiment": "0"}


def test_logged_model_is_in_events_of_its_run(tree):
    folder = tree.run(metrics={"acc": [(5, 0.5, 0), (5, 0.5, 0), (6, 0.75, 1)]})
    of_model = [(5, 0.5, 0, folder.name), (6, 0.75, 1, folder.name)]
    path = tree.model("m-1", folder, metrics={"acc": of_model}, status_message="fine")
    write_files(path / "params", {"depth": "3"})
    write_files(path / "tags", {"stage": "x"})
    write_files(path / "artifacts", {"MLmodel": "m"})
    write_meta(folder / "outputs/m-1/meta.yaml", **_OUTPUT, step=4)
    reading = SourceContents(tree.root)
    kinds = [type(event) for event in reading.run_events()]
    assert kinds.index(ModelLogged) < kinds.index(OutputsLogged) < kinds.index(ArtifactsLogged)
    head = (folder.name, "store", 3, 0)
    assert reading.single(ModelLogged) == ModelLogged(
        *head,
        "m-1",
        "net",
        "",
        "READY",
        "0",
        "file:///elsewhere/mlruns/0/models/m-1/artifacts",
        STARTED + 1,
        {"depth": "3"},
        {"stage": "x"},
        None,
        {
            "last_updated_timestamp_ms": STARTED + 2,
            "source_run_id": folder.name,
            "status_message": "fine",
        },
    )
    assert reading.single(OutputsLogged).models == [("m-1", 4)]
    assert reading.single(ArtifactsLogged).owner == ("model", "m-1")
    assert reading.single(MetricsLogged).models == ["m-1", None, "m-1"]
    assert reading.calls("log_logged_model_metrics") == []
    assert reading.problems == []


_OUTPUT = {
    "source_type": "RUN_OUTPUT",
    "source_id": "m-1",
    "destination_type": "MODEL_OUTPUT",
    "destination_id": "m-1",
    "tags": {},
}


def test_model_points_missing_from_the_run_become_calls(tree):
    first = tree.run(1, metrics={"acc": [(5, 0.5, 0)]})
    second = tree.run(2, metrics={"acc": [(7, 0.7, 0, "iris", "d")]})
    tree.model(
        "m-1",
        first,
        metrics={
            "acc": [
                (5, 0.5, 0, first.name),
                (6, "nan", 1, first.name),
                (7, 0.7, 0, second.name, "iris", "d"),
                (8, 0.8, 2, "f" * 32),
            ],
            "only": [(9, 0.9, 3, second.name)],
        },
    )
    reading = SourceContents(tree.root)
    assert reading.single(MetricsLogged, first).models == ["m-1"]
    assert reading.single(MetricsLogged, second).models == ["m-1"]
    (call,) = reading.select(StoreCalled, first)
    assert (call.method, call.subjects) == ("log_logged_model_metrics", {"logged-model": "m-1"})
    assert call.arguments["model_id"] == "m-1"
    points = [(p["timestamp"], p["step"], p["run_id"]) for p in call.arguments["metrics"]]
    assert points == [(6, 1, first.name), (8, 2, "f" * 32)]
    (call,) = reading.select(StoreCalled, second)
    assert call.arguments["metrics"] == [
        {
            "key": "only",
            "value": 0.9,
            "timestamp": 9,
            "step": 3,
            "run_id": second.name,
            "dataset_name": None,
            "dataset_digest": None,
        }
    ]


def test_model_without_run_is_a_store_event(tree):
    folder = tree.model("m-2", None, metrics={"acc": [(5, 0.5, 0, "f" * 32)]}, status=3)
    write_files(folder / "artifacts", {"MLmodel": "m"})
    tree.model("m-3", None, source_run_id="e" * 32, lifecycle_stage="deleted")
    reading = SourceContents(tree.root)
    models = [event for event in reading.store if isinstance(event, ModelLogged)]
    assert [(e.model_id, e.status) for e in models] == [
        ("m-2", "FAILED"),
        ("m-3", "READY"),
        ("m-3", "DELETED"),
    ]
    assert models[1].fields["lifecycle"] == "deleted"
    assert [e.owner for e in reading.store if isinstance(e, ArtifactsLogged)] == [("model", "m-2")]
    (points,) = reading.calls("log_logged_model_metrics")
    assert points.arguments["metrics"][0]["run_id"] == "f" * 32


def test_models_and_traces_of_a_missing_run_are_store_events(tree):
    deleted = tree.run(1)
    (deleted / "meta.yaml").unlink()  # MLflow's empty folders remain
    tree.model("m-1", deleted)
    trace = tree.root / "0/traces/tr-1"
    write_meta(trace / "trace_info.yaml", trace_id="tr-1", request_time="2026-01-01T00:00:00Z")
    write_files(trace / "request_metadata", {"mlflow.sourceRun": deleted.name})
    reading = SourceContents(tree.root)
    assert reading.refs == []
    assert [event.model_id for event in reading.store if isinstance(event, ModelLogged)] == ["m-1"]
    assert [call.subjects for call in reading.calls("start_trace")] == [{"trace": "tr-1"}]


def test_model_belongs_to_the_run_in_its_own_experiment(tree):
    tree.experiment("1")
    run = tree.run(4)
    tree.run(4, experiment="1")
    tree.model("m-1", run, experiment="1")
    reading = SourceContents(tree.root)
    assert reading.select(ModelLogged, f"0/{RUN}4") == []
    assert reading.single(ModelLogged, f"1/{RUN}4").model_id == "m-1"


def test_points_of_a_model_are_matched_in_a_window(tree):
    count = 100_000
    folder = tree.run(metrics={"m": [(i, i / 2, i) for i in range(count)]})
    of_model = [(i, i / 2, i, folder.name) for i in range(0, count, 2)]
    tree.model("m-1", folder, metrics={"m": [*of_model, (0, 0.5, 0, folder.name)]})
    reading = SourceContents(tree.root)
    models = [model for event in reading.select(MetricsLogged) for model in event.models or ()]
    assert models == ["m-1", None] * (count // 2)
    assert [len(event.arguments["metrics"]) for event in reading.select(StoreCalled)] == [1]


# -- registry ----------------------------------------------------------------------------


def test_registry_becomes_store_calls(tree):
    top = tree.root / "models" / "net"
    write_meta(
        top / "meta.yaml", name="net", description="", creation_timestamp=1, aliases={"old": 9}
    )
    write_files(top / "tags", {"team/lead": "x"})
    write_files(top / "aliases", {"champion": "2"})
    for version, stage in (("2", "Production"), ("10", "None"), ("3", "Deleted_Internal")):
        write_meta(
            top / f"version-{version}" / "meta.yaml",
            name="net",
            version=int(version),
            source=f"runs:/{RUN}0/model",
            run_id=f"{RUN}0",
            current_stage=stage,
            status="READY",
            storage_location="s3://u:secret@host/x",
            user_id="",
        )
    write_files(top / "version-2" / "tags", {"k": "v"})
    reading = SourceContents(tree.root)
    calls = [event for event in reading.store if event.method != "create_experiment"]
    assert [(event.method, event.subjects) for event in calls] == [
        ("create_registered_model", {"model": "net"}),
        ("create_model_version", {"model": "net", "version": "2"}),
        ("transition_model_version_stage", {"model": "net", "version": "2"}),
        ("create_model_version", {"model": "net", "version": "3"}),
        ("delete_model_version", {"model": "net", "version": "3"}),
        ("create_model_version", {"model": "net", "version": "10"}),
        ("set_registered_model_alias", {"model": "net", "alias": "champion", "version": "2"}),
    ]
    assert calls[0].arguments == {
        "name": "net",
        "description": "",
        "tags": {"team/lead": "x"},
        "creation_timestamp": 1,
        "last_updated_timestamp": None,
    }
    assert calls[1].arguments == {
        "name": "net",
        "version": "2",
        "source": f"runs:/{RUN}0/model",
        "run_id": f"{RUN}0",
        "run_link": None,
        "description": None,
        "tags": {"k": "v"},
        "user_id": "",
        "creation_timestamp": None,
        "last_updated_timestamp": None,
        "status": "READY",
        "status_message": None,
        "storage_location": "s3://host/x",
        "model_id": None,
    }
    assert calls[2].arguments["stage"] == "Production"
    assert calls[2].arguments["archive_existing_versions"] is False
    assert reading.problems == []


def test_aliases_fall_back_to_meta_yaml(tree):
    write_meta(tree.root / "models/net/meta.yaml", name="net", aliases={"champion": "1"})
    (call,) = SourceContents(tree.root).calls("set_registered_model_alias")
    assert call.arguments == {"name": "net", "alias": "champion", "version": "1"}


# -- traces ------------------------------------------------------------------------------


def _span(**fields):
    return {
        "trace_id": "qmGtkEgtbe9dhLBP2lYNgA==",
        "span_id": "J3AOaM1leVM=",
        "name": "s",
        **fields,
    }


def test_trace_of_mlflow_3_is_in_events_of_its_run(tree):
    run = tree.run()
    folder = tree.root / "0/traces/tr-1"
    write_meta(
        folder / "trace_info.yaml",
        trace_id="tr-1",
        request_time="2026-02-25T10:40:42.374Z",
        execution_duration_ms=12,
        state="OK",
        request_preview="{}",
        trace_location={
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": "0"},
        },
    )
    write_files(folder / "request_metadata", {"mlflow.sourceRun": run.name})
    write_files(folder / "tags", {"mlflow.traceName": "t"})
    spans = [_span(start_time_unix_nano=5, attributes={"x": "NaN"})]
    write_files(folder / "artifacts", {"traces.json": json.dumps({"spans": spans})})
    for number, (ident, value) in enumerate((("a-2", "no"), ("a-1", "yes"))):
        write_meta(
            folder / f"assessments/{ident}.yaml",
            assessment_id=ident,
            assessment_name="good",
            trace_id="tr-1",
            create_time=f"2026-01-01T00:00:0{number}Z",
            source={"source_type": "HUMAN", "source_id": "alice"},
            feedback={"value": value},
        )
    reading = SourceContents(tree.root)
    start, log, first, second = reading.select(StoreCalled)
    assert (start.method, start.subjects) == ("start_trace", {"trace": "tr-1"})
    info = start.arguments["trace_info"]
    assert (info["request_time"], info["execution_duration"]) == (1772016042374, 12)
    assert (info["state"], info["trace_metadata"]) == ("OK", {"mlflow.sourceRun": run.name})
    assert info["tags"] == {"mlflow.traceName": "t"}
    assert (log.method, log.arguments) == ("log_spans", {"spans": spans})
    assert first.subjects == {"trace": "tr-1", "assessment": "a-2"}
    assert first.arguments["assessment"] == {
        "trace_id": "tr-1",
        "assessment_id": "a-2",
        "name": "good",
        "create_time_ms": 1767225600000,
        "last_update_time_ms": None,
        "source": {"source_type": "HUMAN", "source_id": "alice"},
        "feedback": {"value": "no"},
    }
    assert second.arguments["assessment"]["feedback"] == {"value": "yes"}
    (artifacts,) = reading.select(ArtifactsLogged)
    assert artifacts.owner == ("trace", "tr-1")
    assert reading.problems == []


def test_trace_of_mlflow_2_gets_names_of_mlflow_3(tree):
    folder = tree.root / "0/traces/0123"
    write_meta(
        folder / "trace_info.yaml",
        request_id="0123",
        experiment_id="0",
        timestamp_ms=5,
        execution_time_ms=7,
        status="ERROR",
        assessments=[],
    )
    write_files(folder / "request_metadata", {"k": "v"})
    span = {
        "name": "s",
        "context": {"trace_id": "0xaa", "span_id": "0xbb"},
        "parent_id": None,
        "start_time": 5,
        "end_time": 6,
        "status_code": "OK",
        "status_message": "",
        "attributes": {"mlflow.spanType": '"LLM"'},
        "events": [],
    }
    write_files(folder / "artifacts", {"traces.json": json.dumps({"spans": [span]})})
    reading = SourceContents(tree.root)
    start, log = reading.calls("start_trace") + reading.calls("log_spans")
    info = start.arguments["trace_info"]
    assert (info["trace_id"], info["request_time"]) == ("0123", 5)
    assert (info["execution_duration"], info["state"]) == (7, "ERROR")
    assert info["trace_location"]["mlflow_experiment"] == {"experiment_id": "0"}
    assert log.arguments["spans"] == [
        {
            "trace_id": "aa",
            "span_id": "bb",
            "parent_span_id": None,
            "start_time_unix_nano": 5,
            "end_time_unix_nano": 6,
            "status": {"code": "OK", "message": ""},
            "name": "s",
            "events": [],
            "attributes": {"mlflow.spanType": '"LLM"', "mlflow.traceRequestId": '"0123"'},
        }
    ]


def test_expectation_is_deserialized(tree):
    folder = tree.root / "0/traces/tr-1"
    write_meta(folder / "trace_info.yaml", trace_id="tr-1")
    serialized = {"serialization_format": "JSON_FORMAT", "value": '{"q": 3}'}
    write_meta(
        folder / "assessments/a-1.yaml",
        assessment_name="expected",
        expectation={"serialized_value": serialized},
    )
    (call,) = SourceContents(tree.root).calls("create_assessment")
    assert call.arguments["assessment"]["expectation"] == {"value": {"q": 3}}


# -- fingerprints, pickling, artifacts ---------------------------------------------------


def _fingerprints(tree):
    source = open_source(str(tree.root))
    return {ref.key: source.fingerprint(ref) for ref in source.runs()}


@pytest.mark.parametrize(
    "changed",
    [
        "0/{run}/meta.yaml",
        "0/{run}/params/new",
        "0/{run}/artifacts/deep/down.txt",
        "0/models/m-1/tags/new",
        "0/traces/tr-1/tags/new",
        "0/datasets/d0/meta.yaml",
        "0/meta.yaml",
    ],
)
def test_fingerprint_changes_with_each_file_of_the_run(tree, changed):
    folder = tree.run(1, artifacts={"deep/down.txt": "1"})
    other = tree.run(2, experiment="0")
    tree.model("m-1", folder)
    write_meta(tree.root / "0/traces/tr-1/trace_info.yaml", trace_id="tr-1")
    write_files(tree.root / "0/traces/tr-1/request_metadata", {"mlflow.sourceRun": folder.name})
    write_meta(tree.root / "0/datasets/d0/meta.yaml", name="iris")
    linked = {"source_type": "DATASET", "source_id": "d0"}
    write_meta(folder / "inputs/i0/meta.yaml", **linked)
    before = _fingerprints(tree)
    assert before == _fingerprints(tree)
    path = tree.root / changed.format(run=folder.name)
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write("# more\n")
    after = _fingerprints(tree)
    assert after[f"0/{folder.name}"] != before[f"0/{folder.name}"]
    unchanged = after[f"0/{other.name}"] == before[f"0/{other.name}"]
    assert unchanged is (changed != "0/meta.yaml")


def test_pickled_source_reads_the_same(tree, monkeypatch, tmp_path):
    tree.run(params={"a": "1"})
    monkeypatch.chdir(tmp_path)
    source = open_source("mlruns")
    copy = pickle.loads(pickle.dumps(source))
    monkeypatch.chdir(os.sep)
    (ref,) = source.runs()
    assert source.location == copy.location == "mlruns"
    assert list(copy.events(ref)) == list(source.events(ref))
    assert pickle.loads(pickle.dumps(copy)).store() == source.store()
    copy.close()
    assert list(copy.runs()) == [ref]


def test_artifacts_are_found_below_foreign_uris(tmp_path):
    tree = FileStoreBuilder(tmp_path / "mlruns")
    for number, uri in enumerate(
        (
            "mlflow-artifacts:/0/{run}/artifacts",
            r"C:\Users\x\mlruns\0\{run}\artifacts",
            "file:///D:/my%20mlruns/0/{run}/artifacts",
            "dbfs:/databricks/mlflow/0/{run}/artifacts",
            "../mlruns/0/{run}/artifacts",
            "s3://bucket/prefix/0/{run}/artifacts",
        )
    ):
        run = tree.run(number, artifact_uri=uri.format(run=f"{RUN}{number}"))
        (run / "artifacts").rmdir()
        write_files(tmp_path / "mlartifacts" / "0" / run.name / "artifacts", {"a.txt": str(number)})
    reading = SourceContents(tree.root)
    assert reading.problems == []
    for ref in reading.refs:
        (file,) = reading.single(ArtifactsLogged, ref.key).files
        assert file["path"] == "a.txt"
        assert file["sha256"] == hashlib.sha256(ref.run_id[-1].encode()).hexdigest()


def test_own_documents_are_not_listed_as_artifacts(tree):
    ours = ("prov.json", "prov-0a1b.json", "metrics.parquet", "metrics-0a1b.parquet")
    theirs = ("notes.txt", "prov.json.bak", "deep/prov.json")
    tree.run(artifacts={f"provenance/{name}": "x" for name in (*ours, *theirs)})
    files = SourceContents(tree.root).single(ArtifactsLogged).files
    assert {file["path"] for file in files} == {f"provenance/{name}" for name in theirs}


def test_artifacts_are_found_in_the_folder_of_the_user(tmp_path):
    tree = FileStoreBuilder(tmp_path / "mlruns")
    run = tree.run(artifact_uri=f"wasbs://c@account.net/deep/0/{RUN}0/artifacts")
    (run / "artifacts").rmdir()
    write_files(tmp_path / "copy" / "0" / run.name / "artifacts", {"a.txt": "a"})
    assert "out of reach" in SourceContents(tree.root).reasons()[0]
    reading = SourceContents(tree.root, artifacts=str(tmp_path / "copy"))
    assert [file["path"] for file in reading.single(ArtifactsLogged).files] == ["a.txt"]
    assert reading.problems == []


def test_artifacts_out_of_reach_are_a_problem(tree):
    run = tree.run(artifact_uri=f"gs://user:secret@bucket/0/{RUN}0/artifacts")
    (run / "artifacts").rmdir()
    reading = SourceContents(tree.root)
    (problem,) = reading.problems
    assert problem.place == str(run)
    assert "gs://bucket" in problem.reason
    assert "secret" not in problem.reason
    assert reading.single(RunCreated).artifact_uri == f"gs://bucket/0/{RUN}0/artifacts"
