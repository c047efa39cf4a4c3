"""Hypothesis strategies: events as sources read them from existing stores."""

from __future__ import annotations

from array import array
from typing import Any

from hypothesis import strategies as st

from support.builders.strategies import (
    RUN_ID,
    STORE,
    assessments,
    digests,
    json_values,
    keys,
    models,
    numbers,
    registry_names,
    steps,
    texts,
    timestamps,
)
from yprov_mlflow.prov.events import (
    STORE_SESSION,
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
    TagsSet,
)
from yprov_mlflow.prov.ids import store_id

Entry = tuple[Any, ...]

maybe_texts = st.none() | texts
maybe_times = st.none() | timestamps
fields = st.dictionaries(
    st.sampled_from(("source_name", "source_version", "source_type", "deleted_time", "name")),
    texts | st.integers(0, 2**41),
    max_size=3,
)
tags = st.dictionaries(keys, texts, max_size=4) | st.just({"mlflow.parentRunId": "1" * 32})
datasets = st.fixed_dictionaries(
    {
        "name": keys,
        "digest": texts,
        "source_type": maybe_texts,
        "source": maybe_texts,
        "schema": maybe_texts,
        "profile": maybe_texts,
        "tags": st.dictionaries(
            st.sampled_from(("mlflow.data.context", "other")), texts | st.just("eval"), max_size=2
        ),
    }
)
files = st.fixed_dictionaries(
    {
        "path": st.sampled_from(("a.png", "m/MLmodel", "m/data/x.bin", "ä b/c.CSV", "\udcff.txt")),
        "size": st.none() | st.integers(0, 2**40),
        "sha256": digests,
    }
)
file_lists = st.lists(files, min_size=1, max_size=3, unique_by=lambda file: file["path"])


@st.composite
def metrics(draw: st.DrawFn, key: str) -> Entry:
    named_model = draw(st.none() | models)
    rows = draw(
        st.lists(
            st.tuples(numbers, timestamps, steps),
            min_size=1,
            max_size=4,
            # Equal points of one model are one measurement: documents ignore the others.
            unique_by=(lambda row: repr(row)) if named_model is not None else None,
        )
    )
    columns = list(zip(*rows, strict=True))
    count = len(rows)
    return (
        MetricsLogged,
        [key] * count,
        array("d", columns[0]),
        array("q", columns[1]),
        array("q", columns[2]),
        (),
        None,
        [named_model] * count if named_model is not None else None,
        draw(st.none() | st.just([["iris", "d1"]] * count)),
    )


def model(model_id: str) -> st.SearchStrategy[Entry]:
    return st.tuples(
        st.just(ModelLogged),
        st.just(model_id),
        maybe_texts,
        maybe_texts,
        st.none() | st.sampled_from(("PENDING", "READY", "FAILED", "DELETED", "ODD")),
        st.none() | st.just("1"),
        maybe_texts,
        maybe_times,
        st.none() | st.dictionaries(keys, texts, max_size=3),
        st.none() | st.dictionaries(keys, texts, max_size=3),
        st.none(),
        st.none() | st.dictionaries(keys, json_values, max_size=2),
    )


@st.composite
def logged_models(draw: st.DrawFn) -> list[Entry]:
    entries: list[Entry] = []
    for model_id in sorted(draw(st.sets(models, max_size=2))):
        entries.append(draw(model(model_id)))
        if draw(st.booleans()):
            entries.append((ModelLogged, model_id, None, None, "DELETED"))
    return entries


def call(method: str, **arguments: Any) -> st.SearchStrategy[Entry]:
    fields = st.fixed_dictionaries(arguments)
    return st.tuples(st.just(StoreCalled), st.just(method), st.just({}), fields)


span_attributes = st.dictionaries(
    st.sampled_from(("mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType", "other", "b")),
    st.sampled_from(
        ('{"b":1, "a":[1.0]}', '"x"', "x", "1", "NaN", "[]", "null", '"[]"', '"\\ud800"')
    )
    | json_values,
    max_size=4,
)


def span(span_id: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "trace_id": st.just("tr-1"),
            "span_id": st.just(span_id),
            "parent_span_id": st.none() | st.sampled_from(("1", "2", "3", "4")),
            "name": texts,
            "start_time_unix_nano": st.integers(1, 10**9) | st.none(),
            "end_time_unix_nano": st.integers(1, 10**9) | st.none(),
            "status": st.just({"code": "STATUS_CODE_OK", "message": "so so"}),
        },
        optional={
            "attributes": span_attributes,
            "events": st.lists(st.dictionaries(keys, json_values, max_size=2), max_size=2),
            "inputs": json_values,
            "outputs": json_values,
        },
    )


