"""Random runs are equal after a conversion to a document and a restoration."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from array import array
from pathlib import Path
from pprint import pformat
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.source_events import Entry, numbered
from support.builders.strategies import RUN_ID, STORE, keys, numbers, steps, texts, timestamps

from yprov_mlflow.prov.events import (
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    TagsSet,
)
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore import RestoreRequest, restore
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.translate import Options, translate

bounded = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def is_storable(text: str) -> bool:
    """Return whether a database can hold the text: lone surrogates have no UTF-8."""
    return text == text.encode("utf-8", "replace").decode()


names = keys.filter(is_storable)
values = texts.filter(is_storable)
pairs = st.dictionaries(names, values, max_size=4)
nonempty = values.filter(bool)
models = st.sampled_from(("m-1", "m-2"))


@st.composite
def metrics(draw: st.DrawFn, key: str) -> Entry:
    # Databases keep equal points once, and SQLite has no negative zero.
    points = draw(
        st.lists(
            st.tuples(numbers.map(lambda n: n + 0.0 if n else 0.0), timestamps, steps),
            min_size=1,
            max_size=5,
            unique_by=repr,
        )
    )
    columns = [array(t, column) for t, column in zip("dqq", zip(*points, strict=True), strict=True)]
    return (MetricsLogged, [key] * len(points), *columns)


datasets = st.fixed_dictionaries(
    {
        "name": names,
        "digest": nonempty,
        "source_type": st.just("local"),
        "source": values,
        "schema": st.none() | values,
        "profile": st.none() | values,
        "tags": st.dictionaries(names, values, max_size=2),
    }
)


@st.composite
def restorable_runs(draw: st.DrawFn) -> list[Any]:
    """Return the events of a run that any MLflow database can hold."""
    lifecycle = draw(st.none() | st.just("deleted"))
    fields = draw(
        st.dictionaries(st.sampled_from(("source_name", "source_version")), nonempty, max_size=2)
    )
    created = (
        RunCreated,
        draw(st.sampled_from(("0", "1", "7"))),
        draw(names),
        draw(names),
        draw(values),
        draw(timestamps),
        draw(st.sampled_from(("s3://bucket/a b", "C:\\mlruns\\0", "relative/place"))),
        {},
        STORE,
        fields | ({"deleted_time": 5} if lifecycle else {}),
    )
    statuses = st.sampled_from(("FINISHED", "RUNNING", "FAILED", "SCHEDULED", "KILLED"))
    entries: list[Entry] = [
        created,
        (RunUpdated, draw(statuses), draw(st.none() | timestamps), None, lifecycle),
        (ParamsLogged, draw(pairs)),
        (TagsSet, draw(pairs)),
    ]
    entries += [draw(metrics(key)) for key in sorted(draw(st.sets(names, max_size=3)))]
    inputs = draw(st.lists(datasets, max_size=2, unique_by=lambda d: (d["name"], d["digest"])))
    entries.append((InputsLogged, inputs, draw(st.lists(models, max_size=1))))
    for model_id in sorted(draw(st.sets(models, max_size=2))):
        entries.append(
            (
                ModelLogged,
                model_id,
                draw(values),
                draw(st.none() | values),
                draw(st.sampled_from(("PENDING", "READY", "FAILED"))),
                created[1],
                f"s3://models/{model_id}",
                draw(timestamps),
                draw(pairs),
                draw(pairs),
                None,
                {"source_run_id": RUN_ID, "last_updated_timestamp_ms": draw(timestamps)},
            )
        )
    outputs = st.lists(st.tuples(models, st.integers(0, 9)), max_size=2, unique_by=lambda p: p[0])
    entries.append((OutputsLogged, draw(outputs)))
    return numbered(RUN_ID, entries)


def state(events: Any) -> str:
    builder = StateBuilder()
    run = builder.feed(events)
    assert run is not None
    run.datasets.sort(key=literals.canonical)
    run.output_models.sort()
    for key, points in run.points.items():
        # Databases are read in order of time; other tests check the order of logging.
        rows = zip(points.timestamps_ms, points.steps, map(repr, points.values), strict=True)
        run.points[key] = sorted(rows)  # type: ignore[assignment] # only to be shown
    models_by_id = sorted(builder.finish().models.items())
    return pformat([dataclasses.replace(run, store={}), models_by_id], width=120)


@bounded
@given(restorable_runs(), st.booleans())
def test_restored_runs_equal_the_original(
    empty_database: Path, events: list[Any], repeat: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        document = folder / "prov.json"
        document.write_bytes(prov_json.dumps(translate(events, Options(max_samples=10**9))))
        shutil.copy(empty_database, folder / "target.db")
        request = RestoreRequest(
            (document,), f"sqlite:///{folder / 'target.db'}", artifact_root=str(folder)
        )
        report = restore(request)
        assert report.losses == []
        if repeat:
            assert restore(request).counts["run"] == {"unchanged": 1}
        source = open_source(os.fspath(folder / "target.db"))
        [ref] = source.runs()
        assert state(source.events(ref)) == state(events)
        source.close()
