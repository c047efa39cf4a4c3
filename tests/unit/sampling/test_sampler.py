"""The sampler: collectors that behave and that do not, at work for real in threads."""

from __future__ import annotations

import errno
import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Device,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.events import (
    CollectorStarted,
    CollectorStopped,
    Event,
    FactsCollected,
    Json,
    Sampled,
)
from yprov_mlflow.prov.sampling import sampler
from yprov_mlflow.prov.sampling.claims import Claims, left_to_others
from yprov_mlflow.prov.sampling.sampler import Sampler

ENERGY = Quantity("energy", "J", "ElectricEnergy", "process", "measured", cumulative=True)
ON_NODE = Quantity("energy", "J", "ElectricEnergy", "node", "measured", "cpu0", True, claim="node")


class Meter(Collector):
    """Grows by one with every sample."""

    name = "meter"
    quantities: ClassVar[Sequence[Quantity]] = (ENERGY,)

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self.started = self.stopped = 0
        self.value = 0.0

    def probe(self) -> Available | Unavailable:
        return Available({"colour": "red"}, self.quantities, [Device("cpu0", "A processor")])

    def start(self) -> None:
        self.started += 1

    def sample(self) -> Sequence[float | None]:
        self.value += 1.0
        return [self.value] * len(self.quantities)

    def stop(self) -> None:
        self.stopped += 1


class Notes:
    """Keeps what measuring hands out, by run."""

    def __init__(self, folder: Path, never: frozenset[str] = frozenset()) -> None:
        self.events: list[tuple[str, type[Event], tuple[Any, ...]]] = []
        self.facts: dict[str, Mapping[str, Json]] = {}
        self.complaints: list[str] = []
        self.faults: list[Exception] = []
        self.samples: list[tuple[str, Sequence[Quantity], Sequence[float | None]]] = []
        self._folder, self._never = folder, never
        self.complain = self.complaints.append
        self.failed = self.faults.append
        self.found = self.facts.__setitem__

    def write(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        self.events.append((run_id, cls, fields))

    def sampled(self, *told: Any) -> None:
        self.samples.append(told)

    def claims(self, run_id: str) -> Claims:
        return Claims(self._folder / run_id, "node1", self._never)

    def of(self, cls: type[Event], run_id: str = "run") -> list[tuple[Any, ...]]:
        return [fields for run, kind, fields in list(self.events) if (run, kind) == (run_id, cls)]

    def values(self, run_id: str = "run") -> list[Any]:
        return [values for _, values in self.of(Sampled, run_id)]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, notes: Notes) -> Iterator[Callable[..., Sampler]]:
    """Give a function that starts measuring with classes of collectors."""
    made: list[Sampler] = []

    def start(*classes: type[Collector], interval_s: float = 0.05, to: Notes = notes) -> Sampler:
        known = {cls.name: cls for cls in classes}
        monkeypatch.setattr(catalog, "load", known.__getitem__)
        found = Sampler(CollectorContext(interval_s=interval_s), list(known), to)
        made.append(found)
        found.look()
        found.wait(10)
        return found

    yield start
    for one in made:
        one.finish("run")


