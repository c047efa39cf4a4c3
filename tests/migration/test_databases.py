"""Real databases of the corpus are read completely, by counts and values, and not changed."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from support.readers.corpus import Row, rows

from yprov_mlflow.prov.events import (
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.sql import DatabaseSource

DATABASES = [row for row in rows() if Path(row.path).suffix in (".db", ".sqlite")]

pytestmark = pytest.mark.skipif(not DATABASES, reason="the corpus of real stores is not available")


@pytest.fixture(params=DATABASES, ids=lambda row: f"{row.archive}/{row.path}")
def row(request):
    return request.param


def files_beside(path):
    """Return the digests of the database and of the files beside it, by name."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.parent.iterdir()
        if file.is_file()
    }


def count(event, counts):
    if isinstance(event, RunUpdated):
        counts["deleted runs"] += event.lifecycle == "deleted"
        counts[event.status] += 1
    elif isinstance(event, RunCreated):
        counts["runs"] += 1
    elif isinstance(event, ParamsLogged):
        counts["params"] += len(event.params)
    elif isinstance(event, TagsSet):
        counts["tags"] += len(event.tags)
        counts["nested"] += "mlflow.parentRunId" in event.tags
    elif isinstance(event, MetricsLogged):
        counts["points"] += len(event.values)
        counts["longest"] = max(counts["longest"], len(event.values))
        assert len({*event.keys}) == 1
    elif isinstance(event, StoreCalled):
        counts[event.method] += 1


def test_counts_match_the_corpus_table(row: Row, unpack_store):
    path = unpack_store(row)
    before = files_beside(path)
    source = open_source(str(path))
    assert isinstance(source, DatabaseSource)
    counts = Counter()
    for ref in source.runs():
        for number, event in enumerate(source.events(ref)):
            assert (event.run_id, event.session, event.seq) == (ref.run_id, "store", number)
            count(event, counts)
    for number, event in enumerate(source.store_events()):
        assert (event.run_id, event.seq) == (store_id(source.store()["uuid"]), number)
        count(event, counts)
    source.close()

    assert counts["create_experiment"] == row.count("experiments")
    assert counts["runs"] == row.count("runs")
    assert counts["deleted runs"] == row.count("runs", r"(\d+) del")
    assert counts["nested"] == row.count("runs", r"(\d+) nested")
    assert counts["params"] == row.count("params")
    assert counts["tags"] == row.count("tags")
    assert counts["points"] == row.count("metric points")
    assert counts["longest"] == row.count("metric points", r"max (\d+)")
    assert counts["create_registered_model"] == row.count("registered models")
    assert counts["create_model_version"] == row.count("registered models", r"(\d+) v")
    assert counts["set_registered_model_alias"] == row.count("registered models", r"(\d+) al")
    assert counts["start_trace"] == row.count("traces")
    for status in ("FINISHED", "FAILED", "RUNNING"):
        assert counts[status] == row.count("oddities", rf"{status} (\d+)")
    assert files_beside(path) == before


def test_values_match_the_database(row: Row, unpack_store):
    path = unpack_store(row)
    source = open_source(str(path))
    read = {"params": {}, "tags": {}}
    points = Counter()
    for ref in source.runs():
        for event in source.events(ref):
            if isinstance(event, ParamsLogged):
                read["params"] |= {(ref.run_id, k): v for k, v in event.params.items()}
            elif isinstance(event, TagsSet):
                read["tags"] |= {(ref.run_id, k): v for k, v in event.tags.items()}
            elif isinstance(event, MetricsLogged):
                assert [*event.timestamps_ms] == sorted(event.timestamps_ms)
                columns = (event.keys, event.values, event.timestamps_ms, event.steps)
                points.update((ref.run_id, *point) for point in zip(*columns, strict=True))
    source.close()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for table, values in read.items():
            query = f"SELECT run_uuid, key, value FROM {table}"
            assert values == {(run, key): value for run, key, value in connection.execute(query)}
        query = "SELECT run_uuid, key, value, timestamp, step FROM metrics WHERE NOT is_nan"
        assert points == Counter(connection.execute(query).fetchall())


def test_fingerprints_are_stable(row: Row, unpack_store):
    path = unpack_store(row)
    first, second = open_source(str(path)), open_source(str(path))
    refs = list(first.runs())
    assert refs == list(second.runs())
    fingerprints = [first.fingerprint(ref) for ref in refs]
    assert fingerprints == [second.fingerprint(ref) for ref in refs]
    assert len(set(fingerprints)) == len(refs)
    first.close()
    second.close()


def test_unreachable_artifacts_are_reported_once_per_root(row: Row, unpack_store):
    source = open_source(str(unpack_store(row)))
    for ref in source.runs():
        list(source.events(ref))
    list(source.store_events())
    places = [problem.place for problem in source.problems()]
    assert len(places) == len(set(places)) <= 2
    assert source.problems() == []
    source.close()


def test_artifacts_beside_a_database_are_hashed(unpack_store, tmp_path):
    (row,) = (row for row in DATABASES if row.path == "mlruns.db" and row.count("runs") == 100)
    path = unpack_store(row)
    source = open_source(str(path))
    files = {}
    for ref in source.runs():
        for event in source.events(ref):
            for file in getattr(event, "files", ()):
                files[ref.run_id, file["path"]] = file["sha256"]
    source.close()
    root = path.parent / "mlruns" / "1"
    expected = {
        (file.relative_to(root).parts[0], "/".join(file.relative_to(root).parts[2:])): file
        for file in root.rglob("*")
        if file.is_file()
    }
    # The table also counts large files that the archive leaves out.
    assert 0 < len(expected) <= 382
    assert files == {
        key: hashlib.sha256(file.read_bytes()).hexdigest() for key, file in expected.items()
    }
