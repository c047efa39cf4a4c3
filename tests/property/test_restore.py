"""Random runs: documents, restored, read again, are what they were."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from array import array
from pathlib import Path
from pprint import pformat
from typing import Any

from estates import Told, numbered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import RUN_ID, STORE, keys, numbers, steps, texts, timestamps

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


def held(text: str) -> bool:
    """Tell whether a database holds the text: it has no lone surrogates."""
    return not literals._has_surrogates(text)


names = keys.filter(held)
values = texts.filter(held)
pairs = st.dictionaries(names, values, max_size=4)
filled = values.filter(bool)
models = st.sampled_from(("m-1", "m-2"))


@st.composite
def metrics(draw: st.DrawFn, key: str) -> Told:
    # A database has each point once, and SQLite has no negative zero.
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
        "digest": filled,
        "source_type": st.just("local"),
        "source": values,
        "schema": st.none() | values,
        "profile": st.none() | values,
        "tags": st.dictionaries(names, values, max_size=2),
    }
)


@st.composite
def restorable_runs(draw: st.DrawFn) -> list[Any]:
    """Events of a run as any database of MLflow's can hold it."""
    lifecycle = draw(st.none() | st.just("deleted"))
    fields = draw(
        st.dictionaries(st.sampled_from(("source_name", "source_version")), filled, max_size=2)
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
    told: list[Told] = [
        created,
        (RunUpdated, draw(statuses), draw(st.none() | timestamps), None, lifecycle),
        (ParamsLogged, draw(pairs)),
        (TagsSet, draw(pairs)),
    ]
    told += [draw(metrics(key)) for key in sorted(draw(st.sets(names, max_size=3)))]
    used = draw(st.lists(datasets, max_size=2, unique_by=lambda d: (d["name"], d["digest"])))
    told.append((InputsLogged, used, draw(st.lists(models, max_size=1))))
    for model_id in sorted(draw(st.sets(models, max_size=2))):
        told.append(
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
    told.append((OutputsLogged, draw(outputs)))
    return numbered(RUN_ID, told)


def state(events: Any) -> str:
    reduction = StateBuilder()
    run = reduction.feed(events)
    assert run is not None
    run.datasets.sort(key=literals.canonical)
    run.models_out.sort()
    for key, points in run.points.items():
        # Databases are read by time; the order of logging is tested where it can be seen.
        rows = zip(points.timestamps_ms, points.steps, map(repr, points.values), strict=True)
        run.points[key] = sorted(rows)  # type: ignore[assignment] # only to be shown
    estate = reduction.finish()
    shown = [dataclasses.replace(run, store={}), sorted(estate.models.items())]
    return pformat(shown, width=120)


@bounded
@given(restorable_runs(), st.booleans())
def test_random_runs_come_back(empty_database: Path, events: list[Any], unchanged: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        document = folder / "prov.json"
        document.write_bytes(prov_json.dumps(translate(events, Options(max_samples=10**9))))
        shutil.copy(empty_database, folder / "target.db")
        wish = RestoreRequest(
            (document,), f"sqlite:///{folder / 'target.db'}", artifact_root=str(folder)
        )
        report = restore(wish)
        assert report.losses == []
        if unchanged:
            assert restore(wish).things["run"] == {"unchanged": 1}
        source = open_source(os.fspath(folder / "target.db"))
        [ref] = source.runs()
        assert state(source.events(ref)) == state(events)
        source.close()
