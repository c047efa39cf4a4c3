"""Runs of processes that died are closed by ``recover``; those that may go on are left alone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient
from support.readers.documents import RunDocument

from integration.conftest import Sandbox, Server

# Forks one process for each scenario, so that MLflow is imported once. Those that are not killed
# go on when the script has ended.
SCENARIOS = """
import json, os, signal, sys, time

def train(name, pipe):
    if name.startswith("slurm"):
        os.environ["SLURM_JOB_ID"] = name.rpartition("-")[2]
    if name == "time-limit":
        os.environ.update(SLURM_JOB_ID="99", SLURM_JOB_END_TIME=str(int(time.time()) + 30))
    import mlflow
    client = mlflow.MlflowClient()
    if name in ("orderly", "exception"):
        run = client.create_run("0")
        client.log_metric(run.info.run_id, "m", 1.0)
    else:
        run = mlflow.start_run()
        mlflow.log_metric("m", 1.0, step=1)
    from yprov_mlflow.prov.capture import session
    beat = session.existing.recorder.heartbeat
    while not (beat._path.exists() and beat._path.read_bytes().endswith(b"}\\n")):
        time.sleep(0.01)
    time.sleep(0.1)
    os.write(pipe, json.dumps([run.info.run_id, beat.token]).encode())
    if name == "exception":
        raise ValueError("training failed")
    if name != "orderly":
        time.sleep(300)

def start(name):
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        train(name, write_end)
        sys.exit()
    os.close(write_end)
    run_id, token = json.loads(os.read(read_end, 4096))
    return child, run_id, token

SIGNALS = {"term": signal.SIGTERM, "stop": signal.SIGSTOP, "alive": 0, "node-alive": 0}
results = {}
for name in sys.argv[1:]:
    child, run_id, token = results[name] = start(name)
    if name in ("orderly", "exception"):
        os.waitpid(child, 0)
    elif signalled := SIGNALS.get(name, signal.SIGKILL):
        os.kill(child, signalled)
        if name != "stop":
            os.waitpid(child, 0)
print(json.dumps(results))
"""

NAMES = (
    "kill term stop alive orderly exception node-alive node-killed slurm-timeout-11"
    " slurm-suspended-12 slurm-requeued-13 time-limit"
).split()

SACCT = """#!/bin/sh
# A pretended sacct, which is called with -j and the job.
while [ "$1" != -j ]; do shift; done
[ "$SLURM_TIME_FORMAT" = %s ] || exit 1
case $2 in
  11) echo "TIMEOUT|1|$(date +%s)" ;;
  12) echo "SUSPENDED|1|Unknown" ;;
  13) echo "REQUEUED|1|$(date +%s)"; echo "RUNNING|$(($(date +%s) + 1000))|Unknown" ;;