def soon(met: Callable[[], Any], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


def test_a_run_is_measured_from_its_begin_to_its_end(
    measure: Callable[..., Sampler], notes: Notes
) -> None:
    at_work = measure(Meter)
    assert notes.facts == {"meter": {"colour": "red"}}
    assert notes.events == []
    at_work.begin("run")
    soon(lambda: len(notes.values()) >= 3)
    at_work.finish("run")
    ((name, described),) = notes.of(CollectorStarted)
    assert (name, described["agent"], described["interval_s"]) == ("meter", "yprov-mlflow", 0.05)
    assert described["quantities"] == [
        {
            "name": "energy",
            "unit": "J",
            "kind": "ElectricEnergy",
            "scope": "process",
            "method": "measured",
            "cumulative": True,
        }
    ]
    ((_, report),) = notes.of(CollectorStopped)
    assert report["samples"] == len(notes.values())
    assert report["problems"] == []
    assert report["cpu_s"] >= 0
    assert notes.events[-1][1] is CollectorStopped
    told = len(notes.events)
    time.sleep(0.2)
    assert len(notes.events) == told, "nothing is written after the end"


def test_times_are_planned_without_drift(monkeypatch: pytest.MonkeyPatch, notes: Notes) -> None:
    now = SimpleNamespace(s=100.0, monotonic=lambda: now.s)
    monkeypatch.setattr(sampler, "time", now)
    at_work = Sampler(CollectorContext(), [], notes)
    instrument = sampler._Instrument("meter", Meter(CollectorContext()), Available(), 1.0)
    at_work._plan(instrument, now.s)
    assert instrument.due_s == 101.0
    for late_s in (0.01, 0.7, 0.02):
        due_s, now.s = instrument.due_s, instrument.due_s + late_s
        at_work._plan(instrument, now.s - 0.005)
        assert instrument.due_s == due_s + 1
    now.s = instrument.due_s + 1.5
    at_work._plan(instrument, now.s)
    assert instrument.due_s == now.s + 0.5, "one is left out and not made up for"
    now.s = instrument.due_s + 300.2
    at_work._plan(instrument, now.s)
    assert instrument.due_s == now.s + 1, "after a pause"


def test_what_sampling_takes_is_accounted(measure: Callable[..., Sampler], notes: Notes) -> None:
    class Busy(Meter):
        def sample(self) -> Sequence[float | None]:
            end = time.thread_time() + 0.004
            while time.thread_time() < end:
                pass
            return super().sample()

    at_work = measure(Busy)
    at_work.begin("run")
    soon(lambda: len(notes.values()) >= 3)
    at_work.finish("run")
    ((_, report),) = notes.of(CollectorStopped)
    assert report["cpu_s"] >= 0.004 * (len(notes.values()) - 1)


def test_two_runs_at_once_each_have_their_samples(
    measure: Callable[..., Sampler], notes: Notes
) -> None:
    at_work = measure(Meter)
    at_work.begin("run")
    at_work.begin("other")
    soon(lambda: len(notes.values()) > 1 and len(notes.values("other")) > 1)
    at_work.finish("other")
    count = len(notes.values("other"))
    soon(lambda: len(notes.values()) > count + 2)
    assert len(notes.values("other")) == count
    assert set(map(tuple, notes.values("other"))) <= set(map(tuple, notes.values()))


def test_a_bound_of_a_context_is_sampled_but_not_without_limit(
    measure: Callable[..., Sampler], notes: Notes
) -> None:
    at_work = measure(Meter, interval_s=1.0)
    at_work.begin("run")
    soon(lambda: notes.values() and at_work._sampler.calling is None)
    at_work.mark("run")
    assert not at_work._marked, "it is too early, and the sampler sleeps on"
    time.sleep(0.6)
    for _ in range(100):
        at_work.mark("run")
    soon(lambda: len(notes.values()) >= 2)
    time.sleep(0.1)
    assert len(notes.values()) == 2


def test_what_fails_is_said_once_and_others_go_on(
    measure: Callable[..., Sampler], notes: Notes
) -> None:
    class Broken(Meter):
        name = "broken"

        def sample(self) -> Sequence[float | None]:
            if self.value < 2:
                return super().sample()
            raise OSError("the driver is gone")

    at_work = measure(Broken, Meter)
    at_work.begin("run")
    soon(lambda: [values for name, values in notes.of(Sampled) if name == "meter"][8:])
    at_work.finish("run")
    assert len([1 for name, _ in notes.of(Sampled) if name == "broken"]) == 2
    (complaint,) = notes.complaints
    assert "'broken' failed (OSError: the driver is gone)" in complaint
    reports = dict(notes.of(CollectorStopped))
    (problem,) = reports["broken"]["problems"]
    assert problem["reason"] == "OSError: the driver is gone"
    assert 1 <= problem["count"] < 8, "it is asked less and less often"
    assert reports["meter"]["problems"] == []


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ([1.0, 2.0], "2 values for 1 quantities"),
        (["warm"], "no number"),
        (None, "TypeError"),
    ],
)
def test_nonsense_is_no_measurement(
    measure: Callable[..., Sampler], notes: Notes, nonsense: Any, reason: str
) -> None:
    class Nonsense(Meter):
        def sample(self) -> Any:
            return nonsense

    at_work = measure(Nonsense)
    at_work.begin("run")
    soon(lambda: notes.complaints)
    at_work.finish("run")
    assert notes.values() == []
    assert reason in notes.complaints[0]


def test_numbers_that_are_none_are_not_read(measure: Callable[..., Sampler], notes: Notes) -> None:
    class Odd(Meter):
        quantities = (ENERGY, ENERGY, ENERGY)

        def sample(self) -> Sequence[float | None]:
            return [float("nan"), float("inf"), 3]

    at_work = measure(Odd)
    at_work.begin("run")
    soon(lambda: notes.values())
    at_work.finish("run")
    assert notes.values()[0] == [None, None, 3.0]


