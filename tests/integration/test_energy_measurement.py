"""Energy and hardware measurements of runs in real processes, and in ranks on simulated nodes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import Sandbox

TRAIN = """
    import json, time
    import yprov_mlflow as mlflow

    with mlflow.start_run() as run:
        time.sleep(1)  # collectors are probing, which takes longer on a busy machine
        with mlflow.prov.context("training"):
            for epoch in range(2):
                with mlflow.prov.epoch(epoch):
                    end = time.monotonic() + 0.6
                    while time.monotonic() < end:
                        sum(range(1000))
                    mlflow.log_metric("loss", 1 / (1 + epoch), step=epoch)
    print(json.dumps(run.info.run_id))
"""

WAIT_FOR_SAMPLE = """
        import os, pathlib
        while not any(
            b'"cpu",[' in path.read_bytes()
            for path in pathlib.Path(os.environ["YPROV_MLFLOW_DIR"]).rglob("*.journal")
        ):
            time.sleep(0.02)
"""


def value(record: dict[str, Any]) -> float:
    return float(record["qudt:numericValue"]["$"])


def quantities(document: Any) -> dict[str, dict[str, Any]]:
    return {
        key.removeprefix("run:quantity/"): record
        for key, record in document["entity"].items()
        if key.startswith("run:quantity/")
    }


def document_of(sandbox: Sandbox, run_id: str) -> dict[str, Any]:
    (path,) = sandbox.folder.glob(f"mlruns/0/{run_id}/artifacts/provenance/prov.json")
    assert sandbox.yprov("validate", str(path)).code == 0
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def test_energy_by_context_and_epoch(sandbox: Sandbox) -> None:
    settings = {"YPROV_MLFLOW_INTERVAL": "0.2", "YPROV_MLFLOW_COUNTRY": "ITA"}
    script = TRAIN.replace("as run:\n", f"as run:\n{WAIT_FOR_SAMPLE}", 1)
    done = sandbox.train(script, sandbox.sqlite, **settings)
    document = document_of(sandbox, done.json)
    energies = {
        key: record
        for key, record in quantities(document).items()
        if key.partition("/during/")[0].endswith("/energy")
    }
    assert energies, "CPU energy can be measured or estimated on any machine"
    totals = {key for key in energies if "/during/" not in key}
    for total_key in totals:
        epochs = [energies[f"{total_key}/during/context/training/epoch/{n}"] for n in (0, 1)]
        context = energies[f"{total_key}/during/context/training"]
        assert sum(map(value, epochs)) == pytest.approx(value(context), rel=0.05, abs=1e-6)
        assert value(context) <= value(energies[total_key])
        assert energies[total_key]["mlf:basis"]["$"] in ("mlf:measured", "mlf:estimated")
    total = document["entity"]["run:energy/total"]
    assert 0 < value(total) < 3000, "plausible energy of one or two seconds, in joules"
    emissions = document["entity"]["run:emissions/total"]
    intensity = float(emissions["mlf:carbonIntensity"]["$"])
    assert value(emissions) == pytest.approx(value(total) / 3.6e6 * intensity)
    assert "ITA" in emissions["mlf:carbonIntensitySource"]
    bill = sandbox.yprov("energy", done.json, uri=sandbox.sqlite)
    assert "training" in bill.out and "emissions" in bill.out.lower()
    assert "Traceback" not in done.err + bill.err


def test_store_has_only_metrics_logged_by_user(sandbox: Sandbox) -> None:
    done = sandbox.train(TRAIN, sandbox.sqlite, YPROV_MLFLOW_INTERVAL="0.2")
    assert set(logged_metrics(sandbox, done.json)) == {"loss"}


def test_samples_are_logged_as_system_metrics_if_enabled(sandbox: Sandbox) -> None:
    settings = {"YPROV_MLFLOW_INTERVAL": "0.2", "YPROV_MLFLOW_SYSTEM_METRICS": "1"}
    done = sandbox.train(TRAIN, sandbox.sqlite, **settings)
    metrics = logged_metrics(sandbox, done.json)
    assert "system/cpu_utilization_percentage" in metrics
    assert any(key.endswith("energy_joules") for key in metrics)
    document = document_of(sandbox, done.json)
    assert "run:metric/@run/system%2Fcpu_utilization_percentage" in document["entity"]


def test_run_left_open_has_last_system_metrics(sandbox: Sandbox) -> None:
    script = """
        import json, time
        import yprov_mlflow as mlflow

        run = mlflow.MlflowClient().create_run("0")
        time.sleep(1.5)
        print(json.dumps(run.info.run_id))
    """
    settings = {"YPROV_MLFLOW_INTERVAL": "0.2", "YPROV_MLFLOW_SYSTEM_METRICS": "1"}
    done = sandbox.train(script, sandbox.sqlite, **settings)
    assert "system/cpu_utilization_percentage" in logged_metrics(sandbox, done.json)


def logged_metrics(sandbox: Sandbox, run_id: str) -> dict[str, float]:
    import mlflow

    return dict(mlflow.MlflowClient(sandbox.sqlite).get_run(run_id).data.metrics)


@pytest.mark.parametrize("collectors", ["none", "default,-cpu,-host,-nvidia,-amd,-slurm"])
def test_excluded_collectors_take_no_samples(sandbox: Sandbox, collectors: str) -> None:
    script = TRAIN + "\n    import threading\n    print([t.name for t in threading.enumerate()])"
    script += "\n    print(json.dumps(run.info.run_id))"
    done = sandbox.train(script, sandbox.sqlite, YPROV_MLFLOW_COLLECTORS=collectors)
    assert quantities(document_of(sandbox, done.json)) == {}
    assert "yprov-sampler" not in done.out or collectors != "none"


def test_unknown_collector_warns_once(sandbox: Sandbox) -> None:
    done = sandbox.train(TRAIN, sandbox.sqlite, YPROV_MLFLOW_COLLECTORS="cpu,warp-core")
    assert done.err.count("unknown collector 'warp-core'") == 1
    assert quantities(document_of(sandbox, done.json))


def test_use_collectors_selects_collectors(sandbox: Sandbox) -> None:
    call = (
        'mlflow.prov.use_collectors("cpu", interval_s=0.1)\n\n    with mlflow.start_run() as run:'
    )
    script = TRAIN.replace("with mlflow.start_run() as run:", call, 1)
    done = sandbox.train(script, sandbox.sqlite)
    document = document_of(sandbox, done.json)
    assert {key.split("/")[0] for key in quantities(document)} == {"cpu"}
    (collector,) = [r for k, r in document["activity"].items() if k.startswith("run:collector/")]
    assert collector["mlf:intervalSeconds"]["$"] == "0.1"
    wrong = 'import yprov_mlflow as mlflow\nmlflow.prov.use_collectors("gpu")'
    assert "unknown collector 'gpu'" in sandbox.train(wrong, check=False).err


def test_recover_after_kill_has_samples(sandbox: Sandbox) -> None:
    script = """
        import time
        import yprov_mlflow as mlflow

        run = mlflow.start_run()
        print(run.info.run_id, flush=True)
        time.sleep(60)
    """
    path = sandbox.folder / "train.py"
    sandbox.run("pass")
    path.write_text("\n".join(line[8:] for line in script.splitlines()))
    environ = {**sandbox.environment, "MLFLOW_TRACKING_URI": sandbox.sqlite}
    with subprocess.Popen(
        [sys.executable, path],
        cwd=sandbox.folder,
        env={**environ, "YPROV_MLFLOW_INTERVAL": "0.1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        run_id = process.stdout.readline().strip() if process.stdout else ""
        wait_until(lambda: journals_with_samples(sandbox, 5))
        process.send_signal(signal.SIGKILL)
    sandbox.yprov("recover", "--yes", uri=sandbox.sqlite)
    document = document_of(sandbox, run_id)
    (cpu,) = [r for k, r in document["activity"].items() if k.startswith("run:collector/cpu/")]
    assert int(cpu["mlf:samples"]["$"]) >= 5
    assert "run:energy/total" in document["entity"]


def journals_with_samples(sandbox: Sandbox, minimum: int) -> list[Path]:
    """Return the journals with at least ``minimum`` samples of the collector ``cpu``."""
    journals = [path for path in sandbox.journals() if path.suffix == ".journal"]
    return [path for path in journals if path.read_bytes().count(b'"cpu",[') >= minimum]


def wait_until(condition: Callable[[], Any], timeout_s: float = 200.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


def test_run_with_forked_child_has_energy_and_metrics_of_child(sandbox: Sandbox) -> None:
    script = """
        import json, os, time
        import yprov_mlflow as mlflow

        with mlflow.start_run() as run:
            time.sleep(0.5)
            child = os.fork()
            if child == 0:
                mlflow.log_metric("from_child", 1.0, run_id=run.info.run_id)
                time.sleep(0.3)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            time.sleep(0.3)
        print(json.dumps(run.info.run_id))
    """
    done = sandbox.run(script, sandbox.sqlite, YPROV_MLFLOW_INTERVAL="0.1")
    document = document_of(sandbox, done.json)
    assert logged_metrics(sandbox, done.json) == {"from_child": 1.0}
    assert "run:energy/total" in document["entity"]


def test_surviving_forked_child_does_not_block_measurements(sandbox: Sandbox) -> None:
    script = """
        import json, os, time
        import yprov_mlflow as mlflow

        mlflow.set_experiment(experiment_id="0")
        with mlflow.start_run() as run:
            WAIT_FOR_SAMPLE
            read_end, write_end = os.pipe()
            if os.fork() == 0:
                os.close(write_end)
                os.read(read_end, 1)  # blocks until the parent exits
                os._exit(0)
        with mlflow.start_run(run.info.run_id):
            time.sleep(0.5)
        print(json.dumps(run.info.run_id))
    """
    wait = WAIT_FOR_SAMPLE.strip().replace("\n", "\n    ")
    done = sandbox.run(
        script.replace("WAIT_FOR_SAMPLE", wait), sandbox.sqlite, YPROV_MLFLOW_INTERVAL="0.1"
    )
    document = document_of(sandbox, done.json)
    collectors = [r for k, r in document["activity"].items() if k.startswith("run:collector/cpu/")]
    assert len(collectors) == 2
    assert not any("mlf:leftToOthers" in record for record in collectors)


SWEEP = """
    import json, os, pathlib, subprocess, sys, time
    import yprov_mlflow as mlflow

    def work(run):  # from its first sample on; on a busy machine that one is late
        journals = pathlib.Path(os.environ["YPROV_MLFLOW_DIR"], "journal", run.info.run_id)
        while not any(b'"cpu",[' in path.read_bytes() for path in journals.glob("*.journal")):
            time.sleep(0.02)
        end = time.process_time() + 0.6
        while time.process_time() < end:
            sum(range(1000))

    if sys.argv[1:]:  # a trial in a process of its own
        with mlflow.start_run(parent_run_id=sys.argv[1]) as run:
            work(run)
        print(run.info.run_id)
        sys.exit()
    with mlflow.start_run() as parent:
        time.sleep(0.5)
        with mlflow.start_run(nested=True) as trial:
            work(trial)
        command = [sys.executable, __file__, parent.info.run_id]
        other = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(json.dumps([parent.info.run_id, trial.info.run_id, other.split()[-1]]))
