"""Sessions whose process died end when they were last seen, and the document says how it knows."""

from __future__ import annotations

from typing import Any

from support.builders.run_log import START_S, A, B, Log

from yprov_mlflow.prov.events import (
    ContextEntered,
    RunUpdated,
    SessionEnded,
    SessionStarted,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.translate.inverse import events_of

C = "c" * 16


def ns(second: float) -> int:
    return int((START_S + second) * 10**9)


def time(second: int) -> str:
    assert second < 60
    return f"2026-01-02T03:00:{second:02}.000000+00:00"


def close(log: Log, status: str, last_s: float, rule: str, dead: str = A, **options: Any) -> None:
    """Add what ``recover`` writes, in a session of its own."""
    log.add(SessionEnded, dead, rule, f"by {rule}", ns(last_s), {"n": 1}, session=C, **options)
    inference = {"rule": rule, "reason": f"by {rule}", "session": dead, "last_seen_ns": ns(last_s)}
    inference["tool"] = "yprov-mlflow 1"
    end_ms = int((START_S + last_s) * 1000)
    log.add(RunUpdated, status, end_ms, None, None, inference, session=C, after=0)


def activity(document: Document, identifier: str) -> dict[str, Any]:
    record: dict[str, Any] = dict(document.records["activity"][identifier])
    return record


def closings(document: Document) -> list[str]:
    return [key for key in document.records["activity"] if key.startswith("run:event/close/")]


def test_closed_run_ends_when_it_was_last_seen() -> None:
    log = Log()
    log.add(ContextEntered, ("training",))
    close(log, "KILLED", 20, "signal", after=1000)
    document = log.document()
    session, run = activity(document, "run:session/1"), activity(document, "run:run")
    assert [run["prov:endTime"], session["prov:endTime"]] == [time(20), time(20)]
    assert run["mlf:status"]["$"] == session["mlf:status"]["$"] == "mlf:KILLED"
    assert session["mlf:endRule"] == "signal"
    assert session["mlf:endEvidence"] == '{"n":1}'
    assert session["mlf:endBasis"]["$"] == "mlf:inferred"
    assert activity(document, "run:context/training")["prov:endTime"] == time(20)
    (closing,) = closings(document)
    record = activity(document, closing)
    assert record["prov:startTime"] > "2026-01-02T03:16"
    assert (record["mlf:endRule"], record["mlf:endReason"]) == ("signal", "by signal")
    assert not [key for key in document.records["activity"] if key == "run:session/2"]


def test_run_that_goes_on_after_a_wrong_closing_ends_when_it_ended() -> None:
    log = Log()
    close(log, "FAILED", 2, "last-seen", after=1)
    log.metric("m", 1.0)
    log.add(RunUpdated, "FINISHED", int((START_S + log.second + 1) * 1000))
    document = log.document()
    session = activity(document, "run:session/1")
    assert "mlf:endRule" not in session
    assert activity(document, "run:run")["mlf:status"]["$"] == "mlf:FINISHED"
    assert session["prov:endTime"] == activity(document, "run:run")["prov:endTime"]
    assert not [key for key in document.records["activity"] if key.startswith("run:session/post")]
    assert len(closings(document)) == 1  # the document says that it was closed, too


def test_closed_run_that_is_resumed_has_both_sessions() -> None:
    log = Log()
    close(log, "KILLED", 10, "slurm", after=20)
    log.add(SessionStarted, {"pid": 2, "host": "node02"}, session=B)
    log.add(RunUpdated, "RUNNING", session=B)
    log.metric("m", 1.0, session=B)
    log.add(RunUpdated, "FINISHED", int((START_S + log.second + 1) * 1000), session=B)
    document = log.document()
    first, second = activity(document, "run:session/1"), activity(document, "run:session/2")
    assert (first["prov:endTime"], first["mlf:status"]["$"]) == (time(10), "mlf:KILLED")
    assert (second["prov:startTime"], second["mlf:status"]["$"]) == (time(22), "mlf:FINISHED")
    informed = document.records["wasInformedBy"].values()
    assert {("run:session/2", "run:session/1")} <= {
        (record["prov:informed"], record["prov:informant"]) for record in informed
    }


def test_session_that_exits_in_order_ends_there_while_its_run_is_open() -> None:
    log = Log()
    log.add(SessionEnded, "", "exit", "the process exited in order", ns(30))
    session = activity(log.document(), "run:session/1")
    assert (session["prov:endTime"], session["mlf:endRule"]) == (time(30), "exit")
    assert "mlf:endBasis" not in session
    assert "prov:endTime" not in activity(log.document(), "run:run")


def test_end_in_the_store_belongs_to_no_session() -> None:
    log = Log()
    inference = {"rule": "store", "reason": "the store has this status"}
    end_ms = (START_S + 9) * 1000
    log.add(RunUpdated, "FINISHED", end_ms, None, None, inference, session=C, after=100)
    document = log.document()
    assert activity(document, "run:run")["prov:endTime"] == time(9)
    assert "mlf:status" not in activity(document, "run:session/1")


def test_closed_run_is_restored_as_it_is_in_its_store() -> None:
    log = Log()
    close(log, "KILLED", 20, "signal", after=1000)
    for events in (log.events, events_of(log.document())):
        run = StateBuilder().feed(events)
        assert run is not None
        assert (run.status, run.end_time_ms) == ("KILLED", (START_S + 20) * 1000)
