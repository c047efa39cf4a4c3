import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yprov_mlflow.prov.events import SessionStarted
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter


@pytest.fixture
def after_a_crash(captured, tmp_path):
    """Copy the journals, so that each test has them, and the store, as after the crash."""
    workspace, finished, killed = captured
    with contextlib.closing(sqlite3.connect(workspace.folder / "mlflow.db")) as database:
        reset = "UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = ?"
        database.execute(reset, (killed,))
        database.commit()
    shutil.copytree(workspace.folder / "state", tmp_path / "state")
    return workspace, finished, killed, {"YPROV_MLFLOW_DIR": str(tmp_path / "state")}


def test_recover_writes_the_document_of_a_killed_run(after_a_crash):
    workspace, finished, killed, env = after_a_crash
    done = workspace.command("recover", "--yes", **env)
    assert done.returncode == 0, done.stderr
    lines = {(line.split()[1], line.split()[0]) for line in done.stdout.splitlines()}
    (store,) = {name for name, _ in lines} - {finished, killed}
    runs = {(finished, "current"), (killed, "written"), (killed, "closed")}
    assert lines == {*runs, (store, "written")}
    assert store.startswith("store:")
    document = json.loads(workspace.document(killed).read_bytes())
    assert any(key.startswith("run:metric/") for key in document["entity"])
    again = workspace.command("recover", "--json", **env)
    assert {o["state"] for o in json.loads(again.stdout)} == {"current"}


