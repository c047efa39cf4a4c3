"""Energy and hardware of runs: real processes, killed ones too, and ranks on pretended nodes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import Workplace

TRAIN = """
    import json, time
    import yprov_mlflow as mlflow

    with mlflow.start_run() as run:
        time.sleep(1)  # the collectors look around, which takes longer on a busy machine
        with mlflow.prov.context("training"):
            for epoch in range(2):
                with mlflow.prov.epoch(epoch):
                    end = time.monotonic() + 0.6
                    while time.monotonic() < end:
                        sum(range(1000))
                    mlflow.log_metric("loss", 1 / (1 + epoch), step=epoch)
    print(json.dumps(run.info.run_id))
"""

AFTER_A_SAMPLE = """
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


def document_of(place: Workplace, run_id: str) -> dict[str, Any]:
    (path,) = place.folder.glob(f"mlruns/0/{run_id}/artifacts/provenance/prov.json")
    assert place.yprov("validate", str(path)).code == 0
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def test_a_run_tells_its_energy_by_context_and_epoch(workplace: Workplace) -> None:
    given = {"YPROV_MLFLOW_INTERVAL": "0.2", "YPROV_MLFLOW_COUNTRY": "ITA"}
    script = TRAIN.replace("as run:\n", f"as run:\n{AFTER_A_SAMPLE}", 1)
    done = workplace.run(script, workplace.sqlite, **given)
    document = document_of(workplace, done.made)
    found = quantities(document)
    energies = {key: record for key, record in found.items() if record["schema:name"] == "energy"}
    assert energies, "the processor's energy is measured or estimated on any machine"
    wholes = {key for key in energies if "/during/" not in key}
    for whole in wholes:
        parts = [energies[f"{whole}/during/context/training/epoch/{n}"] for n in (0, 1)]
        context = energies[f"{whole}/during/context/training"]
        assert sum(map(value, parts)) == pytest.approx(value(context), rel=0.05, abs=1e-6)
        assert value(context) <= value(energies[whole])
        assert energies[whole]["mlf:method"]["$"] in ("mlf:measured", "mlf:estimated")
    total = document["entity"]["run:energy/total"]
    assert 0 < value(total) < 3000, "joules of a second or two"
    emissions = document["entity"]["run:emissions/total"]
    intensity = float(emissions["mlf:carbonIntensity"]["$"])
    assert value(emissions) == pytest.approx(value(total) / 3.6e6 * intensity)
    assert "ITA" in emissions["mlf:carbonIntensitySource"]
    bill = workplace.yprov("energy", done.made, uri=workplace.sqlite)
    assert "training" in bill.out and "emissions" in bill.out.lower()
    assert "Traceback" not in done.err + bill.err


def test_the_store_has_no_metrics_that_the_user_did_not_log(workplace: Workplace) -> None:
    done = workplace.run(TRAIN, workplace.sqlite, YPROV_MLFLOW_INTERVAL="0.2")
    assert set(logged(workplace, done.made)) == {"loss"}


def test_samples_are_system_metrics_where_the_user_wants_those(workplace: Workplace) -> None:
    given = {"YPROV_MLFLOW_INTERVAL": "0.2", "YPROV_MLFLOW_SYSTEM_METRICS": "1"}
    done = workplace.run(TRAIN, workplace.sqlite, **given)
    found = logged(workplace, done.made)
    assert "system/cpu_utilization_percentage" in found
    assert any(key.endswith("energy_joules") for key in found)
    document = document_of(workplace, done.made)
    assert "run:metric/@run/system%2Fcpu_utilization_percentage" in document["entity"]


def test_a_run_that_nobody_ends_has_its_last_system_metrics(workplace: Workplace) -> None:
    script = """
        import json, time
        import yprov_mlflow as mlflow

        run = mlflow.MlflowClient().create_run("0")
        time.sleep(1.5)
        print(json.dumps(run.info.run_id))
    """
    given = {"YPROV_MLFLOW_INTERVAL": "0.2", "YPROV_MLFLOW_SYSTEM_METRICS": "1"}
    done = workplace.run(script, workplace.sqlite, **given)
    assert "system/cpu_utilization_percentage" in logged(workplace, done.made)


def logged(place: Workplace, run_id: str) -> dict[str, float]:
    import mlflow

    return dict(mlflow.MlflowClient(place.sqlite).get_run(run_id).data.metrics)