def test_a_sample_that_hangs_costs_its_collector_and_nothing_else(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "SAMPLE_LIMIT_S", 0.3)
    monkeypatch.setattr(sampler, "_WATCH_S", 0.05)
    free = threading.Event()

    class Hanging(Meter):
        name = "hanging"

        def sample(self) -> Sequence[float | None]:
            if self.value >= 2:
                free.wait(30)
            return super().sample()

    at_work = measure(Hanging, Meter)
    at_work.begin("run")
    soon(lambda: notes.of(CollectorStopped))
    after = len(notes.values())
    soon(lambda: len(notes.values()) > after + 3)
    began = time.monotonic()
    at_work.finish("run")
    assert time.monotonic() - began < 1
    free.set()
    reports = dict(notes.of(CollectorStopped))
    assert "did not answer within 0.3 s" in reports["hanging"]["problems"][0]["reason"]
    assert reports["meter"]["problems"] == []
    assert len(notes.complaints) == 1
    told = len(notes.events)
    time.sleep(0.2)
    assert len(notes.events) == told, "the thread that came back too late writes nothing"


def test_the_end_of_a_run_does_not_wait_for_what_hangs(
    measure: Callable[..., Sampler], notes: Notes
) -> None:
    free = threading.Event()

    class Hanging(Meter):
        def sample(self) -> Sequence[float | None]:
            if self.value >= 1:
                free.wait(30)
            return super().sample()

    at_work = measure(Hanging)
    at_work.begin("run")
    soon(lambda: notes.values())
    began = time.monotonic()
    at_work.finish("run", patience_s=0.3)
    assert time.monotonic() - began < 2
    ((_, report),) = notes.of(CollectorStopped)
    assert report["problems"][0]["reason"] == "it did not answer when the run ended"
    told = len(notes.events)
    free.set()
    time.sleep(0.2)
    assert len(notes.events) == told


def test_a_probe_that_hangs_or_fails_leaves_the_others(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "PROBE_LIMIT_S", 0.3)
    monkeypatch.setattr(sampler, "_WATCH_S", 0.05)
    free = threading.Event()

    class Hanging(Meter):
        name = "hanging"

        def probe(self) -> Available | Unavailable:
            free.wait(30)
            return super().probe()

    class Failing(Meter):
        name = "failing"

        def probe(self) -> Available | Unavailable:
            raise RuntimeError("no such bus")

    class Absent(Meter):
        name = "absent"

        def probe(self) -> Available | Unavailable:
            return Unavailable("there is no GPU", "Buy one")

    known = {cls.name: cls for cls in (Absent, Failing, Hanging, Meter)}
    monkeypatch.setattr(catalog, "load", known.__getitem__)
    at_work = Sampler(CollectorContext(interval_s=0.05), list(known), notes)
    at_work.look()
    at_work.begin("run")
    soon(lambda: len(notes.values()) > 2)
    at_work.finish("run")
    free.set()
    assert notes.facts["absent"] == {"unavailable": "there is no GPU", "cure": "Buy one"}
    assert notes.facts["failing"]["unavailable"] == "it failed: RuntimeError: no such bus"
    assert "did not answer within 0.3 s" in notes.facts["hanging"]["unavailable"]
    assert {name for name, _ in notes.of(Sampled)} == {"meter"}


def test_a_collector_whose_sample_is_slow_is_asked_less_often(
    measure: Callable[..., Sampler], notes: Notes
) -> None:
    class Slow(Meter):
        def sample(self) -> Sequence[float | None]:
            time.sleep(0.1)
            return super().sample()

    at_work = measure(Slow)
    at_work.begin("run")
    time.sleep(1.5)
    at_work.finish("run")
    assert 2 <= len(notes.values()) <= 4, "a tenth of the time at the most"


def test_one_slow_sample_changes_nothing(measure: Callable[..., Sampler], notes: Notes) -> None:
    class Once(Meter):
        def sample(self) -> Sequence[float | None]:
            time.sleep(0.3 if self.value == 2 else 0)
            return super().sample()

    at_work = measure(Once)
    at_work.begin("run")
    soon(lambda: len(notes.values()) >= 3)
    time.sleep(1)
    at_work.finish("run")
    assert len(notes.values()) > 8


def test_collectors_stop_when_no_run_is_left_and_start_again(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "LINGER_S", 0.1)
    made: list[Meter] = []

    class Kept(Meter):
        def __init__(self, surroundings: CollectorContext) -> None:
            super().__init__(surroundings)
            made.append(self)

    at_work = measure(Kept)
    for times in ([1], [1, 2]):
        at_work.begin("run")
        soon(lambda times=times: made[0].started == times[-1])
        at_work.finish("run")
        soon(lambda times=times: made[0].stopped == times[-1])
    assert len(made) == 1