@pytest.mark.parametrize("answer", ["y", "n"])
def test_terminal_is_asked_before_anything_is_done(after_a_crash, answer):
    workspace, _, killed, env = after_a_crash
    terminal, theirs = os.openpty()
    command = [sys.executable, "-m", "yprov_mlflow", "recover", "--run", killed]
    process = subprocess.Popen(
        command,
        cwd=workspace.folder,
        env={**workspace.env, **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = ""
    while "[y/N]" not in text:
        text += os.read(terminal, 4096).decode()
    assert f"write    {killed}" in text
    assert f"close    {killed}  FAILED: nothing is known of its end" in text
    assert "and close 1 runs?" in text
    os.write(terminal, f"{answer}\n".encode())
    with contextlib.suppress(OSError):  # the end of the other side
        while chunk := os.read(terminal, 4096):
            text += chunk.decode()
    os.close(terminal)
    assert process.wait() == (0 if answer == "y" else 5)
    assert (f"closed   {killed}" in text) == (answer == "y")
    assert ("Nothing was done." in text) == (answer == "n")


def test_store_that_does_not_answer_is_named_once_and_costs_no_minutes(after_a_crash):
    workspace, finished, killed, env = after_a_crash
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
        began_s = time.monotonic()
        runs = ("--run", finished, "--run", killed)
        done = workspace.command("recover", "--again", *runs, "--tracking-uri", gone, **env)
    assert done.returncode == 1
    first, second = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert "skipped" not in first
    assert "skipped, as its store did not answer before" in second
    assert time.monotonic() - began_s < 60


def test_run_and_again_options(after_a_crash):
    workspace, finished, _, env = after_a_crash
    done = workspace.command("recover", "--run", finished, "--again", "--json", **env)
    (outcome,) = json.loads(done.stdout)
    assert (outcome["run_id"], outcome["state"], outcome["reason"]) == (finished, "written", "")
    assert outcome["events"] > 5


def test_exit_code_3_if_some_fail(after_a_crash):
    workspace, finished, _, env = after_a_crash
    done = workspace.command("recover", "--run", finished, "--run", "0" * 32, **env)
    assert done.returncode == 3
    assert f"failed   {'0' * 32}" in done.stdout
    assert "does not exist" in done.stdout


def test_exit_code_1_if_all_fail(after_a_crash):
    workspace, finished, killed, env = after_a_crash
    nowhere = ("--tracking-uri", f"sqlite:///{workspace.folder}/other.db")
    done = workspace.command("recover", "--again", *nowhere, **env)
    # The document of a store comes from the journals alone.
    assert done.returncode == 3
    words = [line.split()[0] for line in done.stdout.splitlines()]
    assert [word for word in words if word != "dead"] == ["failed", "failed", "written"]
    runs = ("--run", finished, "--run", killed)
    only = workspace.command("recover", "--again", *runs, *nowhere, **env)
    assert only.returncode == 1
    assert only.stdout.count("failed") == 2
    assert "Traceback" not in done.stderr + only.stderr


def test_store_name_cannot_leave_the_folder(workspace):
    state = workspace.folder / "state"
    JournalWriter(JournalDirectory(state, "store:../../../escaped"), "session").append(
        SessionStarted, {}
    )
    done = workspace.command("recover", "--json")
    (outcome,) = json.loads(done.stdout)
    assert outcome["run_id"] == "store:../../../escaped"
    where = Path(outcome["where"]).resolve()
    assert where.is_file()
    assert where.parent.parent == (state / "stores").resolve()


def test_prune_removes_only_journals_of_ended_runs(after_a_crash):
    workspace, finished, killed, env = after_a_crash
    state = Path(env["YPROV_MLFLOW_DIR"])
    assert workspace.command("recover", "--prune", "1", **env).stdout.count("pruned") == 0
    done = workspace.command("recover", "--prune", "0", **env)
    assert f"pruned   {finished}" in done.stdout
    assert not JournalDirectory(state, finished).path.exists()
    assert JournalDirectory(state, killed).files()
    assert workspace.document(finished).is_file()


def test_prune_leaves_no_journal_of_a_server_that_would_replace_the_document(after_a_crash):
    workspace, finished, _, env = after_a_crash
    state = Path(env["YPROV_MLFLOW_DIR"])
    shutil.copytree(state / "journal" / finished, state / "server" / "journal" / finished)
    (state / "server" / "journal" / finished / "delivered.json").unlink()
    done = workspace.command("recover", "--prune", "0", **env)
    assert f"pruned   {finished}" in done.stdout
    assert finished not in workspace.command("recover", **env).stdout


def test_prune_keeps_damaged_journals(after_a_crash):
    workspace, finished, _, env = after_a_crash
    folder = JournalDirectory(Path(env["YPROV_MLFLOW_DIR"]), finished)
    (file,) = folder.files()
    file.write_bytes(file.read_bytes().replace(b'"lr"', b'"xx"'))
    assert folder.is_current()
    done = workspace.command("recover", "--prune", "0", **env)
    assert f"current  {finished}" in done.stdout
    assert file.is_file()


def test_document_of_another_machine_is_kept(after_a_crash):
    workspace, finished, _, env = after_a_crash
    document = workspace.document(finished)
    before = document.read_bytes()
    # As on the machine of a server, whose journal has the same calls.
    state = Path(env["YPROV_MLFLOW_DIR"])
    (state / "server").mkdir()
    (state / "journal").rename(state / "server" / "journal")
    (state / "server" / "journal" / finished / "delivered.json").unlink()
    done = workspace.command("recover", "--run", finished, **env)
    assert f"written  {finished}" in done.stdout
    assert before in [path.read_bytes() for path in document.parent.glob("prov-*.json")]


def test_closed_output_is_no_error_of_the_store(after_a_crash):
    workspace, _, _, env = after_a_crash
    command = f"'{sys.executable}' -m yprov_mlflow recover --again"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"],
        env={**workspace.env, **env},
        cwd=workspace.folder,
        capture_output=True,
        text=True,
    )
    assert done.stderr.count("tracking store") == 0


def test_lock_that_cannot_be_opened_costs_no_document(after_a_crash):
    workspace, finished, _, env = after_a_crash
    lock = Path(env["YPROV_MLFLOW_DIR"]) / "journal" / finished / "delivery.lock"
    lock.unlink()
    lock.mkdir()
    done = workspace.command("recover", "--run", finished, "--again", "--json", **env)
    (outcome,) = json.loads(done.stdout)
    assert (outcome["state"], outcome["reason"]) == ("written", "")


def test_journal_of_a_store_that_is_not_read_is_named(workspace):
    folder = JournalDirectory(workspace.folder / "state", "store:x")
    folder.path.mkdir(parents=True)
    os.mkfifo(folder.file("session"))
    (outcome,) = json.loads(workspace.command("recover", "--json").stdout)
    assert outcome["state"] == "failed"
    assert "session.journal: it is not a regular file" in outcome["reason"]


def test_no_journals(workspace):
    done = workspace.command("recover")
    assert (done.returncode, done.stdout) == (0, "No journals: there is nothing to recover.\n")
    assert workspace.command("recover", "--json").stdout == "[]\n"
