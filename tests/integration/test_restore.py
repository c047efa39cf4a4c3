"""From a store to documents and back: nothing is lost, nothing changed but what is declared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import comparison
import mlflow
import pytest
from comparison import Store

from integration.conftest import Server, Workplace
from integration.full_store import Made, fill, let_go
from integration.targets import Target, undeclared
from yprov_mlflow.prov.errors import DocumentError, StoreError
from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.restore import RestoreReport, RestoreRequest, restore
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.translate import translate

EVERY_CALL = Path(__file__).parents[2] / "examples" / "every_call.py"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
TIME_MS = 1_600_000_000_123


@pytest.fixture
def target(tmp_path: Path, empty_database: Path) -> Target:
    return Target(tmp_path, empty_database)


@pytest.fixture(scope="module")
def filled(shared_workplace: Workplace) -> Iterator[tuple[str, Made]]:
    """The URI of a store that has everything, and what is in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared_workplace.folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield shared_workplace.sqlite, fill(shared_workplace.sqlite)


@pytest.fixture(scope="module")
def full(filled: tuple[str, Made]) -> str:
    """The URI of a store that has everything."""
    return filled[0]


@pytest.fixture(scope="module")
def expected(full: str) -> Store:
    """What MLflow says that the full store has."""
    return comparison.read_store(full)


# -- what a store has comes back ------------------------------------------------------------


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


@pytest.mark.parametrize("to", ["prov-json", "n-quads"])
def test_a_full_store_comes_back_and_can_come_again(
    to: str, target: Target, full: str, expected: Store
) -> None:
    target.convert(full, to)
    report = target.restore()
    assert undeclared(comparison.compare(expected, target.store)) == []
    assert [note.place for note in report.losses] == ["call create_webhook"]
    before = target.database.read_bytes()

    again = target.restore()
    outcomes = {outcome for counts in again.things.values() for outcome in counts}
    assert outcomes == {"unchanged", "refused"}
    assert again.things["run"] == {"unchanged": 5}
    assert target.database.read_bytes() == before


def test_a_full_store_comes_back_in_postgresql(
    target: Target, full: str, expected: Store, postgres: str
) -> None:
    target.convert(full)
    report = target.restore(postgres)
    assert [note.place for note in report.losses] == ["call create_webhook"]
    assert undeclared(comparison.compare(expected, comparison.read_store(postgres))) == []
    assert target.restore(postgres).things["run"] == {"unchanged": 5}
    # Its own count of ids goes on after ours.
    made = mlflow.MlflowClient(postgres).create_experiment("new")
    assert int(made) > max(map(int, expected["experiments"]))


def test_what_postgresql_does_not_hold_is_cut_and_told(target: Target, postgres: str) -> None:
    long_id = "azure-" + "1" * 40
    params = {"long": "y" * 9000, "nul": "a\x00b"}
    target.write("1/a", run_events(long_id, "123456789012345678", "main", (ParamsLogged, params)))
    report = target.restore(postgres)
    run_id = report.ids[f"run 123456789012345678/{long_id}"]
    run = comparison.read_store(postgres)["runs"][run_id]
    assert run["experiment_id"] == report.ids["experiment 123456789012345678"]
    assert run["params"] == {"long": "y" * 8000, "nul": "a\ufffdb"}
    assert run["tags"] == {"yprov.restored_from": long_id}
    assert [note.place for note in report.losses] == [
        f"run {long_id}, long, value",
        f"run {long_id}, nul, value",
    ]
    assert target.restore(postgres).things == {
        "run": {"unchanged": 1},
        "experiment": {"unchanged": 1},
    }


