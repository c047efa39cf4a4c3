"""State records survive the way to events and back: sources write them, replay reads them."""

from __future__ import annotations

import ast
import dataclasses
from array import array
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov import events as event_types
from yprov_mlflow.prov import sources
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.sources.state_events import DELETED_STAGE, EventFactory
from yprov_mlflow.prov.state import (
    EvaluationDataset,
    Experiment,
    LoggedModel,
    ModelVersion,
    Points,
    RegisteredModel,
    Run,
    StoreState,
    Trace,
)

STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
RUN_ID = "3f2c0a4e111142228333444455556666"

texts = st.text(st.characters(codec="utf-8"), max_size=5)
names = st.text("abcxyz", min_size=1, max_size=4)
times = st.integers(0, 2**41)
mappings = st.dictionaries(names, texts, max_size=3)
uris = st.sampled_from([None, "s3://bucket/1", "/data/mlruns/0"])
lifecycles = st.sampled_from(["active", "deleted"])
files = st.dictionaries(
    names, st.fixed_dictionaries({"size": times, "sha256": st.none() | names}), max_size=2
)


def optional(strategy):
    return st.none() | strategy


experiments = st.builds(
    Experiment,
    st.integers(0, 99).map(str),
    optional(texts),
    uris,
    optional(times),
    optional(times),
    lifecycles,
    mappings,
    mappings,
)
version_fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("source", "run_id", "description", "user_id", "status"), texts),
        "creation_time": times,
        "last_updated_time": times,
        "mood": texts,  # of a later schema
    },
)


@st.composite
def registered_models(draw):
    versions = {
        number: ModelVersion(
            number,
            draw(st.sampled_from([None, "Production", DELETED_STAGE])),
            draw(version_fields),
            draw(mappings),
        )
        for number in draw(st.sets(st.integers(1, 9), max_size=3))
    }
    return RegisteredModel(
        draw(names),
        draw(optional(texts)),
        draw(optional(times)),
        draw(optional(times)),
        draw(mappings),
        draw(st.dictionaries(names, st.sampled_from(sorted(versions)), max_size=2))
        if versions
        else {},
        versions,
        draw(mappings),
    )


metric = st.fixed_dictionaries(
    {"run_id": names, "key": names, "value": st.floats(allow_nan=False), "step": times}
)
logged_models = st.builds(
    LoggedModel,
    names.map("m-{}".format),
    optional(names),
    optional(texts),
    optional(texts),
    st.sampled_from([None, "PENDING", "READY", "FAILED"]),
    optional(names),
    uris,
    optional(names),
    optional(times),
    optional(times),
    lifecycles,
    st.dictionaries(names, names, max_size=2),
    mappings,
    mappings,
    st.lists(metric, max_size=3),
    files,
)


@st.composite
def traces(draw):
    trace_id = f"tr-{draw(names)}"
    spans = {
        f"{number:016x}": {"trace_id": trace_id, "span_id": f"{number:016x}", "name": draw(texts)}
        for number in draw(st.sets(st.integers(1, 9), max_size=2))
    }
    assessments = {
        f"a-{name}": {"trace_id": trace_id, "assessment_id": f"a-{name}", "name": draw(names)}
        for name in draw(st.sets(names, max_size=2))
    }
    return Trace(
        trace_id,
        True,
        draw(st.integers(0, 99).map(str)),
        draw(optional(times)),
        draw(optional(times)),
        draw(st.sampled_from([None, "OK", "ERROR"])),
        draw(optional(texts)),
        draw(optional(texts)),
        draw(optional(texts)),
        draw(mappings),
        draw(mappings),
        draw(mappings),
        spans=spans,
        assessments=assessments,
        runs=draw(st.lists(names, unique=True, max_size=2)),
        prompts=draw(st.lists(names.map("{}/1".format), unique=True, max_size=2)),
        artifacts=draw(files),
    )


row_fields = {"schema": texts, "digest": names, "mood": texts}


@st.composite
def evaluation_datasets(draw):
    ids = draw(st.sets(names, max_size=3))
    return EvaluationDataset(
        f"d-{draw(names)}",
        draw(st.fixed_dictionaries({"name": texts}, optional=row_fields)),
        draw(mappings),
        draw(st.lists(names, unique=True, max_size=2)),
        {name: {"dataset_record_id": name, "inputs": draw(mappings)} for name in ids},
    )


def unique(strategy, key):
    """Return a strategy for a mapping of records by their id."""
    records = st.lists(strategy, max_size=3, unique_by=key)
    return records.map(lambda items: {key(item): item for item in items})


states = st.builds(
    StoreState,
    unique(experiments, lambda record: record.experiment_id),
    unique(logged_models, lambda record: record.model_id),
    unique(registered_models(), lambda record: record.name),
    unique(traces(), lambda record: record.trace_id),
    unique(evaluation_datasets(), lambda record: record.dataset_id),
    st.lists(
        st.fixed_dictionaries(
            {
                **dict.fromkeys(("experiment_id", "name", "scorer_id"), names),
                "scorer_version": st.integers(1, 9),
                "serialized_scorer": texts,
                "creation_time": times,
            }
        ),
        max_size=2,
    ),
    st.dictionaries(names, st.lists(mappings, min_size=1, max_size=3), max_size=2),
)


def list_of(artifacts):
    return [{"path": path, **file} for path, file in artifacts.items()]


