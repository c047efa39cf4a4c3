"""SQLite files in use, damaged, or left by a killed program; artifacts that were moved."""

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.builders.databases import RUN, add_run, metric
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import ArtifactsLogged, MetricsLogged, RunCreated
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.sql import DatabaseSource

# -- files in use -------------------------------------------------------------------


def files_beside(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


def test_reading_in_wal_mode_leaves_no_files(make, path):
    location = make(metric("a", 1.0, 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(*metric("a", 2.0, 2))
        connection.commit()
    before = files_beside(path)
    assert before.keys() == {"mlflow.db"}
    reading = SourceContents(location)
    assert len(reading.points("a")) == 2 and not reading.problems
    reading.source.close()
    assert files_beside(path) == before


def test_content_of_the_wal_file_is_read(make, path):
    location = make(metric("a", 1.0, 1))
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute(*metric("a", 2.0, 2))
        writer.commit()
        assert files_beside(path)["mlflow.db-wal"]
        source = open_source(location)
        (ref,) = source.runs()
        assert len(points(source, ref)) == 2
        writer.execute(*metric("a", 3.0, 3))
        writer.commit()
        assert len(points(source, ref)) == 3
        source.close()


def points(source, ref):
    events = [event for event in source.events(ref) if isinstance(event, MetricsLogged)]
    return [value for event in events for value in event.values]


def test_changes_while_the_source_is_open_are_read(make, path):
    location = make(metric("a", 1.0, 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    source = open_source(location)
    (ref,) = source.runs()
    assert len(points(source, ref)) == 1
    with closing(sqlite3.connect(path)) as writer:
        writer.execute(*metric("a", 2.0, 2))
        writer.commit()
        assert len(points(source, ref)) == 2
    assert len(points(source, ref)) == 2
    assert source.problems() == []
    before = files_beside(path)
    source.close()
    # The WAL file keeps what was written meanwhile, for the next writer.
    assert files_beside(path) == before


def test_events_in_wal_mode_are_one_snapshot(make, path):
    location = make(metric("a", 1.0, 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    source = open_source(location)
    (ref,) = source.runs()
    events = source.events(ref)
    next(events)
    with closing(sqlite3.connect(path)) as writer:
        writer.execute(*metric("a", 2.0, 2))
        writer.commit()
        assert sum(len(getattr(event, "values", ())) for event in events) == 1
        assert len(points(source, ref)) == 2
    assert source.problems() == []
    before = files_beside(path)
    source.close()
    # The WAL file keeps what was written meanwhile, for the next writer.
    assert files_beside(path) == before


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_interrupted_transactions_are_repaired_in_a_copy(make, path, mode):
    location = make(metric("a", 1.0, 1))
    code = f"""
import os, sqlite3
connection = sqlite3.connect({location!r})
connection.execute("PRAGMA journal_mode={mode}")
connection.execute("PRAGMA cache_size=2")
connection.execute("UPDATE runs SET user_id = 'committed'")
connection.commit()
connection.execute("UPDATE runs SET user_id = 'torn'")
names = "key, value, timestamp, run_uuid, step, is_nan"
for i in range(5000):
    connection.execute(f"INSERT INTO metrics ({{names}}) VALUES ('torn', 1, ?, 'x', 0, 0)", (i,))
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    before = files_beside(path)
    left = {"DELETE": "mlflow.db-journal", "WAL": "mlflow.db-wal"}[mode]
    assert before[left]
    source = open_source(location)
    (ref,) = source.runs()
    created = next(event for event in source.events(ref) if isinstance(event, RunCreated))
    assert created.user_id == "committed" and points(source, ref) == [1.0]
    source.close()
    assert {name: files_beside(path)[name] for name in ("mlflow.db", left)} == {
        name: before[name] for name in ("mlflow.db", left)
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to change to another user")
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_read_only_folder(make, path, mode):
    location = make(metric("a", 1.0, 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
    for folder in (path, *path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o055)
    code = f"""
import os
from yprov_mlflow.prov.sources import open_source
source = open_source({location!r})
(ref,) = source.runs()
list(source.events(ref))  # imports modules that only root can read
source.close()
os.seteuid(65534)
print(sum(len(getattr(event, "values", ())) for event in source.events(ref)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert files_beside(path).keys() == {"mlflow.db"}


# -- files that are not a store -------------------------------------------------------------


def test_missing_and_in_memory_databases_are_errors(tmp_path):
    for location in (f"sqlite:///{tmp_path}/no.db", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="Give the"):
            list(open_source(location).runs())


def test_empty_and_foreign_files_are_errors(tmp_path):
    empty, foreign = tmp_path / "empty.db", tmp_path / "text.db"
    empty.touch()
    foreign.write_text("hello" * 100, "utf-8")
    for path, reason in ((empty, "empty"), (foreign, "not a SQLite database")):
        with pytest.raises(StoreError, match=reason) as raised:
            list(DatabaseSource(str(path)).runs())
        assert str(path) in str(raised.value) and "MLflow" in str(raised.value)


def test_database_without_tables_of_mlflow_is_an_error(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (x)")
        connection.commit()
    with pytest.raises(StoreError, match="MLflow's tables are missing: experiments and runs"):
        list(open_source(str(path)).runs())


def test_tables_of_another_tracker_are_an_error(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (id INTEGER, name TEXT)")
        connection.execute("CREATE TABLE runs (id INTEGER, experiment_id INTEGER)")
        connection.execute("INSERT INTO runs VALUES (1, 1)")
        connection.commit()
    with pytest.raises(StoreError, match="MLflow's tables are missing"):
        list(open_source(str(path)).runs())


@pytest.mark.parametrize("size", [20_000, 30_000])  # the second one gets a temporary index
def test_corrupt_pages_do_not_affect_other_tables(make, path, size):
    rows = [metric("a", float(i), i, i) for i in range(size)]
    location = make(*rows, (f"INSERT INTO params VALUES ('p', '1', '{RUN}')"))
    data = bytearray(path.read_bytes())
    half = len(data) // 2 // 4096 * 4096
    data[half : half + 200 * 4096] = os.urandom(200 * 4096)
    path.write_bytes(data)
    reading = SourceContents(location)
    assert reading.params() == {"p": "1"}
    assert any("malformed" in reason for reason in reading.reasons())
    assert all(problem.lost for problem in reading.problems)


def test_corrupt_schema_is_an_error(make, path):
    location = make()
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xff" * 3996
    path.write_bytes(data)
    with pytest.raises(StoreError):
        list(open_source(location).runs())


def test_opened_file_waits_longer_for_a_lock_than_opening_in_silence(make, path):
    from yprov_mlflow.prov.sources.sql.sqlite_file import SqliteFile

    make()
    with closing(SqliteFile(Path(path)).connect()) as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (30_000,)


def test_locked_file_is_an_error_after_a_warning(make, path, monkeypatch, caplog):
    from yprov_mlflow.prov.sources.sql import sqlite_file

    monkeypatch.setattr(sqlite_file, "_WAIT_S", 0.1)
    location = make()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            list(open_source(location).runs())
        assert "is locked by another program: waiting" in caplog.text
        writer.execute("ROLLBACK")


def test_writers_are_not_blocked_between_runs(make, path):
    location = make(metric("a", 1.0, 1))
    source = open_source(location)
    (ref,) = source.runs()
    list(source.events(ref))
    with closing(sqlite3.connect(path, timeout=0)) as writer:
        writer.execute(*metric("a", 2.0, 2))
        writer.commit()
    assert len(points(source, ref)) == 2
    source.close()


# -- artifacts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "./mlruns/0/{run}/artifacts",
        "/another/user/mlruns/0/{run}/artifacts",
        "file:///C:/Users/x%20y/mlruns/0/{run}/artifacts",
        r"C:\Users\x\mlruns\0\{run}\artifacts",
        "dbfs:/databricks/mlruns/0/{run}/artifacts",
        "mlflow-artifacts:/0/{run}/artifacts",
        "s3://bucket/some/where/0/{run}/artifacts",
    ],
)
@pytest.mark.parametrize("root", ["mlruns/0", "mlartifacts/0", "0"])
def test_artifacts_are_found_by_the_end_of_their_uri(make, path, uri, root):
    folder = path.parent / root / RUN / "artifacts"
    folder.mkdir(parents=True)
    (folder / "x.txt").write_text("x", "utf-8")
    reading = SourceContents(make(artifact_uri=uri.format(run=RUN)))
    (event,) = reading.select(ArtifactsLogged)
    assert [file["path"] for file in event.files] == ["x.txt"]
    assert reading.problems == []


def test_uris_to_foreign_folders_are_not_followed(make, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("x", "utf-8")
    for uri in (str(secret), f"{secret}/../secret", f"/../../{secret}"):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        (tmp_path / "store").mkdir()
        reading = SourceContents(make(artifact_uri=uri))
        assert not reading.select(ArtifactsLogged)


def test_unreachable_artifacts_are_reported_once_without_password(make):
    location = make(artifact_uri=f"s3://user:se-cret@bucket/x/0/{RUN}/artifacts")
    with closing(sqlite3.connect(location)) as connection:
        for number in range(3):
            run = f"{number:032x}"
            add_run(connection, run, artifact_uri=f"s3://user:se-cret@bucket/x/0/{run}/artifacts")
        connection.commit()
    (problem,) = SourceContents(location).problems
    assert problem.place == "s3://bucket/x" and "hashes" in problem.lost


def test_deleted_run_is_a_problem(make):
    source = open_source(make())
    (ref,) = source.runs()
    with closing(sqlite3.connect(source.store()["uri"].removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM runs")
        connection.commit()
    assert list(source.events(ref)) == []
    (problem,) = source.problems()
    assert problem.lost == "the run"


def test_source_pickles_before_and_after_use(make):
    location = make(metric("a", 1.0, 1))
    source = DatabaseSource(location, artifacts="/x")
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(source))
        assert [ref.run_id for ref in copy.runs()] == [RUN]
        copy.close()
        list(source.runs())
    source.close()
    assert [ref.run_id for ref in source.runs()] == [RUN]