def test_a_full_store_comes_back_in_mysql(
    target: Target, full: str, expected: Store, mariadb_address: str
) -> None:
    """To MySQL, keys that differ in case alone are one, and there is no infinity."""
    import pymysql

    user, _, place = mariadb_address.partition("@")
    login, _, password = user.partition(":")
    host, _, port = place.partition(":")
    with pymysql.connect(host=host, port=int(port), user=login, password=password) as connection:
        connection.cursor().execute("CREATE DATABASE restored CHARACTER SET utf8mb4")
    uri = f"mysql+pymysql://{mariadb_address}/restored"
    target.convert(full)
    report = target.restore(uri)
    found = comparison.read_store(uri)
    again = target.restore(uri)
    let_go(uri)
    result = comparison.compare(expected, found)
    [parent] = [r for r in expected["runs"] if expected["runs"][r]["name"] == "parent"]
    assert {d.place[:2] for d in result.differences} == {("runs", parent)}
    assert {d.place[2] for d in result.differences} == {"params", "metrics"}
    assert report.things["run"] == {"restored": 5}
    assert sorted(note.place for note in report.losses)[0] == "call create_webhook"
    assert again.things["trace"] == {"unchanged": 3}


def test_converted_again_the_restored_store_gives_the_same_runs(target: Target, full: str) -> None:
    """JSON, restore, convert: equal but for what names the store."""
    target.convert(full)
    target.restore()
    first, second = open_source(full), open_source(target.uri)
    again = {ref.run_id: ref for ref in second.runs()}
    count = 0
    for ref in first.runs():
        documents = [
            translate(_of_one_store(source.events(one)))
            for source, one in ((first, ref), (second, again[ref.run_id]))
        ]
        assert documents[0] == documents[1]
        count += 1
    assert count == len(again) == 5


def _of_one_store(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, RunCreated):
            event = dataclasses.replace(event, store=STORE)
        yield event


# -- what was captured live ----------------------------------------------------------------


def test_runs_that_were_captured_live_come_back(target: Target, workplace: Workplace) -> None:
    """What the calls were given is in the documents; only when they changed what, is of theirs."""
    settings = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    workplace.run(EVERY_CALL, f"yprov+{workplace.sqlite}", **settings)
    workplace.yprov("recover", uri=workplace.sqlite)
    paths = tuple(workplace.folder.glob("mlruns/**/prov.json"))
    paths += tuple(workplace.journal.glob("stores/**/prov.json"))
    report = restore(RestoreRequest(paths, target.uri, artifact_root=str(target.root)))
    assert report.things["run"] == {"restored": 7}
    expected = comparison.read_store(workplace.sqlite)
    result = comparison.compare(expected, target.store)
    times = ("creation_time", "last_update_time", "created", "updated")
    left = [
        difference
        for difference in result.differences
        if not (
            difference.place[-1] in times
            # Files go to a place of the new store; an experiment's own is in no call's result.
            or difference.place[-1] in ("artifact_uri", "location", "artifact_location")
        )
    ]
    assert [str(difference) for difference in left] == []
    for run_id, run in target.store["runs"].items():
        for path in Path(run["artifact_uri"]).rglob("*.txt"):
            place = workplace.folder / "mlruns" / run["experiment_id"] / run_id / "artifacts"
            assert path.read_bytes() == (place / path.relative_to(run["artifact_uri"])).read_bytes()


# -- stores that no MLflow would make ------------------------------------------------------


def run_events(
    run_id: str = "1" * 32,
    experiment: str = "1",
    name: str | None = "main",
    *others: tuple[Any, ...],
    **given: Any,
) -> list[Event]:
    """Give the events of a run in a source, with the fields that are ``given``."""
    fields = {
        "run_name": "fox",
        "user_id": "ada",
        "start_time_ms": TIME_MS,
        "artifact_uri": None,
        **given,
    }
    status = fields.pop("status", "FINISHED")
    lifecycle = fields.pop("lifecycle", None)
    created = RunCreated(
        run_id, STORE_SESSION, 0, 0, experiment, name, tags={}, store=STORE, **fields
    )
    told: list[Event] = [
        created,
        RunUpdated(run_id, STORE_SESSION, 1, 0, status, TIME_MS + 5, None, lifecycle),
    ]
    for seq, (cls, *rest) in enumerate(others, 2):
        told.append(cls(run_id, STORE_SESSION, seq, 0, *rest))
    return told


