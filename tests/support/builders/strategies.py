"""Hypothesis strategies for the events of random runs, with any content that MLflow allows."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    CollectorStarted,
    CollectorStopped,
    ContextEntered,
    ContextLeft,
    Event,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ObjectRead,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    Sampled,
    SessionStarted,
    StoreCalled,
    TagDeleted,
    TagsSet,
)

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
START_NS = 1_767_322_800_000_000_000

NASTY = (
    "a b",
    "a.b",
    "a_b",
    "a/b",
    "a:b",
    "train/loss",
    "100%",
    "%2F",
    "ä",
    "☃",
    "a@2",
    "a+b",
    "@run",
    "x.",
    "..",
    "-",
    '"quoted"',
    "it's",
    "<a>{b}|^`",
    "back\\slash",
    "two\nlines",
    "\ud800",
    "mlflow.note",
    "prov:type",
    "~",
    "a!b$c",
    "k" * 250,
    "'",
    ";",
    "tab\t",
    "\x00\x1b",
)
"""Keys that some encoding or file system cannot hold as they are."""

keys = st.sampled_from(NASTY) | st.sampled_from("abc") | st.text(min_size=1, max_size=8)
texts = st.sampled_from(("", "0.01", "3", "True", "nan", "-0.0", "1e-05", "007", "1_0", "٣")) | (
    st.text(max_size=12) | st.sampled_from(NASTY)
)
numbers = (
    st.floats(width=64)
    | st.sampled_from((math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0))
    | st.integers(-5, 5).map(float)
)
steps = st.integers(0, 3) | st.integers(-(2**63), 2**63 - 1)
timestamps = st.integers(START_NS // 10**6, START_NS // 10**6 + 10**6) | st.integers(
    -(2**63), 2**63 - 1
)
paths = st.lists(st.sampled_from(("training", "a/b", "a")) | st.integers(0, 2), max_size=3).map(
    tuple
)
models = st.sampled_from(("m-1", "m-2", "m/3"))
digests = st.sampled_from((None, "f" * 64, "0" * 64))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def metrics(draw: st.DrawFn) -> tuple[Any, ...]:
    points = draw(st.lists(st.tuples(keys, numbers, timestamps, steps), min_size=1, max_size=5))
    context_paths = draw(st.lists(paths, max_size=2))
    contexts = None
    if len(context_paths) > 1:
        contexts = draw(
            st.lists(
                st.integers(0, len(context_paths) - 1), min_size=len(points), max_size=len(points)
            )
        )
    return (
        MetricsLogged,
        [p[0] for p in points],
        [p[1] for p in points],
        [p[2] for p in points],
        [p[3] for p in points],
        context_paths,
        contexts,
        draw(st.none() | st.lists(st.none() | models, min_size=len(points), max_size=len(points))),
        draw(st.none() | st.just([["iris", "d1"]] * len(points))),
    )


sources = texts | st.sampled_from(
    (f'{{"uri": "runs:/{RUN_ID}/a.png"}}', '{"uri": "runs:/other/a.png"}')
)
datasets = st.fixed_dictionaries(
    {
        "name": keys,
        "digest": texts,
        "source_type": st.just("local"),
        "source": sources,
    },
    optional={
        "schema": st.none() | texts,
        "profile": st.none() | texts,
        "source_sha256": digests,
        "tags": st.dictionaries(
            st.sampled_from(("mlflow.data.context", "other")),
            st.sampled_from(("training", "test", "mine own")),
        ),
    },
)
files = st.fixed_dictionaries(
    {
        "path": st.sampled_from(("a.png", "model/MLmodel", "model/data/x.bin", "ä b/c.CSV", "x")),
        "size": st.none() | st.integers(0, 2**40),
        "sha256": digests,
    }
)
tags = st.dictionaries(keys, texts, max_size=3)
trace_ids = st.sampled_from(("tr-1", "tr-2"))
spans = st.fixed_dictionaries(
    {
        "trace_id": trace_ids,
        "span_id": st.sampled_from(("1", "2", "3")),
        "parent_id": st.none() | st.sampled_from(("1", "2", "3", "4")),
        "name": texts,
        "start_time_ns": st.integers(START_NS, START_NS + 5),
        "end_time_ns": st.none() | st.integers(START_NS, START_NS + 9),
        "inputs": json_values,
        "outputs": json_values,
    }
)
assessments = st.fixed_dictionaries(
    {"trace_id": trace_ids, "assessment_id": st.sampled_from(("a-1", "a-2")), "name": keys},
    optional={
        "source": st.just({"source_type": "HUMAN", "source_id": "alice"})
        | st.just({"source_type": "LLM_JUDGE", "source_id": "gpt"}),
        "feedback": st.fixed_dictionaries({"value": json_values}),
        "span_id": st.sampled_from(("1", "9")),
        "overrides": st.sampled_from(("a-1", "a-2")),
    },
)


nothing = st.none()


def call(method: str, result: st.SearchStrategy[Any] = nothing, **arguments: Any) -> Any:
    fields = st.fixed_dictionaries(arguments)
    return st.tuples(st.just(StoreCalled), st.just(method), st.just({}), fields, result)


registry_names = st.sampled_from(("iris", "a/b"))
_versions = {"name": registry_names, "version": st.sampled_from(("1", "2"))}
calls = st.one_of(
    call(
        "create_registered_model", name=registry_names, tags=st.just([{"key": "k", "value": "v"}])
    ),
    call("rename_registered_model", name=registry_names, new_name=registry_names),
    call("delete_registered_model", name=registry_names),
    call(
        "create_model_version",
        st.fixed_dictionaries(_versions),
        name=registry_names,
        source=st.sampled_from((f"runs:/{RUN_ID}/model", "models:/m-1", "s3://x", "runs:/other/m")),
        model_id=st.none() | models,
    ),
    call(
        "copy_model_version",
        st.fixed_dictionaries(_versions),
        dst_name=registry_names,
        src_mv=st.fixed_dictionaries(_versions),
    ),
    call(
        "transition_model_version_stage",
        **_versions,
        stage=st.sampled_from(("Staging", "None")),
        archive_existing_versions=st.booleans(),
    ),
    call("set_registered_model_alias", **_versions, alias=keys),
    call("delete_registered_model_alias", name=registry_names, alias=keys),
    call(
        "set_model_version_tag",
        **_versions,
        tag=st.fixed_dictionaries({"key": keys, "value": texts}),
    ),
    call("delete_model_version_tag", **_versions, key=keys),
    call("update_model_version", **_versions, description=texts),
    call("delete_model_version", **_versions),
    call("create_experiment", st.just("7"), name=keys, tags=st.just([])),
    call("rename_experiment", experiment_id=st.just("7"), new_name=keys),
    call("delete_experiment", experiment_id=st.just("7")),
    call("restore_experiment", experiment_id=st.just("7")),
    call(
        "set_experiment_tag",
        experiment_id=st.just("7"),
        tag=st.fixed_dictionaries({"key": keys, "value": texts}),
    ),
    call(
        "start_trace",
        trace_info=st.fixed_dictionaries(
            {
                "trace_id": trace_ids,
                "tags": tags,
                "trace_metadata": st.just({"mlflow.sourceRun": RUN_ID}),
            }
        ),
    ),
    call("log_spans", location=st.just("7"), spans=st.lists(spans, max_size=3)),
    call("delete_traces", experiment_id=st.just("7"), trace_ids=st.lists(trace_ids, max_size=2)),
    call("link_traces_to_run", trace_ids=st.lists(trace_ids, max_size=2), run_id=st.just(RUN_ID)),
    call(
        "unlink_traces_from_run", trace_ids=st.lists(trace_ids, max_size=2), run_id=st.just(RUN_ID)
    ),
    call("create_assessment", assessment=assessments),
    call(
        "update_assessment",
        trace_id=trace_ids,
        assessment_id=st.sampled_from(("a-1", "a-2")),
        feedback=st.fixed_dictionaries({"value": json_values}),
    ),
    call("delete_assessment", trace_id=trace_ids, assessment_id=st.sampled_from(("a-1", "a-2"))),
    call("create_prompt", name=registry_names),
    call(
        "create_prompt_version",
        st.fixed_dictionaries(_versions),
        name=registry_names,
        template=texts,
    ),
    call("link_prompt_version_to_run", **_versions, run_id=st.just(RUN_ID)),
    call("set_prompt_alias", **_versions, alias=keys),
    call("delete_prompt", name=registry_names),
    call("create_dataset", st.fixed_dictionaries({"dataset_id": st.just("d-1")}), name=keys),
    call("upsert_dataset_records", dataset_id=st.just("d-1"), records=json_values),
    call("add_dataset_to_experiments", dataset_id=st.just("d-1"), experiment_ids=st.just(["7"])),
    call("brand_new_method", json_values, anything=json_values),
    st.tuples(
        st.just(StoreCalled),
        st.sampled_from(
            (
                "create_model_version",
                "start_trace",
                "log_spans",
                "create_assessment",
                "set_x_tag",
                "delete_x_alias",
                "rename_x",
            )
        ),
        st.just({"trace": "tr-1"}),
        st.dictionaries(
            st.sampled_from(("name", "version", "trace_info", "spans", "tag", "alias", "key")),
            json_values,
        ),
        json_values,
    ),
)

subjects = st.sampled_from(
    (
        {},
        {"run": RUN_ID},
        {"run": "b" * 32},
        {"logged-model": "m-1"},
        {"logged-model": "m/3"},
        {"model": "iris", "version": "1"},
        {"model": "iris", "version": "2", "logged-model": "m-1"},
        {"prompt": "a/b", "version": "1"},
        {"trace": "tr-1"},
        {"dataset": "d-1"},
    )
)
reads = st.tuples(
    st.just(ObjectRead),
    st.sampled_from(("loaded", "downloaded", "evaluated", "read", "odd")),
    subjects,
    st.sampled_from(("", "a.png", "model", "x")),
    st.none() | texts,
    st.none() | keys,
    st.lists(files, max_size=2),
    paths,
)

actions = st.one_of(
    st.tuples(st.just(ParamsLogged), st.dictionaries(keys, texts, max_size=3)),
    metrics(),
    metrics(),
    st.tuples(st.just(TagsSet), tags),
    st.tuples(st.just(TagDeleted), keys),
    st.tuples(st.just(InputsLogged), st.lists(datasets, max_size=2), st.lists(models, max_size=1)),
    st.tuples(st.just(OutputsLogged), st.lists(st.tuples(models, st.integers(0, 5)), max_size=2)),
    st.tuples(
        st.just(ArtifactsLogged),
        st.lists(files, max_size=3),
        st.none() | st.sampled_from((("model", "m-1"), ("trace", "tr-1"))),
        paths,
        st.booleans(),
    ),
    st.tuples(
        st.just(ModelLogged),
        models,
        st.none() | keys,
        st.none() | texts,
        st.none() | st.sampled_from(("PENDING", "READY", "FAILED", "DELETED", "ODD")),
        st.none() | st.just("1"),
        st.none() | texts,
        st.none() | timestamps,
        st.none() | tags,
        st.none() | tags,
        st.none() | keys,
        st.none(),
        st.none() | subjects,
    ),
    reads,
    st.tuples(st.just(ContextEntered), paths),
    st.tuples(st.just(ContextEntered), paths),
    st.tuples(st.just(ContextLeft), paths, st.booleans()),
    st.tuples(
        st.just(RunUpdated),
        st.none() | st.sampled_from(("FINISHED", "RUNNING", "FAILED", "KILLED", "SCHEDULED")),
        st.none() | timestamps,
        st.none() | texts,
        st.none() | st.sampled_from(("deleted", "active", "purged")),
    ),
    calls,
)

created = st.tuples(
    st.just(RunCreated),
    st.just("1"),
    st.none() | texts,
    st.none() | keys,
    st.none() | keys,
    st.none() | timestamps,
    st.none() | st.just("mlflow-artifacts:/1/x"),
    tags | st.just({"mlflow.parentRunId": "parent run", "mlflow.user": "alice"}),
    st.just(STORE),
)
session_facts = st.fixed_dictionaries(
    {"pid": st.integers(1, 9), "host": texts, "user": keys, "mlflow": st.just("3.17.2")},
    optional={
        "rank": st.integers(0, 2),
        "argv": st.just(["train.py", "-x"]),
        "unheard": json_values,
        "embodied_g": st.floats(0, 10),
    },
)
facts = st.sampled_from(
    (
        (FactsCollected, "git", {"commit": "c0ffee", "dirty": True, "entry_point": "train.py"}),
        (FactsCollected, "environment", {"python": "3.11", "packages": {"A_b": "1+cu", "c": None}}),
        (FactsCollected, "host", {"os": "Linux", "cpu_count": 2, "gpus": [{"name": "x"}]}),
        (FactsCollected, "novel", {"unavailable": "no"}),
    )
)


_JOULES = {"unit": "J", "kind": "ElectricEnergy", "cumulative": True}
_WATTS = {"unit": "W", "kind": "ElectricPower"}
_DESCRIPTION = {
    "agent": "nvidia-ml-py",
    "version": "13.0",
    "procedure": "The counter of the device.",
    "interval_s": 1.0,
    "devices": [{"id": "gpu0", "label": "A GPU", "facts": {"uuid": "GPU-1"}}],
    "quantities": [
        {"name": "energy", "scope": "device", "method": "measured", "device": "gpu0"}
        | {"component": "gpu"}
        | _JOULES,
        {"name": "energy", "scope": "process", "method": "estimated"} | _JOULES,
        {"name": "power", "scope": "device", "method": "measured", "device": "gpu0"} | _WATTS,
        {"name": "smoke", "scope": "node", "unit": "of its own", "kind": "an unknown kind"},
    ],
}
_readings = st.none() | st.floats(0, 1e9) | st.just(1e300)
_measured = st.sampled_from(("nvidia", "a/b c"))
_problem = st.fixed_dictionaries(
    {"reason": texts, "count": st.integers(1, 3), "time_ns": st.integers(0, 2**62)}
)
measurements = st.one_of(
    st.tuples(st.just(CollectorStarted), _measured, st.just(_DESCRIPTION)),
    st.tuples(st.just(CollectorStarted), _measured, st.just({})),
    st.tuples(st.just(Sampled), _measured, st.lists(_readings, min_size=3, max_size=4)),
    st.tuples(st.just(Sampled), _measured, st.lists(_readings, min_size=4, max_size=4)),
    st.tuples(
        st.just(CollectorStopped),
        _measured,
        st.fixed_dictionaries({"samples": st.just(2), "problems": st.lists(_problem, max_size=1)}),
    ),
    st.just((FactsCollected, "carbon", {"carbon_intensity_g_per_kwh": 300.0, "missing": []})),
)


@st.composite
def runs(draw: st.DrawFn, most: int = 15) -> list[Event]:
    """Draw the events of one run, session by session, each in order of time."""
    events: list[Event] = []
    for number in range(draw(st.integers(1, 3))):
        session = f"{number}" * 16
        rows = [(SessionStarted, draw(session_facts))] if draw(st.booleans()) or not number else []
        rows += [draw(created)] if not number else []
        rows += draw(st.lists(actions | facts | measurements, max_size=most))
        time_ns = START_NS + draw(st.integers(0, 10_000))
        for seq, (cls, *fields) in enumerate(rows):
            time_ns += draw(st.sampled_from((0, 1, 1000, 10**6, 10**9)))
            events.append(cls(RUN_ID, session, seq, time_ns, *fields))
    for seq, (cls, *fields) in enumerate(draw(st.lists(actions, max_size=3))):
        time_ns = draw(st.sampled_from((0, START_NS)))
        events.append(cls(RUN_ID, STORE_SESSION, seq, time_ns, *fields))
    return events
