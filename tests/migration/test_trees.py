"""Real old file stores are read completely: counts equal those of an independent scan."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.readers.corpus import Row, rows

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
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.sources import open_source

STORES = [row for row in rows() if Path(row.path).suffix == ""]

pytestmark = pytest.mark.skipif(not STORES, reason="the corpus of real stores is missing")

ODDITIES = {
    "run without end_time": "no end",
    "metric value nan": "nan",
    "metric value inf": "inf",
    "empty param value": "empty param",
    "param value over 500 chars": "long param",
    "multi-line param value": "param of lines",
    "param key with slash": "params/",
    "tag key with slash": "tags/",
    "metric key with slash": "metrics/",
    "negative step": "negative step",
}
"""Remarks in the table, and the names of our own counts."""


def count_events(source):
    """Count the content of all events of a source."""
    counts = Counter()
    for ref in source.runs():
        counts["runs"] += 1
        for number, event in enumerate(source.events(ref)):
            assert (event.run_id, event.session, event.seq) == (ref.run_id, "store", number)
            _count(event, counts)
    for number, event in enumerate(source.store_events()):
        assert (event.run_id, event.seq) == (store_id(source.store()["uuid"]), number)
        _count(event, counts)
    return counts


def _count(event, counts):
    if isinstance(event, RunUpdated):
        counts["deleted runs"] += event.lifecycle == "deleted"
        counts["no end"] += event.end_time_ms is None
    elif isinstance(event, RunCreated):
        assert event.tags == {}
    elif isinstance(event, ParamsLogged):
        values = event.params.values()
        counts["params"] += len(values)
        counts["empty param"] += sum(value == "" for value in values)
        counts["long param"] += sum(len(value) > 500 for value in values)
        counts["param of lines"] += sum("\n" in value for value in values)
        counts["params/"] += sum("/" in key for key in event.params)
    elif isinstance(event, TagsSet):
        counts["tags"] += len(event.tags)
        counts["nested"] += "mlflow.parentRunId" in event.tags
        counts["tags/"] += sum("/" in key for key in event.tags)
    elif isinstance(event, MetricsLogged):
        counts["points"] += len(event.values)
        counts["points of models"] += sum(model is not None for model in event.models or ())
        counts["nan"] += sum(map(math.isnan, event.values))
        counts["inf"] += sum(map(math.isinf, event.values))
        counts["negative step"] += sum(step < 0 for step in event.steps)
        counts["metrics/"] += "/" in event.keys[0]
        counts["longest"] = max(counts["longest"], len(event.values))
    elif isinstance(event, InputsLogged):
        counts["inputs"] += len(event.datasets) + len(event.models)
    elif isinstance(event, OutputsLogged):
        counts["outputs"] += len(event.models)
    elif isinstance(event, ModelLogged):
        counts["models"] += 1
    elif isinstance(event, ArtifactsLogged):
        kind = event.owner[0] if event.owner else "run"
        counts[f"files of {kind}s"] += len(event.files)
        assert all(file["sha256"] for file in event.files)
    elif isinstance(event, StoreCalled):
        counts[event.method] += 1
        if event.method == "log_logged_model_metrics":
            counts["points of models"] += len(event.arguments["metrics"])


@pytest.mark.parametrize("row", STORES, ids=lambda row: f"{row.archive}/{row.path}")
def test_counts_equal_the_table(row: Row, unpack_store):
    root = unpack_store(row)
    source = open_source(str(root))
    counts = count_events(source)
    assert counts["create_experiment"] == row.count("experiments")
    in_trash = row.count("experiments", r"(\d+) trash")
    assert counts["delete_experiment"] == in_trash
    assert counts["runs"] == row.count("runs")
    assert counts["deleted runs"] == row.count("runs", r"(\d+) del")
    assert counts["nested"] == row.count("runs", r"(\d+) nested")
    assert counts["params"] == row.count("params")
    assert counts["tags"] == row.count("tags")
    # The table counts lines, and a point of a logged model is a line in two files.
    assert counts["points"] + counts["points of models"] == row.count("metric points")
    assert counts["longest"] == row.count("metric points", r"max (\d+)")
    links = row.cells["inputs / outputs"]
    assert counts["inputs"] == row.count("inputs / outputs", r"(\d+) inputs"), links
    assert counts["outputs"] == row.count("inputs / outputs", r"(\d+) outputs"), links
    assert counts["models"] == row.count("inputs / outputs", r"(\d+) LM"), links
    registry = "registered models"
    assert counts["create_registered_model"] == row.count(registry)
    assert counts["create_model_version"] == row.count(registry, r"(\d+) v")
    assert counts["set_registered_model_alias"] == row.count(registry, r"(\d+) al")
    assert counts["start_trace"] == row.count("traces")
    for oddity, counted in ODDITIES.items():
        expected = row.count("oddities", rf"{oddity}[^;]* x(\d+)")
        assert counts[counted] == expected, oddity
    _check_artifacts(row, root, counts, source.problems())


def _check_artifacts(row, root, counts, problems):
    """Check that all remaining files are listed; the archives lack binaries of models and more."""
    listed = counts["files of runs"] + counts["files of models"] + counts["files of traces"]
    artifacts_without_run = [
        problem.place for problem in problems if "artifacts but no run" in problem.reason
    ]
    unlisted = sum(len(files) for path in artifacts_without_run for _, _, files in os.walk(path))
    present = 0
    for folder, _, files in os.walk(root):
        parts = Path(folder).relative_to(root).parts
        present += len(files) if "artifacts" in parts else 0
    assert listed + unlisted == present
    of_traces = counts["files of traces"]
    assert present - of_traces <= row.count("artifact files (before trimming)")


def test_losses_are_only_of_known_reasons(unpack_store):
    lost = Counter()
    for row in STORES:
        source = open_source(str(unpack_store(row)))
        count_events(source)
        for problem in source.problems():
            if problem.lost:
                lost[problem.reason.partition(":")[0]] += 1
    assert set(lost) == {
        "has artifacts but no run; its run may be in a database or on a server",
        "has no meta.yaml",  # of an experiment and a registered model
        "its artifacts are out of reach",  # on a server, or in a missing store
    }


def test_reading_twice_gives_the_same_events(unpack_store):
    row = next(row for row in STORES if row.count("traces") and row.count("runs"))
    root = str(unpack_store(row))
    first, second = open_source(root), open_source(root)
    for ref, again in zip(first.runs(), second.runs(), strict=True):
        assert ref == again
        assert list(first.events(ref)) == list(second.events(again))
        assert first.fingerprint(ref) == second.fingerprint(again)
    assert list(first.store_events()) == list(second.store_events())


def _add_empty_folders(root):
    """Create empty folders that version control omits; MLflow needs them to find runs."""
    for meta in Path(root).glob("*/*/meta.yaml"):
        for part in ("metrics", "params", "artifacts", "tags"):
            (meta.parent / part).mkdir(exist_ok=True)


READABLE = [
    "2023ac05355__mlops_california_housing",  # logged models of MLflow 3
    "sylvainHellin__cobbie",  # traces
    "konradmalik__mlfix",  # MLflow 1
    "JortdeJong13__country-guess",  # a registry, nan
    "GabrielGT01__opensource-mlflow-metaflow",  # data sets
]


@pytest.mark.parametrize("archive", READABLE)
def test_mlflow_reads_the_same(archive, unpack_store, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.store.tracking.file_store import FileStore

    row = next(row for row in STORES if row.archive == archive and row.count("runs"))
    root = shutil.copytree(unpack_store(row), tmp_path / "mlruns")
    _add_empty_folders(root)
    store, source = FileStore(str(root)), open_source(str(root))
    refs = [ref for ref in source.runs() if not ref.key.startswith(".trash")]
    assert refs
    for ref in refs[:60]:
        _compare(store, store.get_run(ref.run_id), list(source.events(ref)))


def _compare(store, run, events):
    created = next(event for event in events if isinstance(event, RunCreated))
    updated = next(event for event in events if isinstance(event, RunUpdated))
    info = run.info
    assert (created.experiment_id, created.start_time_ms) == (info.experiment_id, info.start_time)
    assert (created.run_name, created.user_id) == (info.run_name, info.user_id)
    assert (updated.status, updated.end_time_ms) == (info.status, info.end_time)
    assert (updated.lifecycle or "active") == info.lifecycle_stage
    assert next((e.params for e in events if isinstance(e, ParamsLogged)), {}) == run.data.params
    assert next((e.tags for e in events if isinstance(e, TagsSet)), {}) == run.data.tags
    points = {}
    for event in events:
        if isinstance(event, MetricsLogged):
            rows = zip(event.timestamps_ms, map(repr, event.values), event.steps, strict=True)
            points.setdefault(event.keys[0], []).extend(rows)
    assert set(points) == set(run.data.metrics)
    for key, history in points.items():
        metrics = store.get_metric_history(info.run_id, key)
        assert history == [(m.timestamp, repr(m.value), m.step) for m in metrics]
    datasets = [d for e in events if isinstance(e, InputsLogged) for d in e.datasets]
    theirs = [
        (d.dataset.name, d.dataset.digest, {t.key: t.value for t in d.tags})
        for d in run.inputs.dataset_inputs
    ]
    ours = [(d["name"], d["digest"], d["tags"]) for d in datasets]
    assert sorted(ours, key=str) == sorted(theirs, key=str)
    outputs = [pair for e in events if isinstance(e, OutputsLogged) for pair in e.models]
    assert sorted(outputs) == sorted((m.model_id, m.step) for m in run.outputs.model_outputs)