def store_events(*calls: tuple[str, dict[str, Any]]) -> list[Event]:
    run_id = store_id(STORE["uuid"])
    return [
        StoreCalled(run_id, STORE_SESSION, seq, 0, method, {}, arguments)
        for seq, (method, arguments) in enumerate(calls)
    ]


@pytest.mark.parametrize("name", ["", None])
def test_a_run_without_a_name_stays_without(target: Target, name: str | None) -> None:
    target.write("1/a", run_events("a" * 32, run_name=name))
    target.restore()
    assert target.store["runs"]["a" * 32]["name"] == name


def test_two_experiments_of_one_name_get_two(target: Target) -> None:
    target.write("1/a", run_events("a" * 32, "1"))
    target.write("2/b", run_events("b" * 32, "2"))
    report = target.restore()
    experiments = target.store["experiments"]
    assert experiments["1"]["name"] == "main"
    assert experiments["2"]["name"] == "main (2)"
    assert experiments["2"]["tags"] == {"yprov.original_name": "main"}
    assert [note.place for note in report.changes] == ["experiment 2"]
    assert target.restore().things["experiment"] == {"unchanged": 2}


def test_two_runs_of_one_id_get_two(target: Target) -> None:
    target.write("1/a", run_events("a" * 32, "1", "one", (ParamsLogged, {"p": "1"})))
    target.write("2/a", run_events("a" * 32, "2", "two", (ParamsLogged, {"p": "2"})))
    report = target.restore()
    runs = target.store["runs"]
    [new] = set(runs) - {"a" * 32}
    assert report.ids == {f"run 2/{'a' * 32}": new}
    assert (runs["a" * 32]["experiment_id"], runs["a" * 32]["params"]) == ("1", {"p": "1"})
    assert (runs[new]["experiment_id"], runs[new]["params"]) == ("2", {"p": "2"})
    assert runs[new]["tags"] == {"yprov.restored_from": "a" * 32}
    assert target.restore().things["run"] == {"unchanged": 2}


def test_experiments_whose_ids_are_no_numbers_get_some(target: Target) -> None:
    target.write("x/a", run_events("a" * 32, "my exp", "mine"))
    target.write("y/b", run_events("b" * 32, "123456789012345678", "large"))
    report = target.restore()
    experiments = target.store["experiments"]
    assert experiments["123456789012345678"]["name"] == "large"
    number = report.ids["experiment my exp"]
    assert experiments[number]["name"] == "mine"
    assert experiments[number]["tags"] == {"yprov.restored_from": "my exp"}
    assert target.restore().things["experiment"] == {"unchanged": 2}


def test_odd_values_are_kept_or_told(target: Target) -> None:
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


def test_a_run_that_the_target_has_otherwise_is_refused_unless_overwritten(target: Target) -> None:
    target.write("1/a", run_events("a" * 32))
    target.restore()
    client = mlflow.MlflowClient(target.uri)
    client.set_tag("a" * 32, "mine", "1")
    refused = target.restore()
    assert refused.things["run"] == {"refused": 1}
    assert not refused.complete
    assert client.get_run("a" * 32).data.tags["mine"] == "1"
    assert target.restore(overwrite=True).things["run"] == {"replaced": 1}
    assert "mine" not in client.get_run("a" * 32).data.tags
    assert target.restore().things["run"] == {"unchanged": 1}


def test_another_experiment_of_the_same_id_is_left_alone(target: Target) -> None:
    client = mlflow.MlflowClient(target.uri)
    assert client.create_experiment("theirs") == "1"
    target.write("1/a", run_events("a" * 32, "1", "ours"))
    report = target.restore()
    assert report.things == {"experiment": {"refused": 1}, "run": {"refused": 1}}
    assert target.store["experiments"]["1"]["name"] == "theirs"


