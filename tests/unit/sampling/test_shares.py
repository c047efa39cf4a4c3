"""The energy of a process is divided among its runs: parts add up to it, and nothing is doubled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.collectors.base import Quantity, energy
from yprov_mlflow.prov.sampling.shares import Division, OpenFamilies

OWN = energy("process", "estimated", share_of="cpu")
NODE = energy("node", "estimated", component="cpu", claim="node")
POWER = Quantity("power", "W", "ElectricPower", "process", "estimated")
RUNS = st.sampled_from(["parent", "trial 1", "trial 2", "stranger"])


class Process:
    """A process with a counter, and the energy of each run as its document would have it."""

    def __init__(self) -> None:
        self.families = OpenFamilies()
        for trial in ("trial 1", "trial 2"):
            self.families.set_parent(trial, "parent")
        self.division = Division([NODE, OWN, POWER])
        self.runs: set[str] = set()
        self.joules = 0.0
        self.first: dict[str, float] = {}
        self.total: dict[str, float] = {}

    def sample(self, joules: float = 0.0) -> dict[str, float]:
        self.joules += joules
        values = self.division.divide([7.0, self.joules, 3.0], set(self.runs), self.families)
        for run_id, (node, own, power) in values.items():
            assert own is not None
            assert (node, power) == (7.0, 3.0), "other quantities are not divided"
            self.total[run_id] = own - self.first.setdefault(run_id, own)
        return self.total

    def open(self, run_id: str) -> None:
        self.runs.add(run_id)
        self.families.open(run_id)
        self.sample()

    def close(self, run_id: str) -> None:
        self.sample()
        self.families.close(run_id)
        self.runs.discard(run_id)


def test_a_parent_has_only_the_energy_outside_its_trials() -> None:
    process = Process()
    process.open("parent")
    process.sample(10)
    process.open("trial 1")
    process.sample(5)
    process.open("trial 2")
    process.sample(4)
    process.close("trial 1")
    process.sample(1)
    process.close("trial 2")
    assert process.sample(100) == {"parent": 110, "trial 1": 7, "trial 2": 3}


def test_energy_before_a_run_is_not_its_own() -> None:
    process = Process()
    process.open("parent")
    process.joules += 8
    process.open("trial 1")  # the sample at its start has the 8 J
    assert process.sample() == {"parent": 8, "trial 1": 0}


def test_unread_energy_is_divided_at_the_next_reading() -> None:
    process = Process()
    process.open("parent")
    values = process.division.divide([1.0, None, 1.0], {"parent"}, process.families)
    assert values == {"parent": [1.0, None, 1.0]}
    assert process.sample(6) == {"parent": 6}


@given(st.lists(st.tuples(RUNS, st.floats(0, 1000)), max_size=40))
def test_parts_add_up_to_the_energy_while_runs_are_open(steps: list[tuple[str, float]]) -> None:
    process, spent = Process(), 0.0
    ended: list[float] = []
    for run_id, joules in steps:
        if run_id in process.runs:
            process.close(run_id)
            ended.append(process.total.pop(run_id))
            del process.first[run_id]
        else:
            process.open(run_id)
        process.sample(joules)
        spent += joules if process.runs else 0.0
    assert abs(sum(process.total.values()) + sum(ended) - spent) <= 1e-6 * max(spent, 1.0)