def test_the_node_is_measured_by_one_process_and_the_rest_by_each(
    measure: Callable[..., Sampler], tmp_path: Path
) -> None:
    class Both(Meter):
        quantities = (ENERGY, ON_NODE)

    first, second, other_rank = (
        Notes(tmp_path),
        Notes(tmp_path),
        Notes(tmp_path, frozenset({"node"})),
    )
    at_work = [measure(Both, to=one) for one in (first, second, other_rank)]
    at_work[2].begin("run")
    soon(lambda: other_rank.values())
    for one in at_work[:2]:
        one.begin("run")
    soon(lambda: first.values() and second.values())
    shares = [len(one.values()[0]) for one in (first, second, other_rank)]
    assert sorted(shares) == [1, 1, 2]
    assert shares[2] == 1, "a rank that is not its node's first never measures the node"
    left = [one.of(CollectorStarted)[0][1]["left_to_others"] for one in (first, second)]
    assert sorted(left) == [[], ["node"]]
    for one in at_work:
        one.finish("run")


def test_where_there_are_no_locks_one_rank_of_a_node_takes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ranks = [(0, 0), (1, 1), (2, 0)]
    took = [
        Claims(tmp_path, "node1", left_to_others({"rank": rank, "local_rank": local})).take(
            ["node", "GPU-1", "job", ""]
        )
        for rank, local in ranks
    ]
    assert took == [{"node", "GPU-1", "job", ""}, {""}, {"node", "GPU-1", ""}]


def test_a_node_is_free_again_when_its_process_has_left(tmp_path: Path) -> None:
    first, second = (Claims(tmp_path, "node1"), Claims(tmp_path, "node1"))
    assert first.take(["node", "GPU-1", ""]) == {"node", "GPU-1", ""}
    assert second.take(["node", "GPU-1", "GPU-2", ""]) == {"GPU-2", ""}
    assert Claims(tmp_path, "node2").take(["node", "job"]) == {"node", "job"}
    first.release()
    assert second.take(["node", "GPU-1"]) == {"node", "GPU-1"}
    second.release()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "SAMPLE_LIMIT_S", 0.3)
    monkeypatch.setattr(sampler, "_WATCH_S", 0.05)


class Stubborn(Meter):
    """Gives one sample, then waits until it is let go."""

    name = "stubborn"
    quantities = (ON_NODE,)
    free: ClassVar[threading.Event]

    def sample(self) -> Sequence[float | None]:
        if self.value >= 1:
            self.free.wait(30)
        return super().sample()


@pytest.fixture
def stubborn() -> Iterator[type[Stubborn]]:
    made = type("Stubborn", (Stubborn,), {"free": threading.Event()})
    yield made
    made.free.set()


@pytest.mark.usefixtures("impatient")
def test_runs_after_one_whose_end_hung_are_measured(
    measure: Callable[..., Sampler], notes: Notes, stubborn: type[Stubborn], tmp_path: Path
) -> None:
    at_work = measure(stubborn, Meter, interval_s=60)
    at_work.begin("run")
    soon(lambda: len(notes.values()) == 2)
    at_work.finish("run", patience_s=0.05)
    stopped = dict(notes.of(CollectorStopped))
    assert set(stopped) == {"stubborn", "meter"}, "those that answer are reported on as well"
    assert stopped["meter"]["samples"] == 1
    soon(lambda: notes.complaints)
    soon(lambda: Claims(tmp_path / "run", "node1").take(["node"]))  # who has ended holds no lock
    at_work.begin("next")
    soon(lambda: notes.values("next"))
    at_work.finish("next")
    assert [name for name, _ in notes.of(CollectorStopped, "next")] == ["meter"]
    assert "did not answer within 0.3 s" in notes.facts["stubborn"]["unavailable"]
    assert notes.facts["stubborn"]["colour"] == "red", "what it found out holds"


@pytest.mark.usefixtures("impatient")
def test_a_stop_that_hangs_ends_no_measuring(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "LINGER_S", 0.05)
    free = threading.Event()

    class Endless(Meter):
        name = "endless"

        def stop(self) -> None:
            free.wait(30)

    at_work = measure(Endless, Meter)
    at_work.begin("run")
    soon(lambda: len(notes.values()) >= 2)
    at_work.finish("run")
    soon(lambda: notes.complaints)
    at_work.begin("next")
    soon(lambda: notes.values("next"))
    at_work.finish("next")
    free.set()