def test_experiments_get_all_that_the_store_said_of_them(target: Target) -> None:
    target.write("0/a", run_events("a" * 32, "0", "Default", lifecycle="deleted"))
    told = {
        "name": "Default",
        "experiment_id": "0",
        "artifact_location": "s3://elsewhere/0",
        "tags": {"k": "v"},
        "creation_time": 7,
        "last_update_time": None,
        "lifecycle_stage": "deleted",
    }
    target.write("store", store_events(("create_experiment", told)))
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
def test_points_beside_the_document_come_back(target: Target, series: str) -> None:
    if series in ("zarr", "netcdf"):
        pytest.importorskip({"zarr": "zarr", "netcdf": "netCDF4"}[series])
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    target.write("1/a", run_events("a" * 32, "1", "main", points), series=series)
    assert target.restore().losses == []
    assert len(target.store["runs"]["a" * 32]["metrics"]["m"]) == 9


def test_points_that_are_not_what_they_were_are_not_taken(target: Target) -> None:
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    document = target.write("1/a", run_events("a" * 32, "1", "main", points), series="csv")
    [side] = document.parent.glob("metrics.*")
    side.write_bytes(side.read_bytes().replace(b"8", b"7"))
    report = target.restore()
    assert [note.place for note in report.losses] == [str(side)]
    side.unlink()
    assert not target.restore(overwrite=True).complete


def test_points_outside_of_the_documents_folder_are_not_taken(target: Target) -> None:
    points = (MetricsLogged, ["m"] * 9, *(array(t, range(9)) for t in "dqq"))
    document = target.write("1/a", run_events("a" * 32, "1", "main", points), series="csv")
    [side] = document.parent.glob("metrics.*")
    side.rename(target.out / side.name)
    document.write_text(document.read_text().replace(f'"{side.name}"', f'"../../{side.name}"'))
    report = target.restore()
    assert [note.reason for note in report.losses] == [
        f"names points outside of its folder: ../../{side.name}"
    ]
    assert report.points == 0


@pytest.mark.parametrize("to", ["prov-json", "trig", "json-ld", "prov-xml"])
def test_many_runs_in_one_document_come_back(target: Target, to: str) -> None:
    runs = [run_events(letter * 32, "1", "main", (ParamsLogged, {"p": letter})) for letter in "abc"]
    target.out.mkdir()
    with (target.out / f"prov{FORMATS[to].suffix}").open("wb") as stream:
        FORMATS[to].dump(map(translate, runs), stream, single=False)
    assert target.restore().things["run"] == {"restored": 3}
    found = target.store["runs"]
    assert {run_id[0]: run["params"]["p"] for run_id, run in found.items()} == {
        letter: letter for letter in "abc"
    }


# -- artifacts -----------------------------------------------------------------------------


def files_of(**contents: bytes) -> list[dict[str, Any]]:
    return [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in contents.items()
    ]


def test_artifacts_are_copied_from_where_they_are(target: Target, tmp_path: Path) -> None:
    old = tmp_path / "mlruns" / "1" / ("a" * 32) / "artifacts"
    old.mkdir(parents=True)
    (old / "good.txt").write_bytes(b"good")
    (old / "changed.txt").write_bytes(b"other")
    told = [
        *files_of(**{"good.txt": b"good", "changed.txt": b"what", "gone.txt": b""}),
        {"path": "../../../out", "size": None, "sha256": None},
    ]
    events = run_events(
        "a" * 32, "1", "main", (ArtifactsLogged, told), artifact_uri="s3://bucket/1/a/artifacts"
    )
    target.write("1/a", events)
    report = target.restore(artifacts=tmp_path / "mlruns")
    uri = target.store["runs"]["a" * 32]["artifact_uri"]
    assert uri == f"{target.root}/1/{'a' * 32}/artifacts"
    assert [path.name for path in Path(uri).iterdir()] == ["good.txt"]
    assert report.files["copied"] == 1
    assert [report.files[k] for k in ("found in --artifacts", "looked for")] == [1, 4]
    assert sorted(note.reason for note in report.losses) == [
        "an artifact's path leads out of its folder: '../../../out'",
        "artifact changed.txt: has changed",
        "artifact gone.txt: is not there",
    ]


