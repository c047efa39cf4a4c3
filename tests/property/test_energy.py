"""Own shares of runs that overlap on a node add up to at most what its hardware took."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yprov_mlflow.prov.collectors.base import Available, CollectorContext
from yprov_mlflow.prov.collectors.cpu import Cpu
from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.collectors.system.peers import Peers
from yprov_mlflow.prov.sampling.shares import Division, OpenFamilies

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TREE = {10: 1, 20: 10, 30: 20, 40: 1}  # processes and their parents; 40 is a stranger
PROCESSORS = 8


class Node:
    """A fake node: processes that use CPU time, and a RAPL counter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s, self.total_s, self.joules = 100.0, 0.0, 0.0
        self.cpu_s = dict.fromkeys(TREE, 0.0)
        zone = folder / "sys/class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        (zone / "name").write_text("package-0")
        (zone / "max_energy_range_uj").write_text("262143328850")
        self.energy = zone / "energy_uj"
        for pid in TREE:
            (folder / f"proc/{pid}/task/{pid}").mkdir(parents=True)
            children = [str(child) for child, parent in TREE.items() if parent == pid]
            (folder / f"proc/{pid}/task/{pid}/children").write_text(" ".join(children))
        self.run(dict.fromkeys(TREE, 0), watts=0)

    def run(self, cpu_s: dict[int, int], watts: float) -> None:
        """Run for a second of all processors; the rest of their time is idle."""
        self.now_s += 1
        self.total_s += PROCESSORS
        self.joules += watts
        self.energy.write_text(str(int(self.joules * 1e6)))
        for pid, used_s in cpu_s.items():
            self.cpu_s[pid] += used_s
            ticks = int(self.cpu_s[pid] * TICKS_PER_S)
            (self.folder / f"proc/{pid}/stat").write_text(
                f"{pid} (a) S {TREE[pid]} 0 0 0 0 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {pid} 99 5 1"
            )
        busy = int(sum(self.cpu_s.values()) * TICKS_PER_S)
        idle = int(self.total_s * TICKS_PER_S) - busy
        (self.folder / "proc/stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n")

    def root_of(self, pid: int) -> Path:
        """Return a root in which /proc/self is this process."""
        root = self.folder / f"root{pid}"
        (root / "proc").mkdir(parents=True)
        (root / "proc/self").symlink_to(str(pid))
        (root / "sys").symlink_to(self.folder / "sys")
        for other in TREE:
            (root / f"proc/{other}").symlink_to(self.folder / f"proc/{other}")
        return root


class Process:
    """A process that measures runs, as the sampler and the bridge do."""

    def __init__(self, node: Node, pid: int) -> None:
        root = node.root_of(pid)
        self.peers = Peers(node.folder / "measuring", root)
        self.collector = Cpu(
            CollectorContext(root, {}, children_cpu_s=lambda: self.peers.children_cpu_s())
        )
        result = self.collector.probe()
        assert isinstance(result, Available)
        self.division, self.families = Division(result.quantities), OpenFamilies()
        self.runs: set[str] = set()
        self.readings: dict[str, list[float]] = {}
        self.ended_j = 0.0
        self.collector.start()

    def toggle(self, run_id: str) -> None:
        if run_id in self.runs:
            self.sample()
            self.families.close(run_id)
            self.runs.discard(run_id)
            self.peers.end(run_id)
            # If the run is resumed, its collectors start again, and so do its readings.
            self.ended_j += _growth(self.readings.pop(run_id))
        else:
            self.peers.begin(run_id)
            self.runs.add(run_id)
            self.families.open(run_id)
            self.sample()

    def sample(self) -> None:
        parts = self.division.divide(self.collector.sample(), set(self.runs), self.families)
        for run_id, values in parts.items():
            if (own_j := values[-1]) is not None:
                self.readings.setdefault(run_id, []).append(own_j)

    def own_j(self) -> float:
        return self.ended_j + sum(map(_growth, self.readings.values()))


def _growth(values: list[float]) -> float:
    return values[-1] - values[0]


seconds = st.fixed_dictionaries({pid: st.integers(0, 2) for pid in TREE})
steps = st.lists(
    st.tuples(seconds, st.integers(10, 400), st.sets(st.sampled_from(sorted(TREE)), max_size=2)),
    min_size=1,
    max_size=12,
)


IDLE = dict.fromkeys(TREE, 0)


@contextmanager
def measured_node() -> Iterator[tuple[Node, dict[int, Process]]]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        node = Node(Path(folder))
        patch.setattr("time.monotonic", lambda: node.now_s)
        patch.setattr(psutil, "PROCFS_PATH", f"{folder}/proc")
        patch.setattr(psutil, "cpu_count", lambda: PROCESSORS)
        processes._tree_of.cache_clear()
        yield node, {pid: Process(node, pid) for pid in TREE}
    processes._tree_of.cache_clear()


def test_each_process_of_a_family_is_billed_for_its_own_work() -> None:
    with measured_node() as (node, measured):
        for pid, process in measured.items():
            process.toggle(f"run of {pid}")
        # The first samples are idle: a process learns of the runs of others at its next sample.
        for cpu_s in (IDLE, *[{10: 1, 20: 2, 30: 3, 40: 0}] * 4):
            node.run(cpu_s, watts=80)
            for process in measured.values():
                process.sample()
        own_j = {pid: process.own_j() for pid, process in measured.items()}
    assert own_j == pytest.approx({10: 40, 20: 80, 30: 120, 40: 0})


@example([(IDLE, 10, {10, 20}), (IDLE, 10, {20, 30}), (IDLE | {30: 1}, 10, set())])
@settings(max_examples=30)  # each writes hundreds of files
@given(steps)
def test_own_shares_add_up_to_the_hardware_at_most(
    history: list[tuple[dict[int, int], int, set[int]]],
) -> None:
    with measured_node() as (node, measured):
        start_j = node.joules
        for number, (cpu_s, watts, toggled) in enumerate(history):
            for pid in toggled:
                measured[pid].toggle(f"{pid}, {number // 4}")
            node.run(cpu_s, watts)
            for process in measured.values():
                process.sample()
        own_j = [process.own_j() for process in measured.values()]
        assert sum(own_j) <= (node.joules - start_j) * (1 + 1e-9)
        # Each second, only the busy part of the hardware can be somebody's.
        busy_j = sum(watts * sum(cpu_s.values()) / PROCESSORS for cpu_s, watts, _ in history)
        assert sum(own_j) <= busy_j * (1 + 1e-6) + 1e-6