spans = st.sets(st.sampled_from("123")).flatmap(
    lambda ids: st.tuples(*map(span, sorted(ids))).map(list)
)
trace_calls = st.tuples(
    call(
        "start_trace",
        trace_info=st.fixed_dictionaries(
            {"trace_id": st.just("tr-1"), "tags": tags},
            optional={
                "request_time": timestamps,
                "request_preview": texts,
                "trace_metadata": st.just({"mlflow.sourceRun": RUN_ID}),
                "odd": json_values,
            },
        ),
    ),
    call("log_spans", spans=spans),
    call("create_assessment", assessment=assessments),
)
model_metrics = call(
    "log_logged_model_metrics",
    model_id=models,
    metrics=st.lists(st.dictionaries(keys, json_values, max_size=2), max_size=2),
)


def numbered(run_id: str, entries: list[Entry]) -> list[Event]:
    return [cls(run_id, STORE_SESSION, seq, 0, *args) for seq, (cls, *args) in enumerate(entries)]


@st.composite
def source_runs(draw: st.DrawFn, run_id: str = RUN_ID) -> list[Event]:
    """Return the events of one run of a source, in the order that sources promise."""
    created = (
        RunCreated,
        draw(st.sampled_from(("0", "1", "ä/b"))),
        draw(maybe_texts),
        draw(maybe_texts),
        draw(maybe_texts),
        draw(maybe_times),
        draw(maybe_texts),
        {},
        STORE,
        draw(fields),
    )
    statuses = st.none() | st.sampled_from(("FINISHED", "RUNNING", "FAILED", "SCHEDULED", "7"))
    updated = (
        RunUpdated,
        draw(statuses),
        draw(maybe_times),
        None,
        draw(st.none() | st.just("deleted")),
    )
    params = draw(st.dictionaries(keys, texts, max_size=4))
    entries: list[Entry] = [created, updated, (ParamsLogged, params), (TagsSet, draw(tags))]
    entries += [draw(metrics(key)) for key in sorted(draw(st.sets(keys, max_size=3)))]
    if draw(st.booleans()):
        inputs = draw(st.lists(models, max_size=2, unique=True))
        entries.append((InputsLogged, draw(st.lists(datasets, max_size=3)), inputs))
    entries += draw(logged_models())
    pairs = st.tuples(models, st.integers(0, 5))
    entries.append((OutputsLogged, draw(st.lists(pairs, max_size=2, unique=True))))
    owner = draw(st.none() | st.sampled_from((("model", "m-1"), ("trace", "tr-1"))))
    entries.append((ArtifactsLogged, draw(file_lists), owner))
    if draw(st.booleans()):
        entries += [*draw(trace_calls), draw(model_metrics)]
    return numbered(run_id, entries)


_registered = {"name": registry_names}
_version = {**_registered, "version": st.sampled_from(("1", "2"))}
store_calls = st.one_of(
    call(
        "create_experiment",
        name=keys,
        experiment_id=st.sampled_from(("0", "1", "7")),
        artifact_location=maybe_texts,
        tags=tags,
        creation_time=maybe_times,
        last_update_time=maybe_times,
        lifecycle_stage=st.sampled_from(("active", "deleted")),
    ),
    call("delete_experiment", experiment_id=st.sampled_from(("0", "1", "7"))),
    call(
        "create_registered_model",
        **_registered,
        description=maybe_texts,
        tags=tags,
        creation_timestamp=maybe_times,
    ),
    call(
        "create_model_version",
        **_version,
        source=st.sampled_from((f"runs:/{RUN_ID}/model", "models:/m-1", "s3://x")),
        run_id=st.none() | st.just(RUN_ID),
        tags=tags,
        status=st.just("READY"),
        model_id=st.none() | models,
    ),
    call(
        "transition_model_version_stage",
        **_version,
        stage=st.sampled_from(("Staging", "Production")),
        archive_existing_versions=st.just(False),
    ),
    call("delete_model_version", **_version),
    call("set_registered_model_alias", **_version, alias=keys),
    call("record_webhooks", rows=st.lists(st.dictionaries(keys, json_values, max_size=3))),
    call("create_dataset", dataset_id=st.just("d-1"), name=keys),
)


@st.composite
def source_stores(draw: st.DrawFn) -> list[Event]:
    """Return the events of a source that belong to no run."""
    entries: list[Entry] = draw(st.lists(store_calls, min_size=1, max_size=8))
    entries += draw(logged_models())
    if draw(st.booleans()):
        entries += draw(trace_calls)
    return numbered(store_id(STORE["uuid"]), entries)