def test_without_its_files_a_run_keeps_the_place_that_it_had(target: Target) -> None:
    uri = "s3://bucket/1/a/artifacts"
    logged = (ArtifactsLogged, files_of(**{"a.txt": b"a"}))
    target.write("1/a", run_events("a" * 32, "1", "main", logged, artifact_uri=uri))
    report = target.restore()
    assert target.store["runs"]["a" * 32]["artifact_uri"] == uri
    assert report.losses == []


def test_a_folder_without_the_artifacts_is_said_to_be_so(target: Target, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    logged = (ArtifactsLogged, files_of(**{"a.txt": b"a", "b.txt": b"b"}))
    target.write("1/a", run_events("a" * 32, "1", "main", logged))
    report = target.restore(artifacts=wrong)
    assert report.to_json()["files"] == {"found in --artifacts": 0, "looked for": 2}
    (note,) = report.losses
    assert note.place == str(wrong)
    assert "has none of 2 artifacts: give the folder" in note.reason


# -- through the client --------------------------------------------------------------------


@pytest.fixture(params=["server", "folder"])
def client_uri(request: pytest.FixtureRequest, plain_server: Server, tmp_path: Path) -> str:
    return plain_server.uri if request.param == "server" else f"file://{tmp_path / 'files'}"


def test_other_stores_are_filled_through_the_client(
    target: Target, filled: tuple[str, Made], expected: Store, client_uri: str
) -> None:
    full, made = filled
    target.convert(full)
    report = target.restore(client_uri)
    client = mlflow.MlflowClient(client_uri, client_uri)
    assert report.things["run"] == {"restored": 5}
    for run_id, run in expected["runs"].items():
        found = client.get_run(report.ids[f"run {run_id}"])
        assert found.data.tags["yprov.restored_from"] == run_id
        assert found.data.params == run["params"]
        assert (found.info.start_time, found.info.status) == (run["start_time"], run["status"])
        assert found.info.end_time == run["end_time"]
        assert found.info.lifecycle_stage == run["lifecycle"]
        assert set(found.data.metrics) == set(run["metrics"])
        loss = [(p.value, p.step, p.timestamp) for p in _history(client, found, "loss")]
        assert loss == run["metrics"].get("loss", [])
    [child] = [run for run, tags in _tags(expected).items() if "mlflow.parentRunId" in tags]
    parent = expected["runs"][child]["tags"]["mlflow.parentRunId"]
    tags = client.get_run(report.ids[f"run {child}"]).data.tags
    assert tags["mlflow.parentRunId"] == report.ids[f"run {parent}"]
    assert client.get_model_version_by_alias("iris", "champion").version in (2, "2")
    _has_traces(client, report, made)
    left = [note.reason for note in report.losses if "only for databases" in note.reason]
    assert "of which logged models 2 points are is only for databases" in left
    assert target.restore(client_uri).things["run"] == {"unchanged": 5}


def _has_traces(client: Any, report: RestoreReport, made: Made) -> None:
    """Check that traces belong to the runs that are new here, with their assessments."""
    parent = report.ids[f"run {made.runs['parent']}"]
    trace_id = made.traces["of the run"]
    trace = client.get_trace(trace_id)
    assert [span.name for span in trace.data.spans] == ["span 1", "span 2"]
    info = trace.info
    assert info.trace_metadata["mlflow.sourceRun"] == parent
    assessed = {one.overrides: one for one in info.assessments if one.name == "good"}
    corrected = assessed.pop(next(filter(None, assessed)))
    first = assessed[None]
    assert (corrected.overrides, corrected.value) == (first.assessment_id, True)
    assert (first.value, first.valid) == ({"score": 0.5}, False)
    linked = f"trace {made.traces['linked']}, its link to run {made.runs['parent']}"
    if linked not in {note.place for note in report.losses}:  # folders take none
        found = client.search_traces(locations=[info.experiment_id], run_id=parent)
        assert made.traces["linked"] in {one.info.trace_id for one in found}


def _history(client: Any, run: Any, key: str) -> list[Any]:
    return client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []


def _tags(store: Store) -> dict[str, dict[str, str]]:
    return {run_id: run["tags"] for run_id, run in store["runs"].items()}


# -- what goes wrong -----------------------------------------------------------------------


def test_what_is_no_document_is_told_and_passed_by(target: Target) -> None:
    target.write("1/a", run_events("a" * 32))
    broken = target.out / "1" / "b" / "prov.json"
    broken.parent.mkdir()
    broken.write_text('{"entity": 7')
    foreign = target.out / "1" / "c" / "prov.json"
    foreign.parent.mkdir()
    foreign.write_text('{"prefix": {"ex": "http://example.org/"}, "entity": {"ex:a": {}}}')
    report = target.restore()
    assert report.things["run"] == {"restored": 1}
    assert sorted(note.place for note in report.losses) == [str(broken), str(foreign)]


def test_runs_that_are_gone_or_of_no_known_experiment_are_not_restored(target: Target) -> None:
    gone = (RunUpdated, None, None, None, "purged")
    target.write("1/a", run_events("a" * 32, "1", "main", gone))
    unknown = run_events("b" * 32)
    target.write("1/b", [event for event in unknown if not isinstance(event, RunCreated)])
    report = target.restore()
    assert report.things["run"] == {"refused": 1}
    assert [(note.place, note.reason) for note in (*report.changes, *report.losses)] == [
        (f"run {'a' * 32}", "it was deleted for good, and is not restored"),
        (f"run {'b' * 32}", "its document does not tell its experiment"),
    ]


def test_nothing_to_restore_is_an_error(target: Target, tmp_path: Path) -> None:
    target.out.mkdir()
    new = tmp_path / "new.db"
    with pytest.raises(DocumentError, match="no document"):
        target.restore(f"sqlite:///{new}")
    assert not new.exists()
    with pytest.raises(DocumentError, match="no such file"):
        restore(RestoreRequest((tmp_path / "nowhere",), target.uri))


def test_a_target_that_cannot_be_opened_is_an_error(target: Target) -> None:
    target.write("1/a", run_events("a" * 32))
    with pytest.raises(StoreError, match="cannot be opened"):
        target.restore(f"{target.uri}/below/a/file.db")
    with closing(sqlite3.connect(target.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'x'")
        connection.commit()
    with pytest.raises(StoreError, match="mlflow db upgrade"):
        target.restore()


def test_the_command_says_what_it_did(target: Target, workplace: Workplace) -> None:
    target.write("1/a", run_events("a" * 32))
    words = ("restore", str(target.out), "--to", target.uri)
    done = workplace.yprov(*words, "--report", "report.json")
    assert "run                  1 restored" in done.out
    report = json.loads((workplace.folder / "report.json").read_text())
    assert report["things"] == {"experiment": {"restored": 1}, "run": {"restored": 1}}
    assert workplace.yprov(*words).out.count("1 unchanged") == 2
    mlflow.MlflowClient(target.uri).set_tag("a" * 32, "mine", "1")
    partly = workplace.yprov(*words, check=False)
    assert partly.code == 3
    assert "--overwrite" in partly.err
    assert workplace.yprov("restore", str(target.out), check=False).code == 2
    failed = workplace.yprov("restore", str(target.out), "--to", "http://localhost:1", check=False)
    assert failed.code == 1
    assert failed.err.startswith("Error: ")
