"""A process leaves its heartbeat only if it is killed, and SIGTERM leaves a mark but no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors.base import CollectorContext
from yprov_mlflow.prov.collectors.system.processes import is_running
from yprov_mlflow.prov.sampling import heartbeat
from yprov_mlflow.prov.sampling.liveness import Observer

PROGRAM = """\
import ctypes, functools, os, signal, sys, time
from pathlib import Path
from yprov_mlflow.prov.sampling.heartbeat import Heartbeat, describe, file_of
directory = Path(sys.argv[1])
def fail(error): raise error
def beat():
    heart = Heartbeat(directory, "t", functools.partial(describe, False), fail)
    heart.start()
    while b"}" not in (file_of(directory, "t").read_bytes() if file_of(directory, "t").exists()
                       else b""):
        time.sleep(0.01)
    time.sleep(0.05)
    return heart
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    processes: list[subprocess.Popen[str]] = []

    def start(body: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM + body, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def life(directory: Path) -> tuple[str, str]:
    answer = Observer(directory).life("t", {}, 0)
    return answer.state, answer.rule


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is for Linux")
def test_sigterm_ends_a_process_at_once_even_in_a_library(start, tmp_path) -> None:
    # A library that does not let other Python threads run, as many do for seconds.
    process = start("beat(); print('ready', flush=True); ctypes.PyDLL(None).sleep(60)")
    began_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
    assert time.monotonic() - began_s < 5
    assert life(tmp_path) == ("dead", "signal")


def test_handler_of_the_user_works_as_without_us(start, tmp_path) -> None:
    for when in ("{handler}; beat()", "beat(); {handler}"):
        handler = (
            "signal.signal(signal.SIGTERM, lambda *_: (print('mine', flush=True), sys.exit(7)))"
        )
        body = when.format(handler=handler) + "; print('ready', flush=True); time.sleep(60)"
        process = start(body)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[0] == "mine\n"
        assert process.returncode == 7
        beat = heartbeat.read(heartbeat.file_of(tmp_path, "t"))
        assert beat is not None
        assert not beat.terminated
        heartbeat.file_of(tmp_path, "t").unlink()


def test_python_sees_no_handler(start) -> None:
    body = "beat(); assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    assert start(body + "; print('ready', flush=True)").wait(10) == 0


def test_sigterm_of_a_fork_does_not_mark_its_parent(start, tmp_path) -> None:
    body = """
heart = beat()
child = os.fork()
if child == 0:
    heart.close_in_child()
    time.sleep(60)
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
print('ready', flush=True)
time.sleep(60)
"""
    start(body)
    assert life(tmp_path) == ("alive", "last-seen")


def test_stopped_process_is_alive_and_a_killed_one_is_not(start, tmp_path) -> None:
    process = start("beat(); print('ready', flush=True); time.sleep(60)")
    process.send_signal(signal.SIGSTOP)
    assert life(tmp_path)[0] == "alive"
    process.kill()
    # Also as a zombie, which its parent has not asked for.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert life(tmp_path) == ("dead", "last-seen")


def test_orderly_exit_removes_the_heartbeat(start, tmp_path) -> None:
    process = start("heart = beat(); heart.stop(); print('ready', flush=True)")
    assert process.wait(10) == 0
    assert list((tmp_path / "alive").iterdir()) == []


def test_heartbeat_that_disappears_is_written_again(tmp_path) -> None:
    heart = heartbeat.Heartbeat(tmp_path, "t", lambda: {"process": "1-1"}, lambda _: None)
    heart._write()
    heartbeat.file_of(tmp_path, "t").unlink()
    heart._write()
    beat = heartbeat.read(heartbeat.file_of(tmp_path, "t"))
    heart.close_in_child()
    assert beat is not None
    assert dict(beat.facts) == {"process": "1-1"}


@pytest.mark.parametrize("content", [b"", b"1", b"x {}\n", b"1 {\n", b"1 {}x", b"1 7"])
def test_broken_heartbeat_is_none(tmp_path, content) -> None:
    path = heartbeat.file_of(tmp_path, "t")
    path.parent.mkdir()
    path.write_bytes(content)
    assert heartbeat.read(path) is None


def test_reused_process_id_is_not_the_same_process() -> None:
    root = CollectorContext().root
    (name, *_) = heartbeat.describe(False)["process"], None
    assert is_running(root, name)
    pid, _, start = name.partition("-")
    assert not is_running(root, f"{pid}-{float(start) + 1:.0f}")