@pytest.mark.parametrize("chosen", ["none", "default,-cpu,-host,-nvidia,-amd,-slurm"])
def test_who_wants_no_measuring_has_none(workplace: Workplace, chosen: str) -> None:
    script = TRAIN + "\n    import threading\n    print([t.name for t in threading.enumerate()])"
    script += "\n    print(json.dumps(run.info.run_id))"
    done = workplace.run(script, workplace.sqlite, YPROV_MLFLOW_COLLECTORS=chosen)
    assert quantities(document_of(workplace, done.made)) == {}
    assert "yprov-sampler" not in done.out or chosen != "none"


def test_a_collector_that_nobody_knows_is_said_once(workplace: Workplace) -> None:
    done = workplace.run(TRAIN, workplace.sqlite, YPROV_MLFLOW_COLLECTORS="cpu,warp-core")
    assert done.err.count("there is no collector 'warp-core'") == 1
    assert quantities(document_of(workplace, done.made))


def test_collectors_are_chosen_in_code(workplace: Workplace) -> None:
    choice = (
        'mlflow.prov.use_collectors("cpu", interval_s=0.1)\n\n    with mlflow.start_run() as run:'
    )
    script = TRAIN.replace("with mlflow.start_run() as run:", choice, 1)
    done = workplace.run(script, workplace.sqlite)
    document = document_of(workplace, done.made)
    assert {key.split("/")[0] for key in quantities(document)} == {"cpu"}
    (collector,) = [r for k, r in document["activity"].items() if k.startswith("run:collector/")]
    assert collector["mlf:intervalSeconds"]["$"] == "0.1"
    wrong = 'import yprov_mlflow as mlflow\nmlflow.prov.use_collectors("gpu")'
    assert "there is no collector 'gpu'" in workplace.run(wrong, check=False).err


