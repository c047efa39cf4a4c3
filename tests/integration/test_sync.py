"""``sync``: runs from their journals into stores of every kind, equal to logging there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from kill_syncs import kill
from support.readers.store_contents import Contents, contents
from support.versions import since

from yprov_mlflow.prov.errors import DeliveryError, StoreError
from yprov_mlflow.prov.journal import codec
from yprov_mlflow.prov.restore import RestoreReport
from yprov_mlflow.prov.restore.sync_protocol import ROUTE, RUNS, TOKEN_HEADER, TOKEN_VARIABLE, pack
from yprov_mlflow.prov.restore.synchronization import Synchronization, SyncRequest

from .conftest import SYNC_TOKEN, Sandbox, Server

pytestmark = since("3.0", "logged models")

_PROGRAM = """
    import sys
    sys.path.append(sys.argv[1])
    import yprov_mlflow as mlflow
    from truth.programs import Program, Truth

    mlflow.set_experiment("truth")
    truth = Truth()
    for seed in map(int, sys.argv[2:]):
        program = Program(mlflow, seed, truth, False)
        program.execute()
        mlflow.flush_trace_async_logging()
        program.afterwards()
"""


def sync(*paths: Path, to: str | None = None, **options: Any) -> RestoreReport:
    """Make one pass and return the report of its only target."""
    with Synchronization(SyncRequest(paths, to, **options)) as work:
        (report,) = work.run()
    return report


def folder_of(path: Path, *, plain: bool = False) -> Contents:
    return contents(path.as_uri(), runs_only=plain)


@pytest.fixture(scope="module")
def logged(shared_sandbox: Sandbox) -> Sandbox:
    """Return a sandbox in which random programs were captured on SQLite."""
    tests = str(Path(__file__).parents[1])
    seeds = map(str, range(40, 52))
    shared_sandbox.train(_PROGRAM, shared_sandbox.sqlite, tests, *seeds)
    return shared_sandbox


@pytest.fixture(scope="module")
def online(logged: Sandbox) -> Contents:
    return contents(logged.sqlite)


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> str:
    (tmp_path / "target").mkdir()
    path = tmp_path / "target" / "m.db"
    path.write_bytes(empty_database.read_bytes())
    return f"sqlite:///{path}"


def test_database_equals_the_store_that_was_logged_to(
    logged: Sandbox, online: Contents, tmp_path: Path, database: str
) -> None:
    report = sync(logged.journal, to=database, artifact_root=str(tmp_path / "root"))
    assert (report.losses, report.counts["run"]) == ([], {"restored": len(online["runs"])})
    assert contents(database) == online
    again = sync(logged.journal, to=database)
    assert (again.changed, again.losses, again.files["copied"]) == (0, [], 0)
    assert contents(database) == online


def test_own_store_has_everything_already(logged: Sandbox, online: Contents) -> None:
    report = sync(logged.journal)
    assert (report.target, report.losses, report.changed) == (logged.sqlite, [], 0)
    assert contents(logged.sqlite) == online


def test_folder_keeps_ids(logged: Sandbox, online: Contents, tmp_path: Path) -> None:
    target = tmp_path / "files"
    report = sync(logged.journal, to=target.as_uri())
    assert report.counts["run"] == {"restored": len(online["runs"])}
    expected = {key: online[key] for key in ("experiments", "runs")}
    # What a folder of MLflow cannot hold, or its client does not write.
    beyond = ("registered model prompt", "evaluation dataset", "its link to run")
    assert all(any(text in note.place for text in beyond) for note in report.losses)
    assert folder_of(target, plain=True) == expected
    again = sync(logged.journal, to=target.as_uri())
    assert again.counts["run"].keys() <= {"unchanged", "up to date"}
    assert folder_of(target, plain=True) == expected


def test_server_keeps_ids(
    logged: Sandbox,
    online: Contents,
    syncing_server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, SYNC_TOKEN)
    uri = syncing_server.uri
    report = sync(logged.journal, to=uri)
    assert (report.losses, report.counts["run"]) == ([], {"restored": len(online["runs"])})
    assert contents(uri) == online
    again = sync(logged.journal, to=uri)
    assert (again.changed, again.losses, again.files["copied"]) == (0, [], 0)
    # The server captured none of it a second time.
    assert not list(syncing_server.journal.rglob("*.journal"))


def test_server_answers_only_with_the_token(
    syncing_server: Server, logged: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    uri = syncing_server.uri
    assert requests.get(f"{uri}{ROUTE}", timeout=30).status_code == 403
    wrong = {TOKEN_HEADER: "another"}
    assert requests.post(f"{uri}{RUNS}", b"", headers=wrong, timeout=30).status_code == 403
    headers = {TOKEN_HEADER: SYNC_TOKEN}
    for body in (b"no gzip", pack({"protocol": 99}), pack([]), pack({"protocol": 1, "run": 1})):
        answer = requests.post(f"{uri}{RUNS}", body, headers=headers, timeout=30)
        assert answer.status_code == 400, answer.text
    monkeypatch.setenv(TOKEN_VARIABLE, "another")
    with pytest.raises(StoreError, match=TOKEN_VARIABLE):
        sync(logged.journal, to=uri)


def test_plain_server_gets_new_ids_once(
    logged: Sandbox, online: Contents, plain_server: Server
) -> None:
    first = sync(logged.journal, to=plain_server.uri)
    assert first.counts["run"] == {"restored": len(online["runs"])}
    assert any("--app-name yprov" in note.reason for note in first.changes)
    copied = contents(plain_server.uri, runs_only=True)["runs"]
    (logged.journal / "sync" / "ledger.jsonl").unlink()
    again = sync(logged.journal, to=plain_server.uri)
    assert again.counts["run"] == {"unchanged": len(online["runs"])}
    assert contents(plain_server.uri, runs_only=True)["runs"] == copied
    for original, run in online["runs"].items():
        new = copied[first.ids[f"run {original}"]]
        assert (new["params"], new["metrics"]) == (run["params"], run["metrics"])


# -- while runs go on ----------------------------------------------------------------------

_GROWING = """
    import sys, time
    import yprov_mlflow as mlflow

    mlflow.set_experiment("growing")
    with mlflow.start_run(run_name="r") as run:
        print(run.info.run_id, flush=True)
        for step in range(int(sys.argv[1])):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.set_tag("step", str(step))
            mlflow.log_text(f"{step}", "checkpoint.txt")
            time.sleep(float(sys.argv[2]))
        mlflow.set_tag("note", "done")