esac
"""


class Scenarios(NamedTuple):
    """The processes and runs of all scenarios, by name, and what ``recover`` did about them."""

    sandbox: Sandbox
    runs: dict[str, str]
    processes: dict[str, int]
    first: dict[str, Any]
    second: dict[str, Any]
    codes: tuple[int, int]
    status_before: str

    def info(self, name: str) -> Any:
        return MlflowClient(self.sandbox.sqlite).get_run(self.runs[name]).info


def _ends(out: str) -> dict[str, Any]:
    return {outcome["run_id"]: outcome["end"] for outcome in json.loads(out)}


def _on_another_node(directory: Path, token: str, *, silent: bool) -> None:
    """Pretend that a process is on another machine, which writes to the same folder."""
    path = directory / "alive" / token
    seen, _, facts = path.read_text().partition(" ")
    moved = {**json.loads(facts.splitlines()[0]), "machine": "another", "host": "node02"}
    path.write_text(f"{seen} {json.dumps(moved)}\n")
    if silent:
        hour_ago_s = time.time() - 3600
        os.utime(path, (hour_ago_s, hour_ago_s))


@pytest.fixture(scope="module")
def scenarios(shared_sandbox: Sandbox) -> Iterator[Scenarios]:
    sandbox = shared_sandbox
    commands = sandbox.folder / "bin"
    commands.mkdir()
    (commands / "sacct").write_text(SACCT)
    (commands / "sacct").chmod(0o755)
    sandbox.environment["PATH"] = f"{commands}{os.pathsep}{sandbox.environment['PATH']}"
    none = {"YPROV_MLFLOW_COLLECTORS": "none"}
    started = sandbox.train(SCENARIOS, f"yprov+{sandbox.sqlite}", *NAMES, **none).json
    tokens = {name: token for name, (_, _, token) in started.items()}
    for name in ("node-alive", "node-killed", "slurm-suspended-12"):
        _on_another_node(sandbox.journal, tokens[name], silent=name != "node-alive")
    runs = {name: run_id for name, (_, run_id, _) in started.items()}
    processes = {name: pid for name, (pid, _, _) in started.items()}
    try:
        asked = sandbox.yprov("recover", "--json", uri=sandbox.sqlite, check=False)
        before = MlflowClient(sandbox.sqlite).get_run(runs["kill"]).info.status
        done = sandbox.yprov("recover", "--json", "--yes", uri=sandbox.sqlite, check=False)
        codes = asked.code, done.code
        first, second = _ends(asked.out), _ends(done.out)
        yield Scenarios(sandbox, runs, processes, first, second, codes, before)
    finally:
        for name in ("stop", "alive", "node-alive"):
            os.kill(processes[name], signal.SIGKILL)


CLOSED = {
    "kill": ("FAILED", "last-seen", "nothing is known of its end"),
    "term": ("KILLED", "signal", "SIGTERM"),
    "exception": ("FAILED", "exception", "the program ended with ValueError"),
    "node-killed": ("FAILED", "last-seen", "nothing is known of its end"),
    "slurm-timeout-11": ("KILLED", "slurm", "SLURM ended job 11: it reached its time limit"),
    "slurm-requeued-13": ("KILLED", "slurm", "SLURM ended job 13: it was requeued"),
    "time-limit": ("KILLED", "slurm-end-time", "the time limit of SLURM job 99 was reached"),
}


@pytest.mark.parametrize("name", CLOSED)
def test_run_of_a_dead_process_is_closed(scenarios: Scenarios, name: str) -> None:
    status, rule, reason = CLOSED[name]
    end, info = scenarios.second[scenarios.runs[name]], scenarios.info(name)
    assert (end["status"], end["rule"], end["reason"]) == (status, rule, reason)
    assert end["closed"]
    assert (info.status, info.end_time) == (status, end["last_seen_ms"])
    # The heartbeat was seconds after the start, not when the run was closed.
    assert info.start_time <= info.end_time < info.start_time + 60_000


@pytest.mark.parametrize("name", ["stop", "alive", "node-alive", "slurm-suspended-12", "orderly"])
def test_run_that_may_go_on_is_left_alone(scenarios: Scenarios, name: str) -> None:
    end = scenarios.second[scenarios.runs[name]]
    assert end["status"] is None
    expected = "left it open" if name == "orderly" else "process"
    assert expected in end["why"]
    assert scenarios.info(name).status == "RUNNING"


def test_without_yes_nothing_is_closed_and_the_exit_code_says_so(scenarios: Scenarios) -> None:
    assert scenarios.codes == (5, 0)
    assert scenarios.status_before == "RUNNING"
    end = scenarios.first[scenarios.runs["kill"]]
    assert (end["status"], end["closed"]) == ("FAILED", False)


def test_document_says_by_which_rule_the_run_was_closed(scenarios: Scenarios) -> None:
    document = scenarios.sandbox.document(scenarios.runs["term"])
    document.as_prov()
    records = document.data["activity"]
    (closing,) = (record for key, record in records.items() if "event/close/" in key)
    session, run = records["run:session/1"], records["run:run"]
    assert closing["mlf:endRule"] == session["mlf:endRule"] == "signal"
    assert closing["mlf:endBasis"]["$"] == "mlf:inferred"
    assert run["mlf:status"]["$"] == "mlf:KILLED"
    assert session["prov:endTime"][:23] == run["prov:endTime"][:23] < closing["prov:startTime"]


def test_second_recovery_changes_nothing(scenarios: Scenarios) -> None:
    sandbox, run_id = scenarios.sandbox, scenarios.runs["kill"]
    before = _bytes(scenarios.sandbox, run_id)
    done = sandbox.yprov("recover", "--yes", "--json", uri=sandbox.sqlite)
    outcomes = {outcome["run_id"]: outcome for outcome in json.loads(done.out)}
    assert (outcomes[run_id]["state"], outcomes[run_id]["end"]) == ("current", None)
    assert _bytes(sandbox, run_id) == before


def _bytes(sandbox: Sandbox, run_id: str) -> bytes:
    client = MlflowClient(tracking_uri=sandbox.sqlite)
    return Path(client.download_artifacts(run_id, "provenance/prov.json")).read_bytes()


def test_heartbeats_of_closed_runs_are_removed(scenarios: Scenarios) -> None:
    directory = scenarios.sandbox.journal / "alive"
    living = {"stop", "alive", "node-alive", "slurm-suspended-12"}
    left = {
        json.loads(path.read_text().split(" ", 1)[1].splitlines()[0])["process"]
        for path in directory.iterdir()
    }
    pids = {int(process.partition("-")[0]) for process in left}
    assert pids == {scenarios.processes[name] for name in living}


RESUME = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("m", 2.0, step=2)
print(run.info.run_id)
"""