def events_of(state):
    """Yield the events of a store's state, in the order that the sources have."""
    events = EventFactory(store_id(STORE["uuid"]))
    for experiment in state.experiments.values():
        yield from events.experiment(experiment)
    for model in state.models.values():
        yield from events.logged_model(model)
        yield from events.artifacts(list_of(model.artifacts), ("model", model.model_id))
        yield from events.model_points(model.model_id, model.metrics)
    for model in state.registered_models.values():
        yield events.registered_model(model)
        for version in model.versions.values():
            yield from events.model_version(model.name, version)
        yield from events.aliases(model)
    for trace in state.traces.values():
        yield events.trace(trace)
        yield from events.spans(trace.trace_id, [*trace.spans.values()])
        for assessment in trace.assessments.values():
            yield events.assessment(trace.trace_id, assessment)
        yield from events.linked_prompts(trace)
        for run_id in trace.runs:
            yield from events.linked_traces(run_id, [trace.trace_id])
        yield from events.artifacts(list_of(trace.artifacts), ("trace", trace.trace_id))
    for dataset in state.evaluation_datasets.values():
        yield events.evaluation_dataset(dataset)
        yield from events.dataset_records(dataset)
    for row in state.scorers:
        yield events.scorer(row)
    for table, rows in state.table_rows.items():
        yield events.table_rows(table, rows)


@given(states)
def test_store_state_survives_events_and_replay(state):
    events = list(events_of(state))
    builder = StateBuilder()
    assert builder.feed(events) is None
    assert builder.finish() == state
    assert [event.seq for event in events] == list(range(len(events)))


@st.composite
def points(draw):
    values = draw(st.lists(st.floats(allow_nan=False), min_size=1, max_size=4))
    size, indices = len(values), st.integers(0, len(values) - 1)
    integers = st.lists(times, min_size=size, max_size=size).map(lambda items: array("q", items))
    return Points(
        array("d", values),
        draw(integers),
        draw(integers),
        draw(st.dictionaries(indices, names, max_size=2)),
        draw(st.dictionaries(indices, st.tuples(names, names), max_size=2)),
    )


datasets = st.fixed_dictionaries(
    {**dict.fromkeys(("name", "digest"), names), "tags": st.dictionaries(names, texts, min_size=1)}
)
runs = st.builds(
    Run,
    st.just(RUN_ID),
    st.integers(0, 99).map(str),
    optional(texts),
    optional(texts),
    optional(texts),
    st.sampled_from([None, "RUNNING", "FINISHED", "ODD"]),
    optional(times),
    optional(times),
    lifecycles,
    uris,
    st.just(True),
    st.just(STORE),
    mappings,
    mappings,
    mappings,
    st.dictionaries(names, points(), max_size=2),
    st.lists(datasets, max_size=2, unique_by=lambda dataset: dataset["name"]),
    st.lists(names, unique=True, max_size=2),
    st.lists(st.tuples(names, times), unique=True, max_size=2),
    files,
)


@given(runs)
def test_run_survives_events_and_replay(run):
    events = EventFactory(run.run_id)

    def metrics(key, columns):
        size = len(columns.values)
        models = [columns.models.get(i) for i in range(size)]
        of_datasets = [columns.datasets.get(i) for i in range(size)]
        return events.metrics(
            key, columns.values, columns.timestamps_ms, columns.steps, models, of_datasets
        )

    parts = (
        *events.run(run),
        *events.params(run),
        *events.tags(run),
        *(metrics(key, columns) for key, columns in run.points.items()),
        *events.inputs(run),
        *events.outputs(run),
        *events.artifacts(list_of(run.artifacts)),
    )
    assert StateBuilder().feed(parts) == run


def test_long_sequences_are_split_into_several_events():
    events = EventFactory("run")
    rows = {str(number): {"dataset_record_id": str(number)} for number in range(1001)}
    dataset = EvaluationDataset("d-1", records=rows)
    sizes = [len(event.arguments["records"]) for event in events.dataset_records(dataset)]
    assert sizes == [500, 500, 1]
    metrics = [{"key": "a", "value": 1.0}] * 8193
    sizes = [len(event.arguments["metrics"]) for event in events.model_points("m-1", metrics)]
    assert sizes == [8192, 1]


def test_deleted_versions_are_created_and_deleted():
    version = ModelVersion(2, DELETED_STAGE, {"source": "s3://b/2", "mood": "good"})
    created, deleted = EventFactory("run").model_version("iris", version)
    assert created.arguments["source"] == "s3://b/2" and created.arguments["mood"] == "good"
    assert created.arguments["run_id"] is None and created.arguments["version"] == "2"
    assert (deleted.method, deleted.arguments) == (
        "delete_model_version",
        {"name": "iris", "version": "2"},
    )


def test_sources_create_events_in_state_events_only():
    """How a record is expressed as events must not be defined a second time."""
    kinds = {
        cls.__name__
        for cls in vars(event_types).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls)
    }
    folder = Path(sources.__file__).parent
    creators = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and kinds & {ast.unparse(name).rpartition(".")[2] for name in (node.func, *node.args)}
        and getattr(node.func, "id", None) != "isinstance"
    }
    assert creators == {"state_events.py"}


def test_points_of_runs_and_models_are_counted_as_possibly_infinite():
    factory = EventFactory(RUN_ID)
    largest = event_types.LARGEST_FLOAT
    factory.metrics("m", array("d", [1.0, largest, -largest]), [0, 0, 0], [0, 0, 0])
    list(factory.model_points("m-1", [{"key": "m", "value": v} for v in (largest, 1.0, None)]))
    (problem,) = factory.possibly_infinite()
    assert problem.reason.startswith("3 metric values")
    assert not list(EventFactory(RUN_ID).possibly_infinite())
