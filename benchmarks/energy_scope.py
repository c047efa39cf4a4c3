"""Print whose energy each sum of a run is: of the whole node, or of the run itself.

It runs two sleeping runs side by side, a sweep whose trials are nested in its process and in
another one, four ranks on two pretended nodes with RAPL counters, and a run that codecarbon
measures too. It prints a Markdown table, and exits with 1 if own shares add up to more than the
hardware's energy, or a sum differs from the pretended counters.

    python benchmarks/energy_scope.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from yprov_mlflow.prov.views.energy import from_document
from yprov_mlflow.prov.views.energy_report import EnergyReport

HEAD = """
import functools, os, pathlib, platform, subprocess, sys, time
import yprov_mlflow as mlflow
from yprov_mlflow.prov.collectors.base import CollectorContext
from yprov_mlflow.prov.sampling import bridge

def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))

if "RANK" in os.environ:  # before the first call, which looks at the machine
    rank = int(os.environ["RANK"])
    node = f"node{rank // 2}"
    platform.node = lambda: node
    root = pathlib.Path(os.environ["NODES"], node)
    bridge.CollectorContext = functools.partial(CollectorContext, root=root)
mlflow.set_experiment(experiment_id="0")
"""
SLEEP = """
with mlflow.start_run() as run:
    time.sleep(6)
print(run.info.run_id)
"""
SWEEP = """
if sys.argv[1:]:
    with mlflow.start_run(parent_run_id=sys.argv[1]) as run:
        work(2)
    print(run.info.run_id)
    sys.exit()
with mlflow.start_run() as parent:
    with mlflow.start_run(nested=True) as trial:
        work(2)
    command = [sys.executable, __file__, parent.info.run_id]
    other = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
print(parent.info.run_id, trial.info.run_id, other.split()[-1])
"""
CODECARBON = """
with mlflow.start_run() as run:
    time.sleep(8)  # codecarbon needs seconds to start
    work(4)
print(run.info.run_id)
"""
CREATE = """
print(mlflow.MlflowClient().create_run("0").info.run_id)
"""
RANK = """
with mlflow.start_run():  # that of MLFLOW_RUN_ID
    mlflow.log_param(f"rank{rank}", 1)
    while not pathlib.Path(f"end{min(rank, 1)}").exists():
        time.sleep(0.05)
"""


class Bench:
    """A folder with a store, in which programs run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[str] = []
        self.faults: list[str] = []
        self._programs = 0

    def start(
        self, program: str, collectors: str = "cpu", **variables: str
    ) -> subprocess.Popen[str]:
        """Start a program that prints run ids."""
        self._programs += 1
        path = self.folder / f"program{self._programs}.py"
        path.write_text(HEAD + program)
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "YPROV_MLFLOW_DIR": str(self.folder / "state"),
            "YPROV_MLFLOW_COLLECTORS": collectors,
            "YPROV_MLFLOW_INTERVAL": "0.2",
            **variables,
        }
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, path],
            cwd=self.folder,
            env=environment,
            stdout=pipe,
            stderr=(self.folder / "errors").open("a"),
            text=True,
        )

    def report(self, name: str, run_id: str) -> EnergyReport:
        """Add a row for a run."""
        (path,) = self.folder.glob(f"mlruns/0/{run_id}/artifacts/provenance/prov.json")
        report = from_document(json.loads(path.read_bytes()))
        other = [a.energy_j for a in report.not_in_sum if a.what.startswith("codecarbon")]
        energies = [bill.energy_j if bill else None for bill in (report.total, report.own)]
        cells = [name, *map(_joules, [*energies, *(other or [None])])]
        cells.append(str(report.overlap.count if report.overlap else 0))
        self.rows.append(f"| {' | '.join(cells)} |")
        return report

    def check(self, condition: bool, fault: str) -> None:
        """Note a fault unless the condition holds."""
        if not condition:
            self.faults.append(fault)


