"""From a store to documents and back: only declared differences remain."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sqlite3
import sys
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from support.builders.full_store import StoreIds, dispose_engines, fill
from support.builders.run_log import Log
from support.oracles import comparison
from support.oracles.comparison import Store
from support.oracles.targets import Target, undeclared
from support.versions import since

from integration.conftest import Sandbox, Server
from yprov_mlflow.prov.errors import DocumentError, MissingExtraError, StoreError
from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.restore import RestoreReport, RestoreRequest, restore
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.state import Run
from yprov_mlflow.prov.translate import translate

EVERY_CALL = Path(__file__).parents[2] / "examples" / "every_call.py"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
TIME_MS = 1_600_000_000_123


@pytest.fixture
def target(tmp_path: Path, empty_database: Path) -> Target:
    return Target(tmp_path, empty_database)


@pytest.fixture(scope="module")
def filled(shared_sandbox: Sandbox) -> Iterator[tuple[str, StoreIds]]:
    """Return the URI of a store with every kind of record, and the ids in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared_sandbox.folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield shared_sandbox.sqlite, fill(shared_sandbox.sqlite)


@pytest.fixture(scope="module")
def full(filled: tuple[str, StoreIds]) -> str:
    """Return the URI of a store with every kind of record."""
    return filled[0]


@pytest.fixture(scope="module")
def expected(full: str) -> Store:
    """Return the content of the full store as MLflow reads it."""
    return comparison.read_store(full)


# -- full stores ---------------------------------------------------------------------------