"""


def own_j(document: dict[str, Any]) -> float:
    return value(document["entity"]["run:energy/own"])


def test_parent_and_trials_of_a_sweep_can_be_added(sandbox: Sandbox) -> None:
    settings = {"YPROV_MLFLOW_INTERVAL": "0.1", "YPROV_MLFLOW_CPU_TDP": str(os.cpu_count())}
    done = sandbox.run(SWEEP, sandbox.sqlite, YPROV_MLFLOW_COLLECTORS="cpu,host", **settings)
    parent, *trials = [document_of(sandbox, run_id) for run_id in done.json]
    (cpu_time,) = [
        value(record)
        for key, record in quantities(parent).items()
        if key.endswith("@process/cpu_time")
    ]
    for trial in trials:
        assert 0.3 < own_j(trial) < 0.9, "a watt for each of its 0.6 busy seconds"
        overlaps = json.loads(trial["entity"]["run:energy/total"]["mlf:overlaps"])
        assert done.json[0] in overlaps["runs"]
    # The parent is left with what no trial did, such as the start of the other process.
    total_j = sum(map(own_j, (parent, *trials)))
    assert own_j(parent) <= cpu_time - 0.9
    assert total_j == pytest.approx(cpu_time, abs=0.3)
    overlaps = json.loads(parent["entity"]["run:energy/total"]["mlf:overlaps"])
    assert (overlaps["count"], set(overlaps["runs"])) == (2, set(done.json[1:]))


def test_runs_that_sleep_side_by_side_are_not_billed_for_each_other(sandbox: Sandbox) -> None:
    script = """
        import json, pathlib, subprocess, sys, time
        import yprov_mlflow as mlflow

        others = [] if sys.argv[1:] else [
            subprocess.Popen([sys.executable, __file__, "x"], stdout=subprocess.PIPE, text=True)
        ]
        at_work = pathlib.Path("at work")
        with mlflow.start_run() as run:
            if others:
                at_work.touch()
            for other in others:  # one works, the other sleeps
                while other.poll() is None:
                    sum(range(1000))
            if not others:
                while not at_work.exists():
                    time.sleep(0.05)
                time.sleep(2)
        ids = [other.stdout.read().split()[-1] for other in others]
        print(json.dumps([run.info.run_id, *ids]) if others else run.info.run_id)
    """
    settings = {"YPROV_MLFLOW_INTERVAL": "0.1", "YPROV_MLFLOW_CPU_TDP": str(os.cpu_count())}
    done = sandbox.run(script, sandbox.sqlite, YPROV_MLFLOW_COLLECTORS="cpu", **settings)
    busy, asleep = done.json
    document = document_of(sandbox, asleep)
    total = document["entity"]["run:energy/total"]
    assert own_j(document) < 0.4 * value(total), "the node worked for another run"
    assert total["mlf:scope"]["$"] == "mlf:node"
    assert document["entity"]["run:energy/own"]["mlf:scope"]["$"] == "mlf:process"
    assert busy in json.loads(total["mlf:overlaps"])["runs"]
    bill = sandbox.yprov("energy", asleep, uri=sandbox.sqlite).out
    assert "do not add them up" in " ".join(bill.split())


# -- ranks ---------------------------------------------------------------------------------

RANK = """
    import functools, os, pathlib, platform, sys, time

    rank, node = int(os.environ["RANK"]), f"node{int(os.environ['RANK']) // 2}"
    platform.node = lambda: node  # simulated, like the root of the collectors below

    from yprov_mlflow.prov.collectors.base import CollectorContext
    from yprov_mlflow.prov.sampling import bridge

    root = pathlib.Path(os.environ["NODES"], node)
    bridge.CollectorContext = functools.partial(CollectorContext, root=root)
    import yprov_mlflow as mlflow

    id_file = pathlib.Path("run-id")
    while rank and not id_file.exists():
        time.sleep(0.02)
    with mlflow.start_run(id_file.read_text() if rank else None) as run:
        if not rank:
            pathlib.Path("run-id.new").write_text(run.info.run_id)
            os.replace("run-id.new", "run-id")
        mlflow.log_param(f"rank{rank}", 1)
        while not pathlib.Path(f"end{min(rank, 1)}").exists():
            time.sleep(0.02)