def _joules(energy_j: float | None) -> str:
    return "" if energy_j is None else f"{energy_j:.2f}"


def _own(report: EnergyReport) -> float:
    return report.own.energy_j if report.own is not None else 0.0


def _total(report: EnergyReport) -> float:
    return report.total.energy_j if report.total is not None else 0.0


def two_sleeping_runs(bench: Bench) -> None:
    """Run two processes that sleep at the same time."""
    processes = [bench.start(SLEEP) for _ in range(2)]
    ids = [process.communicate()[0].split()[-1] for process in processes]
    reports = [bench.report(f"sleeping run {name}", i) for name, i in zip("ab", ids, strict=True)]
    node_j = max(map(_total, reports))
    bench.check(sum(map(_own, reports)) <= node_j, "two sleeping runs have more than the node")


def sweep(bench: Bench) -> None:
    """Run a parent with a trial in its process and one in another."""
    ids = bench.start(SWEEP).communicate()[0].split()
    names = ("sweep: parent", "sweep: trial in its process", "sweep: trial in another process")
    reports = [bench.report(name, run_id) for name, run_id in zip(names, ids, strict=True)]
    own_j = sum(map(_own, reports))
    bench.rows.append(f"| sweep: sum of own shares | | {own_j:.2f} | | |")
    bench.check(own_j <= _total(reports[0]), "parent and trials have more than the node")


def ranks_on_two_nodes(bench: Bench) -> None:
    """Run four ranks on two pretended nodes, whose counters grow by 100 J and 40 J."""
    nodes = bench.folder / "nodes"
    for name in ("node0", "node1"):
        zone = nodes / name / "sys/class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        (zone / "name").write_text("package-0")
        (zone / "max_energy_range_uj").write_text("262143328850")
        (zone / "energy_uj").write_text("0")
    run_id = _run_id(bench.start(CREATE, "none"))
    sizes = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "NODES": str(nodes)}
    ranks = [
        bench.start(RANK, RANK=str(rank), LOCAL_RANK=str(rank % 2), MLFLOW_RUN_ID=run_id, **sizes)
        for rank in range(4)
    ]
    folder = bench.folder / "state/journal" / run_id
    while sum(b'"cpu",[' in path.read_bytes() for path in folder.glob("*.journal")) < 4:
        time.sleep(0.05)  # until all of them have a sample
    for name, joules in (("node0", 100), ("node1", 40)):
        zone = nodes / name / "sys/class/powercap/intel-rapl:0"
        (zone / "energy_uj").write_text(str(joules * 10**6))
    time.sleep(1)
    for name, ended in (("end1", ranks[1:]), ("end0", ranks[:1])):
        (bench.folder / name).touch()
        for process in ended:
            process.wait(120)
    report = bench.report("4 ranks on 2 pretended nodes (100 J + 40 J)", run_id)
    bench.check(abs(_total(report) - 140) < 0.01, "the sum is not that of the counters")
    bench.check(report.total is not None and report.total.nodes == 2, "the nodes are not 2")


def _run_id(process: subprocess.Popen[str]) -> str:
    return process.communicate()[0].split()[-1]


def beside_codecarbon(bench: Bench) -> None:
    """Run a program that codecarbon measures too."""
    bench.report("beside codecarbon", _run_id(bench.start(CODECARBON, "cpu,codecarbon")))


def main() -> int:
    """Run all programs and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.start("").wait()  # creates the store
        for scenario in (two_sleeping_runs, sweep, ranks_on_two_nodes, beside_codecarbon):
            scenario(bench)
    print("| run | whole node, J | own share, J | codecarbon, J | overlapping runs |")
    print("|---|---|---|---|---|")
    print("\n".join(bench.rows))
    for fault in bench.faults:
        print(f"FAULT: {fault}")
    return int(bool(bench.faults))


if __name__ == "__main__":
    sys.exit(main())