@pytest.fixture
def postgres(postgres_address: str) -> Iterator[str]:
    import psycopg2

    name = "restored"
    connection = psycopg2.connect(f"postgresql://{postgres_address}/postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield f"postgresql+psycopg2://{postgres_address}/{name}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


def make_database(mariadb_address: str, name: str, characters: str) -> None:
    import pymysql

    user, _, address = mariadb_address.partition("@")
    login, _, password = user.partition(":")
    host, _, port = address.partition(":")
    with pymysql.connect(host=host, port=int(port), user=login, password=password) as connection:
        connection.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET {characters}")


@pytest.mark.parametrize("to", ["prov-json", "n-quads"])
def test_full_store_is_restored_and_repeating_changes_nothing(
    to: str, target: Target, full: str, expected: Store
) -> None:
    target.convert(full, to)
    report = target.restore()
    assert undeclared(comparison.compare(expected, target.store)) == []
    assert [note.place for note in report.losses] == ["call create_webhook"]
    before = target.database.read_bytes()

    repeated = target.restore()
    outcomes = {outcome for counts in repeated.counts.values() for outcome in counts}
    assert outcomes == {"unchanged", "refused"}
    assert repeated.counts["run"] == {"unchanged": 5}
    assert target.database.read_bytes() == before


def test_full_store_is_restored_into_postgresql(
    target: Target, full: str, expected: Store, postgres: str
) -> None:
    target.convert(full)
    report = target.restore(postgres)
    assert [note.place for note in report.losses] == ["call create_webhook"]
    assert undeclared(comparison.compare(expected, comparison.read_store(postgres))) == []
    assert target.restore(postgres).counts["run"] == {"unchanged": 5}
    # New experiments get ids after the restored ones.
    created = mlflow.MlflowClient(postgres).create_experiment("new")
    assert int(created) > max(map(int, expected["experiments"]))


def test_values_that_postgresql_cannot_hold_are_cut_and_reported(
    target: Target, postgres: str
) -> None:
    long_id = "azure-" + "1" * 40
    params = {"long": "y" * 9000, "nul": "a\x00b"}
    target.write("1/a", run_events(long_id, "123456789012345678", "main", (ParamsLogged, params)))
    # SQLAlchemy's default driver may be another one than that of our extra.
    report = target.restore(postgres.replace("+psycopg2", ""))
    run_id = report.ids[f"run 123456789012345678/{long_id}"]
    run = comparison.read_store(postgres)["runs"][run_id]
    assert run["experiment_id"] == report.ids["experiment 123456789012345678"]
    assert run["params"] == {"long": "y" * 8000, "nul": "a\ufffdb"}
    assert run["tags"] == {"yprov.restored_from": long_id}
    assert [note.place for note in report.losses] == [
        f"run {long_id}, long, value",
        f"run {long_id}, nul, value",
    ]
    assert target.restore(postgres).counts == {
        "run": {"unchanged": 1},
        "experiment": {"unchanged": 1},
    }


def test_full_store_is_restored_into_mysql(
    target: Target, full: str, expected: Store, mariadb_address: str
) -> None:
    """MySQL has no infinity, and keys that differ only in case are equal."""
    make_database(mariadb_address, "restored", "utf8mb4")
    uri = f"mysql+pymysql://{mariadb_address}/restored"
    target.convert(full)
    report = target.restore(uri.replace("+pymysql", ""))
    restored = comparison.read_store(uri)
    repeated = target.restore(uri)
    dispose_engines(uri)
    result = comparison.compare(expected, restored)
    [parent] = [r for r in expected["runs"] if expected["runs"][r]["name"] == "parent"]
    assert {d.path[:2] for d in result.differences} == {("runs", parent)}
    assert {d.path[2] for d in result.differences} == {"params", "metrics"}
    assert report.counts["run"] == {"restored": 5}
    assert sorted(note.place for note in report.losses)[0] == "call create_webhook"
    assert repeated.counts["trace"] == {"unchanged": 3}


@pytest.mark.parametrize(("characters", "wide"), [("latin1", "ж"), ("utf8mb3", "\U0001f600")])
def test_text_that_a_mysql_database_cannot_hold_is_reported(
    target: Target, mariadb_address: str, characters: str, wide: str
) -> None:
    make_database(mariadb_address, characters, characters)
    params = {"plain": "é", "wide": wide}
    target.write("1/a", run_events("a" * 32, "1", wide, (ParamsLogged, params)))
    report = target.restore(f"mysql://{mariadb_address}/{characters}")
    uri = f"mysql+pymysql://{mariadb_address}/{characters}"
    restored = comparison.read_store(uri)["runs"]["a" * 32]["params"]
    dispose_engines(uri)
    assert restored == {"plain": "é", "wide": "?"}
    assert [note.place for note in report.losses] == [
        f"run {'a' * 32}, wide, value",
        "experiment 1, name",
    ]
    assert all("CHARACTER SET utf8mb4" in note.reason for note in report.losses)


def test_converting_the_restored_store_gives_equal_documents(target: Target, full: str) -> None:
    """Only the identity of the store differs."""
    target.convert(full)
    target.restore()
    first, second = open_source(full), open_source(target.uri)
    restored = {ref.run_id: ref for ref in second.runs()}
    count = 0
    for ref in first.runs():
        documents = [
            translate(_with_same_store(source.events(run)))
            for source, run in ((first, ref), (second, restored[ref.run_id]))
        ]
        assert documents[0] == documents[1]
        count += 1
    assert count == len(restored) == 5


def _with_same_store(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, RunCreated):
            event = dataclasses.replace(event, store=STORE)
        yield event


# -- captured runs -------------------------------------------------------------------------


@since("3.17", "calls of the script")
def test_captured_runs_are_restored(target: Target, sandbox: Sandbox) -> None:
    """Documents of capture have the arguments of calls, but not the store's own times."""
    settings = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    sandbox.train(EVERY_CALL, f"yprov+{sandbox.sqlite}", **settings)
    sandbox.yprov("recover", uri=sandbox.sqlite)
    paths = tuple(sandbox.folder.glob("mlruns/**/prov.json"))
    paths += tuple(sandbox.journal.glob("stores/**/prov.json"))
    report = restore(RestoreRequest(paths, target.uri, artifact_root=str(target.root)))
    assert report.counts["run"] == {"restored": 7}
    expected = comparison.read_store(sandbox.sqlite)
    result = comparison.compare(expected, target.store)
    times = ("creation_time", "last_update_time", "created", "updated")
    left = [
        difference
        for difference in result.differences
        if not (
            difference.path[-1] in times
            # Files are copied to the new store; no call returns an experiment's location.
            or difference.path[-1] in ("artifact_uri", "location", "artifact_location")
        )
    ]
    assert [str(difference) for difference in left] == []
    for run_id, run in target.store["runs"].items():
        for path in Path(run["artifact_uri"]).rglob("*.txt"):
            folder = sandbox.folder / "mlruns" / run["experiment_id"] / run_id / "artifacts"
            assert (
                path.read_bytes() == (folder / path.relative_to(run["artifact_uri"])).read_bytes()
            )


# -- unusual stores ------------------------------------------------------------------------


def run_events(
    run_id: str = "1" * 32,
    experiment: str = "1",
    name: str | None = "main",
    *entries: tuple[Any, ...],
    **fields: Any,
) -> list[Event]:
    """Return the events of a run as a source reads them; ``fields`` replace those of the run."""
    fields = {
        "run_name": "fox",
        "user_id": "ada",
        "start_time_ms": TIME_MS,
        "artifact_uri": None,
        **fields,
    }
    status = fields.pop("status", "FINISHED")
    lifecycle = fields.pop("lifecycle", None)
    created = RunCreated(
        run_id, STORE_SESSION, 0, 0, experiment, name, tags={}, store=STORE, **fields
    )
    events: list[Event] = [
        created,
        RunUpdated(run_id, STORE_SESSION, 1, 0, status, TIME_MS + 5, None, lifecycle),
    ]
    for seq, (cls, *args) in enumerate(entries, 2):
        events.append(cls(run_id, STORE_SESSION, seq, 0, *args))
    return events


def store_events(*calls: tuple[str, dict[str, Any]]) -> list[Event]:
    run_id = store_id(STORE["uuid"])
    return [
        StoreCalled(run_id, STORE_SESSION, seq, 0, method, {}, arguments)
        for seq, (method, arguments) in enumerate(calls)
    ]


@pytest.mark.parametrize("name", ["", None])
def test_run_without_a_name_is_restored_without(target: Target, name: str | None) -> None:
    target.write("1/a", run_events("a" * 32, run_name=name))
    target.restore()
    assert target.store["runs"]["a" * 32]["name"] == name


def test_experiments_with_equal_names_get_unique_names(target: Target) -> None:
    target.write("1/a", run_events("a" * 32, "1"))
    target.write("2/b", run_events("b" * 32, "2"))
    report = target.restore()
    experiments = target.store["experiments"]
    assert experiments["1"]["name"] == "main"
    assert experiments["2"]["name"] == "main (2)"
    assert experiments["2"]["tags"] == {"yprov.original_name": "main"}
    assert [note.place for note in report.changes] == ["experiment 2"]
    assert target.restore().counts["experiment"] == {"unchanged": 2}


def test_runs_with_equal_ids_get_unique_ids(target: Target) -> None:
    target.write("1/a", run_events("a" * 32, "1", "one", (ParamsLogged, {"p": "1"})))
    target.write("2/a", run_events("a" * 32, "2", "two", (ParamsLogged, {"p": "2"})))
    report = target.restore()
    runs = target.store["runs"]
    [new] = set(runs) - {"a" * 32}
    assert report.ids == {f"run 2/{'a' * 32}": new}
    assert (runs["a" * 32]["experiment_id"], runs["a" * 32]["params"]) == ("1", {"p": "1"})
    assert (runs[new]["experiment_id"], runs[new]["params"]) == ("2", {"p": "2"})
    assert runs[new]["tags"] == {"yprov.restored_from": "a" * 32}
    assert target.restore().counts["run"] == {"unchanged": 2}


def test_experiments_without_numeric_ids_get_numbers(target: Target) -> None:
    target.write("x/a", run_events("a" * 32, "my exp", "mine"))
    target.write("y/b", run_events("b" * 32, "123456789012345678", "large"))
    report = target.restore()
    experiments = target.store["experiments"]
    assert experiments["123456789012345678"]["name"] == "large"
    number = report.ids["experiment my exp"]
    assert experiments[number]["name"] == "mine"
    assert experiments[number]["tags"] == {"yprov.restored_from": "my exp"}
    assert target.restore().counts["experiment"] == {"unchanged": 2}


def test_unusual_values_are_kept_or_reported(target: Target) -> None:
    values = array("d", [math.nan, math.inf, -math.inf, -0.0, 0.0, math.nan, 1e308])
    count = len(values)
    metric = (
        MetricsLogged,
        ["m/ä b"] * count,
        values,
        array("q", [5] * 6 + [-(2**63)]),
        array("q", [-7] * 6 + [2**63 - 1]),
    )
    tags = {"two\nlines": "x" * 9000, "empty": ""}
    datasets = [{"name": "iris", "digest": "d", "tags": {"mlflow.data.context": "train"}}]
    target.write(
        "1/a",
        run_events(
            "a" * 32,
            "1",
            "main",
            (ParamsLogged, {"long": "y" * 9000, "ünder": "\x00"}),
            (TagsSet, tags),
            metric,
            (InputsLogged, datasets, []),
            status="7",
            user_id="",
            run_name=None,
            start_time_ms=None,
        ),
    )
    report = target.restore()
    run = target.store["runs"]["a" * 32]
    assert run["params"] == {"long": "y" * 9000, "ünder": "\x00"}
    assert run["tags"] == {**tags, "yprov.status": "7", "yprov.not_told": "start_time"}
    assert (run["status"], run["user_id"]) == ("SCHEDULED", "")
    assert (run["start_time"], run["end_time"]) == (0, TIME_MS + 5)
    assert sorted(map(repr, run["metrics"]["m/ä b"])) == sorted(
        map(
            repr,
            [
                (math.nan, -7, 5),
                (math.inf, -7, 5),
                (-math.inf, -7, 5),
                (0.0, -7, 5),
                (1e308, 2**63 - 1, -(2**63)),
            ],
        )
    )
    assert (report.points, report.collapsed) == (7, 2)
    assert "1 values of -0.0 are 0.0" in report.changes[-1].reason
    assert [d["name"] for d in run["inputs"]] == ["iris"]
    assert report.losses == []
    latest = mlflow.MlflowClient(target.uri).get_run("a" * 32).data.metrics
    assert latest == {"m/ä b": 1e308}


@since("3.0", "logged models")
def test_points_of_a_model_keep_the_experiment_of_their_run(target: Target) -> None:
    columns = ["m"] * 2, array("d", [1, math.nan]), array("q", [TIME_MS] * 2), array("q", [0, 1])
    points = (MetricsLogged, *columns, (), None, ["m-1"] * 2)
    model = ModelLogged("2" * 32, STORE_SESSION, 2, 0, "m-1", "net", None, "9", "1")
    target.write("1/a", [*run_events("2" * 32, "1"), model])
    target.write("2/b", run_events("3" * 32, "2", "other", points))
    losses = target.restore().losses
    assert [note.reason for note in losses] == ["unknown status '9': it is UNSPECIFIED"]
    with closing(sqlite3.connect(target.database)) as connection:
        query = "SELECT experiment_id, metric_value FROM logged_model_metrics ORDER BY metric_step"
        assert connection.execute(query).fetchall() == [(2, 1.0), (2, 0.0)]  # as MLflow keeps NaN
        assert connection.execute("SELECT experiment_id FROM logged_models").fetchall() == [(1,)]
    restored = mlflow.MlflowClient(target.uri).get_logged_model("m-1")
    assert str(restored.status) == "UNSPECIFIED"
    assert [metric.value for metric in restored.metrics] == [1.0, 0.0]


def test_different_run_in_the_target_is_refused_without_overwrite(target: Target) -> None:
    target.write("1/a", run_events("a" * 32))
    target.restore()
    client = mlflow.MlflowClient(target.uri)
    client.set_tag("a" * 32, "mine", "1")
    refused = target.restore()
    assert refused.counts["run"] == {"refused": 1}
    assert not refused.complete
    assert client.get_run("a" * 32).data.tags["mine"] == "1"
    assert target.restore(overwrite=True).counts["run"] == {"replaced": 1}
    assert "mine" not in client.get_run("a" * 32).data.tags
    assert target.restore().counts["run"] == {"unchanged": 1}


def test_other_experiment_with_the_same_id_is_not_changed(target: Target) -> None:
    client = mlflow.MlflowClient(target.uri)
    assert client.create_experiment("theirs") == "1"
    target.write("1/a", run_events("a" * 32, "1", "ours"))
    report = target.restore()
    assert report.counts == {"experiment": {"refused": 1}, "run": {"refused": 1}}
    assert target.store["experiments"]["1"]["name"] == "theirs"


def test_renamed_experiment_without_numeric_id_is_refused(target: Target) -> None:
    target.write("x/a", run_events("a" * 32, "my exp", "ours"))
    number = target.restore().ids["experiment my exp"]
    mlflow.MlflowClient(target.uri).rename_experiment(number, "theirs")
    report = target.restore()
    assert report.counts == {"experiment": {"refused": 1}, "run": {"refused": 1}}
    (reason,) = (note.reason for note in report.losses if note.place == "experiment my exp")
    assert "named 'theirs'" in reason


def test_experiment_fields_are_restored(target: Target) -> None:
    target.write("0/a", run_events("a" * 32, "0", "Default", lifecycle="deleted"))
    arguments = {
        "name": "Default",
        "experiment_id": "0",
        "artifact_location": "s3://elsewhere/0",
        "tags": {"k": "v"},
        "creation_time": 7,
        "last_update_time": None,
        "lifecycle_stage": "deleted",
    }
    target.write("store", store_events(("create_experiment", arguments)))
    target.restore()
    store = target.store
    assert store["experiments"]["0"] == {
        "name": "Default",
        "artifact_location": "s3://elsewhere/0",
        "lifecycle": "deleted",
        "creation_time": 7,
        "last_update_time": None,
        "tags": {"k": "v"},
    }
    assert store["runs"]["a" * 32]["lifecycle"] == "deleted"


@pytest.mark.parametrize("series", sorted(SERIES))
def test_points_in_a_file_beside_the_document_are_restored(target: Target, series: str) -> None:
    if series in ("zarr", "netcdf"):
        pytest.importorskip({"zarr": "zarr", "netcdf": "netCDF4"}[series])
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    target.write("1/a", run_events("a" * 32, "1", "main", points), series=series)
    assert target.restore().losses == []
    assert len(target.store["runs"]["a" * 32]["metrics"]["m"]) == 9


def test_changed_or_missing_file_of_points_is_reported(target: Target) -> None:
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    document = target.write("1/a", run_events("a" * 32, "1", "main", points), series="csv")
    [side] = document.parent.glob("metrics.*")
    side.write_bytes(side.read_bytes().replace(b"8", b"7"))
    report = target.restore()
    assert [note.place for note in report.losses] == [str(side)]
    side.unlink()
    assert not target.restore(overwrite=True).complete


@pytest.mark.parametrize("edition", [1, 2])
def test_missing_points_are_counted_once(target: Target, edition: int) -> None:
    log = Log()
    log.metric("loss", 0.5, "training")
    log.metric("loss", 0.25)
    log.add(RunUpdated, "FINISHED", None)
    document = log.document()
    entities = document.records["entity"]
    if edition == 1:  # without a series of all points
        del entities["run:record"]["mlf:edition"]
        entities["run:metric/@run/loss"]["mlf:count"] = {"$": "1", "type": "xsd:int"}
    target.out.mkdir()
    path = target.out / "prov.json"
    path.write_bytes(prov_json.dumps(document))
    assert target.restore().losses == []
    for sample in [i for i, record in entities.items() if "mlf:step" in record]:
        del entities[sample]
    path.write_bytes(prov_json.dumps(document))
    report = target.restore(overwrite=True)
    assert [note.reason for note in report.losses] == ["2 of its metric points are missing"]


def test_link_to_a_file_of_points_outside_is_not_followed(target: Target) -> None:
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    document = target.write("1/a", run_events("a" * 32, "1", "main", points), series="csv")
    [side] = document.parent.glob("metrics.*")
    side.symlink_to(side.rename(target.out / side.name))
    report = target.restore()
    assert [note.reason for note in report.losses] == [
        f"names a file of metric points outside its folder: {side.name}"
    ]


def test_file_of_points_outside_the_folder_of_the_document_is_ignored(target: Target) -> None:
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    document = target.write("1/a", run_events("a" * 32, "1", "main", points), series="csv")
    [side] = document.parent.glob("metrics.*")
    side.rename(target.out / side.name)
    document.write_text(document.read_text().replace(f'"{side.name}"', f'"../../{side.name}"'))
    report = target.restore()
    assert [note.reason for note in report.losses] == [
        f"names a file of metric points outside its folder: ../../{side.name}"
    ]
    assert report.points == 0


@pytest.mark.parametrize("to", ["prov-json", "prov-jsonld", "trig", "json-ld", "prov-xml"])
def test_runs_in_one_document_are_restored(target: Target, to: str) -> None:
    originals = [
        run_events(letter * 32, "1", "main", (ParamsLogged, {"p": letter})) for letter in "abc"
    ]
    target.out.mkdir()
    with (target.out / f"prov{FORMATS[to].suffix}").open("wb") as stream:
        FORMATS[to].dump(map(translate, originals), stream, single=False)
    assert target.restore().counts["run"] == {"restored": 3}
    runs = target.store["runs"]
    assert {run_id[0]: run["params"]["p"] for run_id, run in runs.items()} == {
        letter: letter for letter in "abc"
    }


# -- artifacts -----------------------------------------------------------------------------


def files_of(**contents: bytes) -> list[dict[str, Any]]:
    return [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in contents.items()
    ]


def test_artifacts_are_copied_from_the_given_folder(target: Target, tmp_path: Path) -> None:
    old = tmp_path / "mlruns" / "1" / ("a" * 32) / "artifacts"
    old.mkdir(parents=True)
    (old / "good.txt").write_bytes(b"good")
    (old / "changed.txt").write_bytes(b"other")
    files = [
        *files_of(**{"good.txt": b"good", "changed.txt": b"what", "gone.txt": b""}),
        {"path": "../../../out", "size": None, "sha256": None},
    ]
    events = run_events(
        "a" * 32, "1", "main", (ArtifactsLogged, files), artifact_uri="s3://bucket/1/a/artifacts"
    )
    target.write("1/a", events)
    report = target.restore(artifacts=tmp_path / "mlruns")
    uri = target.store["runs"]["a" * 32]["artifact_uri"]
    assert uri == f"{target.root}/1/{'a' * 32}/artifacts"
    assert [path.name for path in Path(uri).iterdir()] == ["good.txt"]
    assert report.files["copied"] == 1
    assert [report.files[k] for k in ("found in --artifacts", "looked for")] == [1, 4]
    assert sorted(note.reason for note in report.losses) == [
        "artifact changed.txt: has changed",
        "artifact gone.txt: does not exist",
        "the path of an artifact leaves its folder: '../../../out'",
    ]


def test_run_without_available_files_keeps_its_artifact_uri(target: Target) -> None:
    uri = "s3://bucket/1/a/artifacts"
    logged = (ArtifactsLogged, files_of(**{"a.txt": b"a"}))
    target.write("1/a", run_events("a" * 32, "1", "main", logged, artifact_uri=uri))
    report = target.restore()
    assert target.store["runs"]["a" * 32]["artifact_uri"] == uri
    assert report.losses == []


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Return a folder of this machine outside of the input."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "key").write_bytes(b"secret")
    return folder


def test_folder_that_only_the_document_names_is_not_read(target: Target, private: Path) -> None:
    logged = (ArtifactsLogged, files_of(key=b"secret"))
    target.write("1/a", run_events("a" * 32, "1", "main", logged, artifact_uri=str(private)))
    report = target.restore()
    assert not [*target.root.rglob("*")]
    assert report.complete
    [note] = report.changes
    assert str(private) in note.reason and "--artifacts" in note.reason
    # The same URI counts within the folder that the user gives.
    assert target.restore(artifacts=private.parent, overwrite=True).files["copied"] == 1


@pytest.mark.parametrize("link", ["artifacts/key", "artifacts", "artifacts/sub"])
def test_links_out_of_the_folder_of_the_document_are_not_followed(
    target: Target, private: Path, link: str
) -> None:
    name = "sub/key" if link.endswith("sub") else "key"
    document = target.write(
        "1/a", run_events("a" * 32, "1", "main", (ArtifactsLogged, files_of(**{name: b"secret"})))
    )
    source = document.parent / link
    source.parent.mkdir(exist_ok=True)
    source.symlink_to(private / "key" if link.endswith("key") else private)
    target.restore()
    assert not [*target.root.rglob("*")]


def test_document_behind_a_link_out_of_the_folder_is_not_read(
    target: Target, private: Path
) -> None:
    target.write("1/a", run_events("a" * 32))
    document = target.write("1/b", run_events("b" * 32)).rename(private / "prov.json")
    (target.out / "1" / "b" / "prov.json").symlink_to(document)
    report = target.restore()
    assert report.counts["run"] == {"restored": 1}
    assert [note.reason for note in report.losses] == ["is a link that leads out of its folder"]


def test_artifacts_above_a_lone_document_need_their_digest(target: Target, private: Path) -> None:
    files = [*files_of(key=b"secret"), {"path": "other", "size": None, "sha256": None}]
    events = run_events("a" * 32, "1", "main", (ArtifactsLogged, files))
    document = target.write("1/a", events)
    document = document.rename(_created(private / "provenance") / "prov.json")
    (private / "other").write_bytes(b"anything")
    report = restore(RestoreRequest((document,), target.uri, artifact_root=str(target.root)))
    assert [path.name for path in target.root.rglob("*") if path.is_file()] == ["key"]
    assert report.lacks_only_artifacts and not report.complete


def _created(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("run_id", ["..", "../../x", "a/../../b"])
def test_ids_do_not_lead_out_of_the_artifact_root(target: Target, run_id: str) -> None:
    logged = (ArtifactsLogged, files_of(key=b"mine"))
    document = target.write("1/a", run_events(run_id, "1", "main", logged))
    (_created(document.parent / "artifacts") / "key").write_bytes(b"mine")
    report = target.restore()
    assert [path for path in target.root.parent.rglob("key") if "prov" not in path.parts] == []
    assert "not the name of a folder" in report.losses[0].reason


def test_folder_without_any_artifact_is_reported(target: Target, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    logged = (ArtifactsLogged, files_of(**{"a.txt": b"a", "b.txt": b"b"}))
    target.write("1/a", run_events("a" * 32, "1", "main", logged))
    report = target.restore(artifacts=wrong)
    assert report.to_json()["files"] == {"found in --artifacts": 0, "looked for": 2}
    (note,) = report.losses
    assert note.place == str(wrong)
    assert "contains none of 2 artifacts: give the folder" in note.reason


# -- other tables --------------------------------------------------------------------------


@since("3.10", "tables of endpoints")
def test_rows_that_refer_to_a_secret_are_restored_without(target: Target) -> None:
    who = {"created_at": 1, "last_updated_at": 1}
    secret = {"secret_id": "s", "secret_name": "k", "encrypted_value": "(withheld)", **who}
    definition = {"model_definition_id": "d", "name": "m", "provider": "p", "model_name": "gpt"}
    mapping = {"mapping_id": "x", "endpoint_id": "e", "model_definition_id": "d", "weight": 1.0}
    lost = {**mapping, "mapping_id": "y", "endpoint_id": "other"}
    calls = {
        "secrets": [secret],
        "model_definitions": [{**definition, "secret_id": "s", **who}],
        "endpoints": [{"endpoint_id": "e", "name": "e", **who}],
        "endpoint_model_mappings": [
            {**row, "linkage_type": "PRIMARY", "fallback_order": None, "created_at": 1}
            for row in (mapping, lost)
        ],
    }
    target.write("store", store_events(*((f"record_{t}", {"rows": r}) for t, r in calls.items())))
    report = target.restore()
    with closing(sqlite3.connect(target.database)) as connection:
        rows = connection.execute("SELECT model_definition_id, secret_id FROM model_definitions")
        assert rows.fetchall() == [("d", None)]
        rows = connection.execute("SELECT mapping_id FROM endpoint_model_mappings")
        assert rows.fetchall() == [("x",)]
    assert {note.place: note.reason for note in report.losses} == {
        "table secrets, s": "encrypted_value is a secret, which documents never contain;"
        " set it in MLflow",
        "table model_definitions, d": "secret_id refers to 's' in secrets, which the target"
        " lacks: it is empty",
        "table endpoint_model_mappings, y": "endpoint_id refers to 'other' in endpoints, which the"
        " target lacks",
    }


@since("3.10", "tables of endpoints")
def test_text_in_a_column_of_integers_is_reported(target: Target) -> None:
    endpoint = {"endpoint_id": "e", "name": "e", "created_at": 1, "last_updated_at": "soon"}
    target.write("store", store_events(("record_endpoints", {"rows": [endpoint]})))
    assert "is not an integer: 'soon'" in {note.reason for note in target.restore().losses}


@since("3.4", "evaluation datasets")
def test_fields_that_no_target_writes_are_reported(target: Target) -> None:
    experiment = {"experiment_id": "5", "name": "e", "workspace": "team", "later": None}
    model = {"name": "m", "workspace": "team", "color": "red"}
    calls = [
        ("create_experiment", experiment),
        ("create_registered_model", model),
        ("create_model_version", {"name": "m", "version": "1", "mood": "good"}),
        ("start_trace", {"trace_info": {"trace_id": "tr", "experiment_id": "5", "mood": "good"}}),
        ("create_dataset", {"dataset_id": "d", "name": "d", "mood": "good"}),
    ]
    target.write("store", store_events(*calls))
    target.write("5/a", run_events("a" * 32, "5", "e", fields={"mood": "good", "source_name": "x"}))
    assert [(note.place, note.reason) for note in target.restore().losses] == [
        (f"run {'a' * 32}", "not restored: mood"),
        ("experiment 5", "not restored: workspace"),
        ("registered model m", "not restored: color, workspace"),
        ("registered model m, version 1", "not restored: mood"),
        ("trace tr", "not restored: mood"),
        ("evaluation dataset d", "not restored: mood"),
    ]
    assert target.store["runs"]["a" * 32]["artifact_uri"] is None


# -- through the client --------------------------------------------------------------------


@pytest.fixture(params=["server", "folder"])
def client_uri(request: pytest.FixtureRequest, plain_server: Server, tmp_path: Path) -> str:
    return plain_server.uri if request.param == "server" else f"file://{tmp_path / 'files'}"


def test_restore_through_the_client(
    target: Target, filled: tuple[str, StoreIds], expected: Store, client_uri: str
) -> None:
    full, made = filled
    target.convert(full)
    report = target.restore(client_uri)
    client = mlflow.MlflowClient(client_uri, client_uri)
    assert report.counts["run"] == {"restored": 5}
    for run_id, run in expected["runs"].items():
        restored = client.get_run(report.ids[f"run {run_id}"])
        # A folder keeps the ids of runs.
        original = restored.data.tags.get("yprov.restored_from", restored.info.run_id)
        assert original == run_id
        assert restored.data.params == run["params"]
        assert (restored.info.start_time, restored.info.status) == (
            run["start_time"],
            run["status"],
        )
        assert restored.info.end_time == run["end_time"]
        assert restored.info.lifecycle_stage == run["lifecycle"]
        assert set(restored.data.metrics) == set(run["metrics"])
        loss = [(p.value, p.step, p.timestamp) for p in _history(client, restored, "loss")]
        assert loss == run["metrics"].get("loss", [])
    [child] = [run for run, tags in _tags(expected).items() if "mlflow.parentRunId" in tags]
    parent = expected["runs"][child]["tags"]["mlflow.parentRunId"]
    tags = client.get_run(report.ids[f"run {child}"]).data.tags
    assert tags["mlflow.parentRunId"] == report.ids[f"run {parent}"]
    assert client.get_model_version_by_alias("iris", "champion").version in (2, "2")
    _has_traces(client, report, made)
    left = [
        note.reason for note in report.losses if "only be restored into a database" in note.reason
    ]
    assert not any("points" in reason for reason in left)
    assert target.restore(client_uri).counts["run"] == {"unchanged": 5}


@since("3.0", "the client of traces")
def test_target_that_cannot_look_up_an_object_is_reported(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk failed")

    trace = {"trace_id": "tr-1", "experiment_id": "1", "state": "OK"}
    calls = [("create_registered_model", {"name": "m"}), ("start_trace", {"trace_info": trace})]
    target.write("store", store_events(*calls))
    target.write("1/a", run_events())
    uri = f"file://{tmp_path / 'files'}"
    client = mlflow.MlflowClient(uri, uri)
    monkeypatch.setattr(mlflow.MlflowClient, "get_registered_model", fail)
    monkeypatch.setattr(type(client._tracing_client), "get_trace_info", fail)
    report = target.restore(uri)
    reason = "the target rejects it: disk failed"
    losses = [(note.place, note.reason) for note in report.losses]
    assert losses == [("registered model m", reason), ("trace tr-1", reason)]
    assert report.counts["run"] == {"restored": 1}
    assert report.counts["trace"] == {"refused": 1}


def test_point_of_several_models_is_logged_once(target: Target, tmp_path: Path) -> None:
    columns = ["m"] * 3, array("d", [1] * 3), array("q", [TIME_MS] * 3), array("q", [0] * 3)
    points = (MetricsLogged, *columns, (), None, ["m-1", "m-2", None])
    models = [(ModelLogged, m, m, None, "READY", "1") for m in ("m-1", "m-2")]
    target.write("1/a", run_events("a" * 32, "1", "main", points, *models))
    uri = f"file://{tmp_path / 'files'}"
    run_id = target.restore(uri).ids[f"run {'a' * 32}"]
    client = mlflow.MlflowClient(uri, uri)
    # The point of both models, and one that is equal to it.
    assert len(client.get_metric_history(run_id, "m")) == 2
    assert [len(client.get_logged_model(m).metrics) for m in ("m-1", "m-2")] == [1, 1]


def _has_traces(client: Any, report: RestoreReport, made: StoreIds) -> None:
    """Check that traces and their assessments belong to the restored runs."""
    parent = report.ids[f"run {made.runs['parent']}"]
    trace_id = made.traces["of the run"]
    trace = client.get_trace(trace_id)
    assert [span.name for span in trace.data.spans] == ["span 1", "span 2"]
    info = trace.info
    assert info.trace_metadata["mlflow.sourceRun"] == parent
    assessed = {a.overrides: a for a in info.assessments if a.name == "good"}
    corrected = assessed.pop(next(filter(None, assessed)))
    first = assessed[None]
    assert (corrected.overrides, corrected.value) == (first.assessment_id, True)
    assert (first.value, first.valid) == ({"score": 0.5}, False)
    linked = f"trace {made.traces['linked']}, its link to run {made.runs['parent']}"
    if linked not in {note.place for note in report.losses}:  # folders reject links
        traces = client.search_traces(locations=[info.experiment_id], run_id=parent)
        assert made.traces["linked"] in {trace.info.trace_id for trace in traces}


def _history(client: Any, run: Any, key: str) -> list[Any]:
    return client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []


def _tags(store: Store) -> dict[str, dict[str, str]]:
    return {run_id: run["tags"] for run_id, run in store["runs"].items()}


# -- errors --------------------------------------------------------------------------------


def test_files_that_are_not_documents_are_reported_and_skipped(target: Target) -> None:
    target.write("1/a", run_events("a" * 32))
    broken = target.out / "1" / "b" / "prov.json"
    broken.parent.mkdir()
    broken.write_text('{"entity": 7')
    foreign = target.out / "1" / "c" / "prov.json"
    foreign.parent.mkdir()
    foreign.write_text('{"prefix": {"ex": "http://example.org/"}, "entity": {"ex:a": {}}}')
    report = target.restore()
    assert report.counts["run"] == {"restored": 1}
    assert sorted(note.place for note in report.losses) == [str(broken), str(foreign)]


@pytest.mark.parametrize(
    ("section", "term", "value"),
    [
        ("entity", "mlf:timestamp", {"$": "no time", "type": "xsd:dateTime"}),
        ("entity", "mlf:step", {"$": "one", "type": "xsd:int"}),
        ("entity", "prov:value", None),
        ("activity", "prov:startTime", "yesterday"),
        ("activity", "mlf:startTimeMs", "yesterday"),
        ("wasGeneratedBy", "prov:entity", 7),
    ],
)
def test_malformed_document_does_not_stop_the_others(
    target: Target, section: str, term: str, value: object
) -> None:
    points = (MetricsLogged, ["m"], array("d", [1]), array("q", [TIME_MS]), array("q", [0]))
    bad = target.write("1/a", run_events("a" * 32, "1", "main", points))
    content = json.loads(bad.read_text())
    identifier = next((i for i, r in content[section].items() if term in r), "run:run")
    content[section][identifier][term] = value
    bad.write_text(json.dumps(content))
    target.write("1/b", run_events("b" * 32))
    report = target.restore()
    assert "b" * 32 in target.store["runs"]
    if section == "entity":
        assert f"{bad}, {identifier}" in {note.place for note in report.losses}
        assert "a" * 32 not in target.store["runs"]


def test_run_that_cannot_be_written_does_not_stop_the_others(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yprov_mlflow.prov.restore.sql.sql_target import DatabaseTarget

    put_run = DatabaseTarget.put_run

    def fail_once(self: DatabaseTarget, run: Run, document: Path) -> None:
        if run.run_id == "a" * 32:
            raise KeyError("odd")
        put_run(self, run, document)

    monkeypatch.setattr(DatabaseTarget, "put_run", fail_once)
    target.write("1/a", run_events("a" * 32))
    target.write("1/b", run_events("b" * 32))
    report = target.restore()
    assert report.counts["run"] == {"restored": 1}
    [note] = report.losses
    assert note.reason.startswith("has a malformed value") and "a" * 32 in note.place


def test_purged_runs_and_runs_without_experiment_are_not_restored(target: Target) -> None:
    gone = (RunUpdated, None, None, None, "purged")
    target.write("1/a", run_events("a" * 32, "1", "main", gone))
    unknown = run_events("b" * 32)
    target.write("1/b", [event for event in unknown if not isinstance(event, RunCreated)])
    report = target.restore()
    assert report.counts["run"] == {"refused": 1}
    assert [(note.place, note.reason) for note in (*report.changes, *report.losses)] == [
        (f"run {'a' * 32}", "it was deleted for good and is not restored"),
        (f"run {'b' * 32}", "its documents do not name its experiment"),
    ]


def test_nothing_to_restore_raises(target: Target, tmp_path: Path) -> None:
    target.out.mkdir()
    new = tmp_path / "new.db"
    with pytest.raises(DocumentError, match="no document found"):
        target.restore(f"sqlite:///{new}")
    assert not new.exists()
    with pytest.raises(DocumentError, match="no such file"):
        restore(RestoreRequest((tmp_path / "nowhere",), target.uri))


def test_target_that_cannot_be_opened_raises(target: Target) -> None:
    target.write("1/a", run_events("a" * 32))
    with pytest.raises(StoreError, match="cannot be opened"):
        target.restore(f"{target.uri}/below/a/file.db")
    with closing(sqlite3.connect(target.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'x'")
        connection.commit()
    with pytest.raises(StoreError, match="mlflow db upgrade"):
        target.restore()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("oracle://h/x", "MLflow has no stores of the kind 'oracle'"),
        ("mssql+pyodbc://h/x", "pip install 'pyodbc'"),
        ("postgresql://u@localhost:1/x", "Check that the database is running"),
        ("mysql://u@localhost:1/x", "Check that the database is running"),
    ],
)
def test_target_out_of_reach_gets_a_cure_at_once(target: Target, uri: str, message: str) -> None:
    target.write("1/a", run_events())
    start = time.monotonic()
    with pytest.raises((StoreError, MissingExtraError), match=message):
        target.restore(uri)
    assert time.monotonic() - start < 20  # MLflow itself tries for 100 seconds


def test_missing_library_for_databases_is_named(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write("1/a", run_events())
    monkeypatch.setitem(sys.modules, "sqlalchemy.exc", None)
    monkeypatch.delitem(sys.modules, "yprov_mlflow.prov.restore.sql.sql_target", raising=False)
    with pytest.raises(MissingExtraError, match=r"needs sqlalchemy.*pip install 'mlflow'"):
        target.restore()


def test_restore_command_output_and_exit_codes(target: Target, sandbox: Sandbox) -> None:
    target.write("1/a", run_events("a" * 32))
    words = ("restore", str(target.out), "--to", target.uri)
    done = sandbox.yprov(*words, "--report", "report.json")
    assert "run                  1 restored" in done.out
    report = json.loads((sandbox.folder / "report.json").read_text())
    assert report["things"] == {"experiment": {"restored": 1}, "run": {"restored": 1}}
    assert sandbox.yprov(*words).out.count("1 unchanged") == 2
    mlflow.MlflowClient(target.uri).set_tag("a" * 32, "mine", "1")
    partly = sandbox.yprov(*words, check=False)
    assert partly.code == 3
    assert "--overwrite" in partly.err
    assert sandbox.yprov("restore", str(target.out), check=False).code == 2
    failed = sandbox.yprov("restore", str(target.out), "--to", "http://localhost:1", check=False)
    assert failed.code == 1
    assert failed.err.startswith("Error: ")
    assert "--to" in failed.err and "--tracking-uri" not in failed.err