def test_a_sample_that_comes_after_the_end_goes_nowhere(
    measure: Callable[..., Sampler], notes: Notes, stubborn: type[Stubborn]
) -> None:
    at_work = measure(stubborn)
    at_work.begin("run")
    soon(lambda: notes.values())
    at_work.finish("run", patience_s=0.05)
    told = len(notes.samples)
    stubborn.free.set()
    at_work.begin("next")
    soon(lambda: notes.values("next"))
    assert [run for run, *_ in notes.samples[told:] if run == "run"] == []
    at_work.finish("next")


def test_a_run_that_was_over_before_its_turn_came_says_so(
    measure: Callable[..., Sampler], notes: Notes, stubborn: type[Stubborn]
) -> None:
    at_work = measure(stubborn)
    at_work.begin("run")
    soon(lambda: at_work._sampler.calling)
    soon(lambda: notes.values())
    soon(lambda: at_work._sampler.calling)
    at_work.begin("next")
    at_work.finish("next", patience_s=0.05)
    stubborn.free.set()
    at_work.finish("run")
    ((name, facts),) = notes.of(FactsCollected, "next")
    assert name == "sampler"
    assert "before the collector 'stubborn' gave an answer" in facts["unavailable"]


def test_more_runs_than_are_measured_say_so(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MOST_RUNS", 1)
    at_work = measure(Meter)
    at_work.begin("run")
    at_work.begin("other")
    at_work.finish("run")
    assert not notes.values("other")
    ((_, facts),) = notes.of(FactsCollected, "other")
    assert "1 runs" in facts["unavailable"]


def test_an_interrupted_end_leaves_nothing_behind(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = measure(Meter)
    at_work.begin("run")
    soon(lambda: notes.values())
    with monkeypatch.context() as patched:

        def interrupt(*_: Any) -> bool:
            raise KeyboardInterrupt

        patched.setattr(threading.Event, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            at_work.finish("run")
    told = len(notes.values())
    at_work.begin("run")
    soon(lambda: len(notes.values()) > told + 2)
    at_work.finish("run")


@pytest.mark.parametrize("step", ["probe", "sample"])
def test_a_collector_that_exits_ends_nothing_else(
    measure: Callable[..., Sampler], notes: Notes, step: str
) -> None:
    def exits(_: Collector) -> Any:
        raise SystemExit("no driver")

    at_work = measure(type("Exiting", (Meter,), {"name": "exiting", step: exits}), Meter)
    at_work.begin("run")
    soon(lambda: len([name for name, _ in notes.of(Sampled) if name == "meter"]) > 2)
    at_work.finish("run")
    said = [*map(str, notes.facts.values()), *notes.complaints]
    assert [one for one in said if "no driver" in one]


@pytest.mark.parametrize(
    "finding", [None, {"works": True}, Available(quantities=["energy"]), Available(facts=[1])]
)
def test_a_probe_that_gives_nonsense_is_said(
    measure: Callable[..., Sampler], notes: Notes, finding: Any
) -> None:
    odd = type("Odd", (Meter,), {"name": "odd", "probe": lambda _: finding})
    at_work = measure(odd, Meter)
    at_work.begin("run")
    soon(lambda: notes.values())
    at_work.finish("run")
    assert notes.facts["odd"]["unavailable"]
    assert {name for name, _ in notes.of(Sampled)} == {"meter"}


def test_problems_that_are_never_the_same_are_counted_together(
    measure: Callable[..., Sampler], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MOST_REASONS", 2)
    monkeypatch.setattr(sampler, "_MOST_BACKOFF_S", 0.01)

    class Fickle(Meter):
        def sample(self) -> Sequence[float | None]:
            raise OSError(f"fault {time.monotonic_ns()}")

    at_work = measure(Fickle, interval_s=0.01)
    at_work.begin("run")
    time.sleep(0.3)
    at_work.finish("run")
    ((_, report),) = notes.of(CollectorStopped)
    first, second, others = report["problems"]
    assert (first["count"], second["count"], others["reason"]) == (1, 1, "other problems")
    assert others["count"] > 2


def test_bounds_of_contexts_do_not_pile_up(
    measure: Callable[..., Sampler], notes: Notes, stubborn: type[Stubborn]
) -> None:
    at_work = measure(stubborn)
    at_work.begin("run")
    soon(lambda: notes.values())
    soon(lambda: at_work._sampler.calling)
    time.sleep(0.1)
    for _ in range(1000):
        at_work.mark("run")
    assert at_work._sampler._jobs.qsize() <= 1
    stubborn.free.set()
    at_work.finish("run")