def test_what_was_sampled_before_a_kill_is_in_the_document(workplace: Workplace) -> None:
    script = """
        import time
        import yprov_mlflow as mlflow

        run = mlflow.start_run()
        print(run.info.run_id, flush=True)
        time.sleep(60)
    """
    path = workplace.folder / "train.py"
    workplace.run("pass")
    path.write_text("\n".join(line[8:] for line in script.splitlines()))
    environ = {**workplace.environment, "MLFLOW_TRACKING_URI": workplace.sqlite}
    with subprocess.Popen(
        [sys.executable, path],
        cwd=workplace.folder,
        env={**environ, "YPROV_MLFLOW_INTERVAL": "0.1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        run_id = process.stdout.readline().strip() if process.stdout else ""
        soon(lambda: sampled(workplace, 5))
        process.send_signal(signal.SIGKILL)
    workplace.yprov("recover", uri=workplace.sqlite)
    document = document_of(workplace, run_id)
    (cpu,) = [r for k, r in document["activity"].items() if k.startswith("run:collector/cpu/")]
    assert int(cpu["mlf:samples"]["$"]) >= 5
    assert "run:energy/total" in document["entity"]


def sampled(place: Workplace, times: int) -> list[Path]:
    """Give the journals that have so many samples of processors."""
    journals = [path for path in place.journals() if path.suffix == ".journal"]
    return [path for path in journals if path.read_bytes().count(b'"cpu",[') >= times]


def soon(met: Callable[[], Any], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def test_a_forked_child_that_logs_is_measured_apart(workplace: Workplace) -> None:
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
    done = workplace.run(script, workplace.sqlite, YPROV_MLFLOW_INTERVAL="0.1")
    document = document_of(workplace, done.made)
    assert logged(workplace, done.made) == {"from_child": 1.0}
    assert "run:energy/total" in document["entity"]


def test_a_child_that_lives_on_keeps_no_node_from_being_measured(workplace: Workplace) -> None:
    script = """
        import json, os, time
        import yprov_mlflow as mlflow

        mlflow.set_experiment(experiment_id="0")
        with mlflow.start_run() as run:
            AFTER_A_SAMPLE
            reading, writing = os.pipe()
            if os.fork() == 0:
                os.close(writing)
                os.read(reading, 1)  # until the parent is gone
                os._exit(0)
        with mlflow.start_run(run.info.run_id):
            time.sleep(0.5)
        print(json.dumps(run.info.run_id))
    """
    waiting = AFTER_A_SAMPLE.strip().replace("\n", "\n    ")
    done = workplace.run(
        script.replace("AFTER_A_SAMPLE", waiting), workplace.sqlite, YPROV_MLFLOW_INTERVAL="0.1"
    )
    document = document_of(workplace, done.made)
    found = [r for k, r in document["activity"].items() if k.startswith("run:collector/cpu/")]
    assert len(found) == 2
    assert not any("mlf:leftToOthers" in record for record in found)


# -- ranks ---------------------------------------------------------------------------------

RANK = """
    import functools, os, pathlib, platform, sys, time

    rank, node = int(os.environ["RANK"]), f"node{int(os.environ['RANK']) // 2}"
    platform.node = lambda: node  # pretended: all else of this process is real

    from yprov_mlflow.prov.collectors.base import CollectorContext
    from yprov_mlflow.prov.sampling import bridge

    root = pathlib.Path(os.environ["NODES"], node)
    bridge.CollectorContext = functools.partial(CollectorContext, root=root)
    import yprov_mlflow as mlflow

    place = pathlib.Path("run-id")
    while rank and not place.exists():
        time.sleep(0.02)
    with mlflow.start_run(place.read_text() if rank else None) as run:
        if not rank:
            pathlib.Path("run-id.new").write_text(run.info.run_id)
            os.replace("run-id.new", "run-id")
        mlflow.log_param(f"rank{rank}", 1)
        while not pathlib.Path(f"end{min(rank, 1)}").exists():
            time.sleep(0.02)
"""

RANGE_UJ = 65_000_000_000


class Rapl:
    """The counter of one domain in a pretended powercap tree, which wraps."""

    def __init__(self, node: Path, zone: str, name: str, start_uj: int) -> None:
        self.folder = node / "sys/class/powercap" / zone
        self.folder.mkdir(parents=True)
        (self.folder / "name").write_text(f"{name}\n")
        (self.folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self.value = start_uj
        self.take(0)

    def take(self, joules: float) -> None:
        self.value = (self.value + int(joules * 1_000_000)) % RANGE_UJ
        new = self.folder / "new"
        new.write_text(f"{self.value}\n")
        new.replace(self.folder / "energy_uj")


def test_ranks_of_two_nodes_add_up_to_what_the_counters_counted(workplace: Workplace) -> None:
    nodes = workplace.folder / "nodes"
    counters = [
        Rapl(nodes / "node0", "intel-rapl:0", "package-0", RANGE_UJ - 2_000_000),
        Rapl(nodes / "node0", "intel-rapl:0:0", "dram", 17),
        Rapl(nodes / "node1", "intel-rapl:0", "package-0", 0),
    ]
    workplace.run("pass")
    script = workplace.folder / "train.py"
    script.write_text("\n".join(line[4:] for line in RANK.splitlines()))
    given = {
        **workplace.environment,
        "MLFLOW_TRACKING_URI": workplace.sqlite,
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
                    cwd=workplace.folder,
                    env={**given, "RANK": str(rank), "LOCAL_RANK": str(rank % 2)},
                )
            )
            for rank in range(4)
        ]
        stack.callback(lambda: [process.kill() for process in ranks])
        soon(lambda: len(sampled(workplace, 1)) == 4)
        for _ in range(10):
            for counter, joules in zip(counters, (0.5, 0.1, 0.7), strict=True):
                counter.take(joules)
            time.sleep(0.05)
        for name, processes in (("end1", ranks[1:]), ("end0", ranks[:1])):
            (workplace.folder / name).touch()
            assert [process.wait(120) for process in processes] == [0] * len(processes)
    document = document_of(workplace, (workplace.folder / "run-id").read_text())
    found = {
        key: value(record)
        for key, record in quantities(document).items()
        if record["schema:name"] == "energy" and record["mlf:scope"]["$"] == "mlf:device"
    }
    assert sorted(found) == [
        "cpu/1.r2/cpu0/energy",
        "cpu/1/cpu0-dram/energy",
        "cpu/1/cpu0/energy",
    ], "one rank of each node measures it"
    assert found["cpu/1/cpu0/energy"] == pytest.approx(5)
    assert found["cpu/1/cpu0-dram/energy"] == pytest.approx(1)
    assert found["cpu/1.r2/cpu0/energy"] == pytest.approx(7)
    assert value(document["entity"]["run:energy/total"]) == pytest.approx(13)
    assert value(document["entity"]["run:energy/memory"]) == pytest.approx(1)
    activities = document["activity"]
    for kind in ("session", "collector/cpu"):
        found = {key for key in activities if key.startswith(f"run:{kind}/1")}
        assert found == {f"run:{kind}/1{rank}" for rank in ("", ".r1", ".r2", ".r3")}
