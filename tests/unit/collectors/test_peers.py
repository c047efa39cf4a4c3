"""Files of the processes that measure runs: overlaps, children, damage and old files."""

from __future__ import annotations

import errno
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
print("measuring", flush=True)
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
        assert process.stdout.readline() == "measuring\n"
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


def test_a_sweep_does_not_grow_the_file(tmp_path: Path, peers: Peers) -> None:
    peers.begin("parent")
    for number in range(250):
        peers.begin(f"trial {number}")
        assert peers.overlapping(f"trial {number}") == {"parent"}
        peers.end(f"trial {number}")
    runs = json.loads((tmp_path / processes.lineage(ROOT)[0]).read_text())["runs"]
    assert list(runs) == ["parent", *(f"trial {number}" for number in range(150, 250))]
    assert "trial 249" in peers.overlapping("parent")


def test_without_locks_the_first_run_is_written(
    tmp_path: Path, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("fcntl.flock", no_locks)
    peers.begin("own")
    file = tmp_path / processes.lineage(ROOT)[0]
    assert list(json.loads(file.read_text())["runs"]) == ["own"]


def test_another_process_may_remove_old_files_first(
    tmp_path: Path, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(path: str) -> None:
        raise FileNotFoundError(path)

    (tmp_path / "1-1").write_text("{}")
    os.utime(tmp_path / "1-1", (0, 0))
    monkeypatch.setattr("os.unlink", vanish)
    peers.begin("own")
    assert (tmp_path / processes.lineage(ROOT)[0]).stat().st_size


def test_a_change_at_the_time_of_the_last_one_is_read(peers: Peers, tmp_path: Path) -> None:
    peers.begin("own")
    now_ns = time.time_ns()
    for runs in (["a"], ["a", "b"]):
        spans = {run: [now_ns - 10**9, now_ns + 10**12] for run in runs}
        content = {"lineage": ["1-1"], "billed_s": 0, "since_s": None, "runs": spans}
        (tmp_path / "1-1").write_text(json.dumps(content))
        os.utime(tmp_path / "1-1", ns=(now_ns, now_ns))  # as on a file system with a coarse clock
        time.sleep(0.05)
        assert peers.overlapping("own") == set(runs)


def test_a_child_is_in_the_tree_that_its_work_is_subtracted_from(
    peers: Peers, child: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.ProcessTree, "_search", lambda _: None)
    peers.begin("own")
    worked(child)
    assert peers.children_cpu_s() > 0
    assert child.pid in processes.shared_tree(ROOT).pids()
