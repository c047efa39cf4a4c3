"""Ranks agree on one run, whoever comes first, fails, dies or was started again."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from yprov_mlflow.prov.capture.rendezvous import Member, Members, Record, meet, prune

HOST = "node0"


def find(folder: Path, timeout_s: float = 10.0, earlier: frozenset[str] = frozenset()) -> Record:
    return meet(folder, "run", lambda run_id: run_id not in earlier, HOST, timeout_s)


def pid_of_dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_of_many_makes_the_run_and_all_know_it(tmp_path: Path) -> None:
    def rank(number: int) -> tuple[str, bool]:
        record = find(tmp_path)
        if not record.run_id:
            record.publish(f"run of {number}")
        return record.run_id or f"run of {number}", not record.run_id

    with ThreadPoolExecutor(16) as pool:
        runs, made = zip(*pool.map(rank, range(16)), strict=True)
    assert len(set(runs)) == 1
    assert made.count(True) == 1


def test_failure_to_make_the_run_leaves_it_to_the_next_rank(tmp_path: Path) -> None:
    find(tmp_path).publish(None)
    second = find(tmp_path)
    assert not second.run_id
    second.publish("r")
    assert find(tmp_path).run_id == "r"


def test_rank_that_died_before_the_run_was_made_is_not_waited_for(tmp_path: Path) -> None:
    record = find(tmp_path)
    record.path.write_text(f'{{"host": "{HOST}", "pid": {pid_of_dead_process()}}}\n')
    assert not find(tmp_path, timeout_s=600).run_id


def test_rank_on_another_machine_is_waited_for_until_the_timeout(tmp_path: Path) -> None:
    find(tmp_path).path.write_text('{"host": "node1", "pid": 1}\n')
    assert not find(tmp_path, timeout_s=0.1).run_id


@pytest.mark.parametrize("content", ["", '{"host": "node1", "p'])
def test_record_that_is_being_written_is_waited_for(tmp_path: Path, content: str) -> None:
    record = find(tmp_path)
    record.path.write_text(content)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(find, tmp_path)
        record.path.write_text('{"host": "node1", "pid": 1}\n{"run_id": "r"}\n')
        assert other.result().run_id == "r"


def test_run_of_an_earlier_job_is_passed_over(tmp_path: Path) -> None:
    find(tmp_path).publish("old")
    assert not find(tmp_path, earlier=frozenset({"old"})).run_id


def member(rank: int, pid: int | None = None, host: str = HOST) -> Member:
    return Member(rank, 0, pid or os.getpid(), 1, host)


def test_last_rank_ends_the_run_with_the_worst_status(tmp_path: Path) -> None:
    members = Members(tmp_path / "ranks")
    ranks = [member(0), member(1, host="a/b.c@d"), member(2)]
    for rank in ranks:
        members.join(rank)
    assert set(members) == set(ranks)
    assert members.leave(ranks[1], "FAILED") is None
    assert members.leave(ranks[0], "FINISHED") is None
    assert members.leave(ranks[2], "FINISHED") == "FAILED"


def test_dead_rank_on_the_same_machine_does_not_keep_the_run_open(tmp_path: Path) -> None:
    members = Members(tmp_path / "ranks")
    members.join(member(1, pid_of_dead_process()))
    members.join(member(0))
    assert members.leave(member(0), "FINISHED") == "FAILED"


def test_restarted_rank_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    members = Members(tmp_path / "ranks")
    members.join(member(0, 1, "node1"))
    members.join(member(0))
    assert list(members) == [member(0)]
    assert members.leave(member(0), "FINISHED") == "FINISHED"


def test_records_of_runs_that_are_gone_are_removed(tmp_path: Path) -> None:
    for name, run_id in (("kept", "a"), ("gone", "b"), ("failed", None)):
        meet(tmp_path, name, lambda _: True, HOST, 1).publish(run_id)
    meet(tmp_path, "open", lambda _: True, HOST, 1)
    prune(tmp_path, lambda run_id: run_id == "a")
    assert {path.name for path in tmp_path.iterdir()} == {"kept-0", "open-0"}
    prune(tmp_path / "missing", bool)