def test_requeued_job_continues_the_run_that_was_closed(scenarios: Scenarios) -> None:
    sandbox, run_id = scenarios.sandbox, scenarios.runs["slurm-requeued-13"]
    variables = {"MLFLOW_RUN_ID": run_id, "SLURM_JOB_ID": "13", "SLURM_RESTART_COUNT": "1"}
    done = sandbox.train(
        RESUME, f"yprov+{sandbox.sqlite}", YPROV_MLFLOW_COLLECTORS="none", **variables
    )
    assert done.out.split() == [run_id]
    assert scenarios.info("slurm-requeued-13").status == "FINISHED"
    records = sandbox.document(run_id).data["activity"]
    first, second = records["run:session/1"], records["run:session/2"]
    assert first["mlf:status"]["$"] == "mlf:KILLED"
    assert second["mlf:status"]["$"] == "mlf:FINISHED"
    assert first["prov:endTime"] < second["prov:startTime"]
    assert records["run:run"]["mlf:status"]["$"] == "mlf:FINISHED"
    assert any("event/close/" in key for key in records)


@pytest.mark.parametrize("kind", ["files", pytest.param("http", marks=pytest.mark.long)])
def test_runs_of_other_stores_are_closed(sandbox: Sandbox, plain_server: Server, kind: str) -> None:
    uri = sandbox.files if kind == "files" else plain_server.uri
    done = sandbox.train(SCENARIOS, f"yprov+{uri}", "kill", YPROV_MLFLOW_COLLECTORS="none")
    run_id = done.json["kill"][1]
    sandbox.yprov("recover", "--yes", uri=uri)
    info = MlflowClient(uri).get_run(run_id).info
    assert info.status == "FAILED"
    assert info.end_time < info.start_time + 60_000
    assert RunDocument.fetch(run_id, uri).data["activity"]["run:run"]["mlf:status"] == {
        "$": "mlf:FAILED",
        "type": "xsd:QName",
    }


def test_run_that_ended_in_the_store_is_not_closed_again(sandbox: Sandbox) -> None:
    started = sandbox.train(
        SCENARIOS, f"yprov+{sandbox.sqlite}", "kill", YPROV_MLFLOW_COLLECTORS="none"
    )
    run_id = started.json["kill"][1]
    client = MlflowClient(sandbox.sqlite)
    client.set_terminated(run_id, "FINISHED", 1_900_000_000_000)
    (outcome,) = json.loads(
        sandbox.yprov("recover", "--yes", "--json", "--run", run_id, uri=sandbox.sqlite).out
    )
    assert "FINISHED already" in outcome["end"]["why"]
    info = client.get_run(run_id).info
    assert (info.status, info.end_time) == ("FINISHED", 1_900_000_000_000)
    (outcome,) = json.loads(
        sandbox.yprov("recover", "--yes", "--json", "--run", run_id, uri=sandbox.sqlite).out
    )
    assert (outcome["state"], outcome["end"]) == ("current", None)


def test_run_that_others_write_to_is_left_alone(sandbox: Sandbox) -> None:
    started = sandbox.train(
        SCENARIOS, f"yprov+{sandbox.sqlite}", "kill", YPROV_MLFLOW_COLLECTORS="none"
    )
    run_id = started.json["kill"][1]
    client = MlflowClient(sandbox.sqlite)
    client.log_metric(run_id, "m", 3.0, timestamp=int((time.time() + 600) * 1000), step=9)
    out = sandbox.yprov("recover", "--yes", "--json", "--run", run_id, uri=sandbox.sqlite).out
    assert "newer metrics" in json.loads(out)[0]["end"]["why"]
    assert client.get_run(run_id).info.status == "RUNNING"