"""


def test_run_is_extended_while_it_is_logged(sandbox: Sandbox, database: str) -> None:
    script = sandbox.folder / "grow.py"
    script.write_text("\n".join(line[4:] for line in _GROWING.splitlines()))
    variables = {**sandbox.environment, "MLFLOW_TRACKING_URI": sandbox.sqlite}
    outcomes: list[str] = []
    with subprocess.Popen(
        [sys.executable, str(script), "30", "0.1"],
        cwd=sandbox.folder,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as training:
        assert training.stdout is not None
        training.stdout.readline()
        while training.poll() is None:
            report = sync(sandbox.journal, to=database)
            assert report.losses == []
            outcomes += report.counts["run"]
            time.sleep(0.3)
    sync(sandbox.journal, to=database)
    assert contents(database) == contents(sandbox.sqlite)
    assert {"restored", "extended"} <= set(outcomes)


def test_follow_ends_with_all_that_was_logged(sandbox: Sandbox, database: str) -> None:
    sandbox.train(_GROWING, sandbox.sqlite, "2", "0")
    command = [sys.executable, "-m", "yprov_mlflow", "sync", "--follow", "--interval", "0.2"]
    with subprocess.Popen(
        [*command, "--to", database],
        cwd=sandbox.folder,
        env=sandbox.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == f"To {database}\n"
        sandbox.train(_GROWING, sandbox.sqlite, "3", "0")
        follower.send_signal(signal.SIGTERM)
        follower.stdout.read()
    assert follower.returncode == 0
    assert contents(database) == contents(sandbox.sqlite)


# -- what must not change ------------------------------------------------------------------


@pytest.fixture
def synced(sandbox: Sandbox, database: str) -> tuple[Sandbox, str, str]:
    """Return a sandbox with one run, its id, and a database that has it."""
    done = sandbox.train(_GROWING, sandbox.sqlite, "2", "0")
    sync(sandbox.journal, to=database)
    (sandbox.journal / "sync" / "ledger.jsonl").unlink()
    return sandbox, done.out.split()[0], database


def test_note_of_a_user_is_kept(synced: tuple[Sandbox, str, str]) -> None:
    sandbox, run_id, database = synced
    client = mlflow.MlflowClient(database)
    client.set_tag(run_id, "mlflow.note.content", "mine")
    assert sync(sandbox.journal, to=database).counts["run"] == {"unchanged": 1}
    assert client.get_run(run_id).data.tags["mlflow.note.content"] == "mine"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda c, r: c.set_tag(r, "note", "another"), "tags"),
        (lambda c, r: c.log_param(r, "p", "1"), "param"),
        (lambda c, r: c.log_metric(r, "loss", 7.0, step=9), "metric points"),
        (lambda c, r: c.set_terminated(r, "FAILED"), "runs"),
    ],
)
def test_other_content_is_reported_and_left(
    synced: tuple[Sandbox, str, str], change: Callable[[Any, str], None], place: str
) -> None:
    sandbox, run_id, database = synced
    change(mlflow.MlflowClient(database), run_id)
    before = contents(database)
    report = sync(sandbox.journal, to=database)
    assert report.counts["run"] == {"refused": 1}
    assert place in report.losses[0].reason
    assert "--overwrite" in report.losses[0].reason
    assert contents(database) == before
    assert sync(sandbox.journal, to=database, overwrite=True).counts["run"] == {"replaced": 1}
    assert contents(database) == contents(sandbox.sqlite)


def test_earlier_values_are_brought_up_to_date(synced: tuple[Sandbox, str, str]) -> None:
    sandbox, run_id, database = synced
    client = mlflow.MlflowClient(database)
    client.set_tag(run_id, "step", "0")  # the journals say that it was 0 once
    client.delete_tag(run_id, "note")
    assert sync(sandbox.journal, to=database).counts["run"] == {"extended": 1}
    assert contents(database) == contents(sandbox.sqlite)


def test_damage_is_reported_and_the_rest_is_brought(
    synced: tuple[Sandbox, str, str], tmp_path: Path
) -> None:
    sandbox, run_id, database = synced
    (journal,) = (sandbox.journal / "journal" / run_id).glob("*.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b'"metrics"' in line)
    journal.write_bytes(b"".join([*lines[:number], *lines[number + 1 :]]))
    report = sync(sandbox.journal, to=database)
    assert any("is missing" in note.reason for note in report.losses)
    assert contents(database) == contents(sandbox.sqlite)  # it had the point before


def test_event_of_a_newer_version_is_reported(synced: tuple[Sandbox, str, str]) -> None:
    sandbox, run_id, database = synced
    (journal,) = (sandbox.journal / "journal" / run_id).glob("*.journal")
    number = journal.read_bytes().count(b"\n") - 1  # the head is not an event
    future = ("future", number, time.time_ns(), {})
    with journal.open("ab") as file:
        file.write(codec.encode(future, codec.seed(run_id, journal.stem)))
    report = sync(sandbox.journal, to=database)
    assert any("not an event of this version" in note.reason for note in report.losses)
    assert contents(database) == contents(sandbox.sqlite)


def test_second_client_is_refused(synced: tuple[Sandbox, str, str]) -> None:
    sandbox, _, database = synced
    with Synchronization(SyncRequest((sandbox.journal,), database)):
        done = sandbox.yprov("sync", str(sandbox.journal), "--to", database, check=False)
    assert done.code == 1
    assert "another process synchronizes these journals" in done.err


def test_run_that_another_process_created_is_extended(
    synced: tuple[Sandbox, str, str],
) -> None:
    sandbox, run_id, database = synced
    mlflow.MlflowClient(database).log_param(run_id, "plain", "1")
    resumed = f"""
        import yprov_mlflow as mlflow
        with mlflow.start_run(run_id={run_id!r}):
            mlflow.log_metric("late", 1.0, step=1, timestamp=1)
    """
    sandbox.train(resumed, sandbox.sqlite, YPROV_MLFLOW_DIR=str(sandbox.folder / "other"))
    report = sync(sandbox.folder / "other", to=database)
    assert (report.losses, report.counts["run"]) == ([], {"extended": 1})
    run = contents(database)["runs"][run_id]
    assert run["metrics"]["late"] == [(1, 1, "1.0")]
    assert (run["params"], run["info"][3]) == ({"plain": "1"}, "FINISHED")


def test_folder_without_journals_is_an_error(tmp_path: Path, database: str) -> None:
    with pytest.raises(DeliveryError, match="no journals"):
        sync(tmp_path, to=database)


def test_secrets_stay_withheld(sandbox: Sandbox, database: str) -> None:
    program = """
        import yprov_mlflow as mlflow
        with mlflow.start_run():
            mlflow.log_param("api_key", "sk-0123456789abcdef")
    """
    sandbox.train(program, sandbox.sqlite)
    report = sync(sandbox.journal, to=database)
    assert any("secrets were withheld" in note.reason for note in report.changes)
    (run,) = contents(database)["runs"].values()
    assert run["params"] == {"api_key": "(withheld)"}
    # The store that has the real value keeps it.
    assert sync(sandbox.journal).changed == 0
    (run,) = contents(sandbox.sqlite)["runs"].values()
    assert run["params"] == {"api_key": "sk-0123456789abcdef"}


# -- interruptions -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["database", pytest.param("folder", marks=pytest.mark.long)])
def test_killed_synchronizations_are_finished_by_the_next(
    logged: Sandbox, online: Contents, database: str, tmp_path: Path, kind: str
) -> None:
    uri = database if kind == "database" else (tmp_path / "files").as_uri()
    kill(logged.journal, uri, kills=8, seed=7, longest_s=1.5)
    report = sync(logged.journal, to=uri)
    assert not any("different" in note.reason for note in report.losses)
    found = contents(uri, runs_only=kind == "folder")
    expected = {part: online[part] for part in found}
    if kind == "folder":  # MLflow makes the default experiment of a folder in two steps itself
        for part in (found, expected):
            part["experiments"] = {k: v for k, v in part["experiments"].items() if k != "0"}
    assert found == expected
    assert sync(logged.journal, to=uri).changed == 0
