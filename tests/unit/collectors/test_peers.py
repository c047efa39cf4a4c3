"""Files of the processes that measure runs: overlaps, children, damage and old files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.collectors.system.peers import Peers

ROOT = Path("/")

# Measures a run until its standard input is closed, then works and ends it, or is killed before.
CHILD = """
import sys, time
from pathlib import Path
from yprov_mlflow.prov.collectors.system.peers import Peers

peers = Peers(Path(sys.argv[1]), Path("/"))
peers.begin("child")
print("begun", flush=True)
end_s = time.process_time() + 0.3
while time.process_time() < end_s:
    sum(range(1000))
print("worked", flush=True)
sys.stdin.read()
peers.end("child")
"""


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    peers = Peers(tmp_path, ROOT)
    yield peers
    peers.close_in_child()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def worked(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "worked\n"
    time.sleep(0.05)  # until the next search for files


def test_runs_of_one_process_overlap_while_both_are_open(peers: Peers) -> None:
    peers.begin("first")
    assert peers.overlapping("first") == set()
    peers.begin("second")
    assert peers.overlapping("first") == {"second"}
    assert peers.overlapping("first", {"second"}) == set()
    peers.end("first")
    peers.begin("third")
    assert peers.overlapping("third") == {"second"}
    assert peers.overlapping("second") == {"first", "third"}
    assert peers.overlapping("unknown") == set()


def test_runs_of_processes_overlap_until_they_end(
    peers: Peers, child: subprocess.Popen[str]
) -> None:
    peers.begin("own")
    assert peers.overlapping("own") == {"child"}
    worked(child)
    child.communicate("")
    time.sleep(0.05)
    assert peers.overlapping("own") == {"child"}, "it did overlap"
    peers.begin("later")
    assert peers.overlapping("later") == {"own"}


def test_a_killed_process_measures_nothing_any_more(
    peers: Peers, child: subprocess.Popen[str]
) -> None:
    child.kill()
    child.wait()
    peers.begin("own")
    assert peers.overlapping("own") == set()


def test_work_of_a_child_with_a_run_is_its_own(peers: Peers, child: subprocess.Popen[str]) -> None:
    peers.begin("own")
    worked(child)
    assert child.pid in peers.children_pids()
    assert 0.25 <= peers.children_cpu_s() <= 0.6
    child.communicate("")
    time.sleep(0.05)
    assert 0.25 <= peers.children_cpu_s() <= 0.6
    assert peers.children_pids() == set()


def test_a_child_that_was_never_seen_alive_counts(
    peers: Peers, child: subprocess.Popen[str]
) -> None:
    worked(child)
    child.communicate("")
    assert 0.25 <= peers.children_cpu_s() <= 0.6


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"runs": {}}', "\0"])
def test_a_damaged_file_is_ignored(peers: Peers, tmp_path: Path, content: str) -> None:
    (tmp_path / "1-1").write_text(content)
    peers.begin("own")
    assert peers.overlapping("own") == set()
    assert peers.children_cpu_s() == 0


def test_files_are_private_and_removed_later(tmp_path: Path, peers: Peers) -> None:
    (tmp_path / "1-1").write_text("{}")
    (tmp_path / "1-2").write_text("{}")
    os.utime(tmp_path / "1-1", (0, 0))
    peers.begin("own")
    name = processes.lineage(ROOT)[0]
    assert {path.name for path in tmp_path.iterdir()} == {"1-2", name}
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert list(json.loads((tmp_path / name).read_text())["runs"]) == ["own"]


def test_without_a_folder_the_own_runs_are_known(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    peers = Peers(tmp_path / "file/below", ROOT)
    peers.begin("first")
    peers.begin("second")
    assert peers.overlapping("first") == {"second"}
    assert peers.children_cpu_s() == 0
