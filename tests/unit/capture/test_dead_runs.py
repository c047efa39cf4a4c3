"""Who holds a run decides whether it is closed: those that opened it, and ranks that share it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from yprov_mlflow.prov.capture import dead_runs
from yprov_mlflow.prov.capture.dead_runs import Closing, closing
from yprov_mlflow.prov.events import RunCreated, RunUpdated, SessionEnded, SessionStarted
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter, merge
from yprov_mlflow.prov.sampling.liveness import SILENT_S, Observer

CREATED = ("0", "exp", "fox", "alice", 1, None, {}, {"uuid": "u", "uri": "sqlite:///m.db"})
RANK = {"launcher": "slurm", "job_id": "7", "world_size": 2}


class Folder:
    """Journals and heartbeats of processes on another machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journals = JournalDirectory(directory, "r")

    def session(self, token: str, *events: Any, silent_s: float | None = None, **facts: Any):
        writer = JournalWriter(self.journals, token)
        started = {"pid": 1, "host": "elsewhere", "side": "client", "heartbeat": True, **facts}
        for cls, *fields in ((SessionStarted, started), *events):
            writer.append(cls, *fields)
        writer.close()
        if silent_s is not None:
            path = self.directory / "alive" / token
            path.parent.mkdir(exist_ok=True)
            seen = {"machine": "another", "host": "elsewhere", "process": "1-1"}
            path.write_text(f"{time.time_ns():020} {json.dumps(seen)}\n")
            os.utime(path, (time.time() - silent_s,) * 2)
        return self

    def decision(self) -> Closing | None:
        return closing(self.journals, Observer(self.directory))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


OPENS = (RunCreated, *CREATED)
EXITS = (SessionEnded, "", "exit", "the process exited in order", 5)


def test_silence_decides_about_other_machines(folder: Folder) -> None:
    folder.session("a", OPENS, silent_s=SILENT_S - 60)
    assert folder.decision().status == ""
    folder.session("b", silent_s=SILENT_S + 60)  # another process is dead: this changes nothing
    assert folder.decision().status == ""
    os.utime(folder.directory / "alive" / "a", (1, 1))
    assert folder.decision().status == "FAILED"


def test_run_that_was_left_open_in_order_stays_open(folder: Folder) -> None:
    folder.session("a", OPENS, EXITS).session("b", silent_s=SILENT_S + 60)
    assert "left it open" in folder.decision().why


def test_dead_rank_of_a_shared_run_closes_it(folder: Folder) -> None:
    folder.session("a", OPENS, EXITS, rank=0, **RANK)
    folder.session("b", silent_s=SILENT_S + 60, rank=1, **RANK)
    decision = folder.decision()
    assert (decision.status, decision.cause.token) == ("FAILED", "b")


def test_run_of_an_unknown_opener_stays_open(folder: Folder) -> None:
    folder.session("b", silent_s=SILENT_S + 60)
    assert "no journal here" in folder.decision().why


def test_process_without_heartbeats_on_another_machine_may_be_alive(folder: Folder) -> None:
    folder.session("a", OPENS, heartbeat=False)
    assert "left no heartbeat" in folder.decision().why


@pytest.mark.parametrize(
    "last",
    [(RunUpdated, "FINISHED", 5), (RunUpdated, None, None, None, "deleted")],
    ids=["ended", "deleted"],
)
def test_no_decision_about_runs_that_have_an_end(folder: Folder, last: tuple[Any, ...]) -> None:
    assert folder.session("a", OPENS, last, silent_s=SILENT_S + 60).decision() is None


def test_server_holds_no_run(folder: Folder) -> None:
    assert folder.session("a", OPENS, side="server").decision() is None


def test_end_is_recorded_for_sync_and_decided_once(folder: Folder) -> None:
    folder.session("a", OPENS, silent_s=SILENT_S + 60)
    decision = folder.decision()
    dead_runs.record_end(folder.journals, decision, "sqlite:///m.db")
    *_, ended, update = merge(folder.journals.readers()[0])
    assert isinstance(ended, SessionEnded)
    assert (ended.ended, ended.rule) == ("a", "last-seen")
    assert isinstance(update, RunUpdated)
    assert (update.status, update.end_time_ms) == ("FAILED", decision.end_time_ms)
    assert update.inference is not None
    assert update.inference["session"] == "a"
    assert folder.decision() is None


def test_broken_heartbeat_is_not_a_proof_of_death(folder: Folder) -> None:
    folder.session("a", OPENS, silent_s=0)
    path = folder.directory / "alive" / "a"
    path.write_bytes(b"\0" * 100)
    assert folder.decision().status == ""