"""

RANGE_UJ = 65_000_000_000


class FakeRapl:
    """The energy counter of a RAPL domain in a fake powercap tree; it wraps at its maximum."""

    def __init__(self, node: Path, zone: str, name: str, start_uj: int) -> None:
        self.folder = node / "sys/class/powercap" / zone
        self.folder.mkdir(parents=True)
        (self.folder / "name").write_text(f"{name}\n")
        (self.folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self.value = start_uj
        self.add(0)

    def add(self, joules: float) -> None:
        self.value = (self.value + int(joules * 1_000_000)) % RANGE_UJ
        new = self.folder / "new"
        new.write_text(f"{self.value}\n")
        new.replace(self.folder / "energy_uj")


def test_energy_of_ranks_on_two_nodes_equals_counters(sandbox: Sandbox) -> None:
    nodes = sandbox.folder / "nodes"
    counters = [
        FakeRapl(nodes / "node0", "intel-rapl:0", "package-0", RANGE_UJ - 2_000_000),
        FakeRapl(nodes / "node0", "intel-rapl:0:0", "dram", 17),
        FakeRapl(nodes / "node1", "intel-rapl:0", "package-0", 0),
    ]
    sandbox.run("pass")
    script = sandbox.folder / "train.py"
    script.write_text("\n".join(line[4:] for line in RANK.splitlines()))
    environment = {
        **sandbox.environment,
        "MLFLOW_TRACKING_URI": sandbox.sqlite,
        "NODES": str(nodes),
        "YPROV_MLFLOW_COLLECTORS": "cpu",
        "YPROV_MLFLOW_INTERVAL": "0.1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
    }
    with contextlib.ExitStack() as stack:
        ranks = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, script],
                    cwd=sandbox.folder,
                    env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank % 2)},
                )
            )
            for rank in range(4)
        ]
        stack.callback(lambda: [process.kill() for process in ranks])
        wait_until(lambda: len(journals_with_samples(sandbox, 1)) == 4)
        for _ in range(10):
            for counter, joules in zip(counters, (0.5, 0.1, 0.7), strict=True):
                counter.add(joules)
            time.sleep(0.05)
        for name, processes in (("end1", ranks[1:]), ("end0", ranks[:1])):
            (sandbox.folder / name).touch()
            assert [process.wait(120) for process in processes] == [0] * len(processes)
    document = document_of(sandbox, (sandbox.folder / "run-id").read_text())
    energies = {
        key: value(record)
        for key, record in quantities(document).items()
        if record["schema:name"] == "energy" and record["mlf:scope"]["$"] == "mlf:device"
    }
    assert sorted(energies) == [
        "cpu/1.r2/cpu0/energy",
        "cpu/1/cpu0-dram/energy",
        "cpu/1/cpu0/energy",
    ], "exactly one rank per node must measure"
    assert energies["cpu/1/cpu0/energy"] == pytest.approx(5)
    assert energies["cpu/1/cpu0-dram/energy"] == pytest.approx(1)
    assert energies["cpu/1.r2/cpu0/energy"] == pytest.approx(7)
    assert value(document["entity"]["run:energy/total"]) == pytest.approx(13)
    assert value(document["entity"]["run:energy/memory"]) == pytest.approx(1)
    total = document["entity"]["run:energy/total"]
    assert (total["mlf:scope"]["$"], int(total["mlf:nodeCount"]["$"])) == ("mlf:node", 2)
    assert own_j(document) <= 13
    activities = document["activity"]
    for kind in ("session", "collector/cpu"):
        keys = {key for key in activities if key.startswith(f"run:{kind}/1")}
        assert keys == {f"run:{kind}/1{rank}" for rank in ("", ".r1", ".r2", ".r3")}
