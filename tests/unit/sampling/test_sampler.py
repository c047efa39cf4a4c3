"""The sampler with good and bad collectors, in real threads."""

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
from yprov_mlflow.prov.sampling.claims import Claims, excluded_claims
from yprov_mlflow.prov.sampling.sampler import Sampler

ENERGY = Quantity("energy", "J", "ElectricEnergy", "process", "measured", cumulative=True)
ON_NODE = Quantity("energy", "J", "ElectricEnergy", "node", "measured", "cpu0", True, claim="node")


class Meter(Collector):
    """Its energy grows by 1 J with every sample."""

    name = "meter"
    quantities: ClassVar[Sequence[Quantity]] = (ENERGY,)

    def __init__(self, context: CollectorContext) -> None:
        super().__init__(context)
        self.started = self.stopped = 0
        self.value = 0.0

    def probe(self) -> Available | Unavailable:
        return Available({"color": "red"}, self.quantities, [Device("cpu0", "A processor")])

    def start(self) -> None:
        self.started += 1

    def sample(self) -> Sequence[float | None]:
        self.value += 1.0
        return [self.value] * len(self.quantities)

    def stop(self) -> None:
        self.stopped += 1


class FakeOutput:
    """Keeps all results of a sampler."""

    def __init__(self, folder: Path, excluded: frozenset[str] = frozenset()) -> None:
        self.events: list[tuple[str, type[Event], tuple[Any, ...]]] = []
        self.facts: dict[str, Mapping[str, Json]] = {}
        self.warnings: list[str] = []
        self.errors: list[Exception] = []
        self.samples: list[tuple[str, Sequence[Quantity], Sequence[float | None]]] = []
        self._folder, self._excluded = folder, excluded
        self.warn = self.warnings.append
        self.debug = self.errors.append
        self.add_facts = self.facts.__setitem__

    def write(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        self.events.append((run_id, cls, fields))

    def publish(self, *sample: Any) -> None:
        self.samples.append(sample)

    def claims(self, run_id: str) -> Claims:
        return Claims(self._folder / run_id, "node1", self._excluded)

    def of(self, cls: type[Event], run_id: str = "run") -> list[tuple[Any, ...]]:
        return [fields for run, kind, fields in list(self.events) if (run, kind) == (run_id, cls)]

    def values(self, run_id: str = "run") -> list[Any]:
        return [values for _, values in self.of(Sampled, run_id)]


@pytest.fixture
def output(tmp_path: Path) -> FakeOutput:
    return FakeOutput(tmp_path)


@pytest.fixture
def measure(
    monkeypatch: pytest.MonkeyPatch, output: FakeOutput
) -> Iterator[Callable[..., Sampler]]:
    """Return a function that starts a sampler with collector classes."""
    samplers: list[Sampler] = []

    def start(
        *classes: type[Collector], interval_s: float = 0.05, to: FakeOutput = output
    ) -> Sampler:
        by_name = {cls.name: cls for cls in classes}
        monkeypatch.setattr(catalog, "load", by_name.__getitem__)
        sampling = Sampler(CollectorContext(interval_s=interval_s), list(by_name), to)
        samplers.append(sampling)
        sampling.probe()
        sampling.wait(10)
        return sampling

    yield start
    for sampling in samplers:
        sampling.finish("run")


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.005)


def test_run_is_measured_from_start_to_end(
    measure: Callable[..., Sampler], output: FakeOutput
) -> None:
    sampling = measure(Meter)
    assert output.facts == {"meter": {"color": "red"}}
    assert output.events == []
    sampling.begin("run")
    wait_for(lambda: len(output.values()) >= 3)
    sampling.finish("run")
    ((name, described),) = output.of(CollectorStarted)
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
    ((_, report),) = output.of(CollectorStopped)
    assert report["samples"] == len(output.values())
    assert report["problems"] == []
    assert report["cpu_s"] >= 0
    assert output.events[-1][1] is CollectorStopped
    count = len(output.events)
    time.sleep(0.2)
    assert len(output.events) == count, "nothing is written after the end"


def test_schedule_has_no_drift(monkeypatch: pytest.MonkeyPatch, output: FakeOutput) -> None:
    now = SimpleNamespace(s=100.0, monotonic=lambda: now.s)
    monkeypatch.setattr(sampler, "time", now)
    sampling = Sampler(CollectorContext(), [], output)
    active = sampler._ActiveCollector("meter", Meter(CollectorContext()), Available(), 1.0)
    sampling._schedule(active, now.s)
    assert active.due_s == 101.0
    for late_s in (0.01, 0.7, 0.02):
        due_s, now.s = active.due_s, active.due_s + late_s
        sampling._schedule(active, now.s - 0.005)
        assert active.due_s == due_s + 1
    now.s = active.due_s + 1.5
    sampling._schedule(active, now.s)
    assert active.due_s == now.s + 0.5, "a missed sample is skipped"
    now.s = active.due_s + 300.2
    sampling._schedule(active, now.s)
    assert active.due_s == now.s + 1, "after a pause"


def test_cpu_time_of_sampling_is_reported(
    measure: Callable[..., Sampler], output: FakeOutput
) -> None:
    class Busy(Meter):
        def sample(self) -> Sequence[float | None]:
            end = time.thread_time() + 0.004
            while time.thread_time() < end:
                pass
            return super().sample()

    sampling = measure(Busy)
    sampling.begin("run")
    wait_for(lambda: len(output.values()) >= 3)
    sampling.finish("run")
    ((_, report),) = output.of(CollectorStopped)
    assert report["cpu_s"] >= 0.004 * (len(output.values()) - 1)


def test_concurrent_runs_have_their_own_samples(
    measure: Callable[..., Sampler], output: FakeOutput
) -> None:
    sampling = measure(Meter)
    sampling.begin("run")
    sampling.begin("other")
    wait_for(lambda: len(output.values()) > 1 and len(output.values("other")) > 1)
    sampling.finish("other")
    count = len(output.values("other"))
    wait_for(lambda: len(output.values()) > count + 2)
    assert len(output.values("other")) == count
    assert set(map(tuple, output.values("other"))) <= set(map(tuple, output.values()))


def test_extra_samples_are_limited(measure: Callable[..., Sampler], output: FakeOutput) -> None:
    sampling = measure(Meter, interval_s=1.0)
    sampling.begin("run")
    wait_for(lambda: output.values() and sampling._sampler.calling is None)
    sampling.sample_extra("run")
    assert not sampling._extra_pending, "too early: the sampler is not woken"
    time.sleep(0.6)
    for _ in range(100):
        sampling.sample_extra("run")
    wait_for(lambda: len(output.values()) >= 2)
    time.sleep(0.1)
    assert len(output.values()) == 2


def test_failing_collector_warns_once(measure: Callable[..., Sampler], output: FakeOutput) -> None:
    class Broken(Meter):
        name = "broken"

        def sample(self) -> Sequence[float | None]:
            if self.value < 2:
                return super().sample()
            raise OSError("the driver is gone")

    sampling = measure(Broken, Meter)
    sampling.begin("run")
    wait_for(lambda: [values for name, values in output.of(Sampled) if name == "meter"][8:])
    sampling.finish("run")
    assert len([1 for name, _ in output.of(Sampled) if name == "broken"]) == 2
    (warning,) = output.warnings
    assert "'broken' failed (OSError: the driver is gone)" in warning
    reports = dict(output.of(CollectorStopped))
    (problem,) = reports["broken"]["problems"]
    assert problem["reason"] == "OSError: the driver is gone"
    assert 1 <= problem["count"] < 8, "it is sampled less and less often"
    assert reports["meter"]["problems"] == []


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ([1.0, 2.0], "2 values for 1 quantities"),
        (["warm"], "not a number"),
        (None, "TypeError"),
    ],
)
def test_invalid_samples_are_rejected(
    measure: Callable[..., Sampler], output: FakeOutput, nonsense: Any, reason: str
) -> None:
    class Nonsense(Meter):
        def sample(self) -> Any:
            return nonsense

    sampling = measure(Nonsense)
    sampling.begin("run")
    wait_for(lambda: output.warnings)
    sampling.finish("run")
    assert output.values() == []
    assert reason in output.warnings[0]


def test_non_finite_numbers_are_none(measure: Callable[..., Sampler], output: FakeOutput) -> None:
    class Odd(Meter):
        quantities = (ENERGY, ENERGY, ENERGY)

        def sample(self) -> Sequence[float | None]:
            return [float("nan"), float("inf"), 3]

    sampling = measure(Odd)
    sampling.begin("run")
    wait_for(lambda: output.values())
    sampling.finish("run")
    assert output.values()[0] == [None, None, 3.0]


def test_hanging_sample_disables_only_its_collector(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "SAMPLE_LIMIT_S", 0.3)
    monkeypatch.setattr(sampler, "_WATCH_INTERVAL_S", 0.05)
    free = threading.Event()

    class Hanging(Meter):
        name = "hanging"

        def sample(self) -> Sequence[float | None]:
            if self.value >= 2:
                free.wait(30)
            return super().sample()

    sampling = measure(Hanging, Meter)
    sampling.begin("run")
    wait_for(lambda: output.of(CollectorStopped))
    after = len(output.values())
    wait_for(lambda: len(output.values()) > after + 3)
    start_s = time.monotonic()
    sampling.finish("run")
    assert time.monotonic() - start_s < 1
    free.set()
    reports = dict(output.of(CollectorStopped))
    assert "did not answer within 0.3 s" in reports["hanging"]["problems"][0]["reason"]
    assert reports["meter"]["problems"] == []
    assert len(output.warnings) == 1
    count = len(output.events)
    time.sleep(0.2)
    assert len(output.events) == count, "the abandoned thread writes nothing"


def test_end_of_run_does_not_wait_for_hanging_collector(
    measure: Callable[..., Sampler], output: FakeOutput
) -> None:
    free = threading.Event()

    class Hanging(Meter):
        def sample(self) -> Sequence[float | None]:
            if self.value >= 1:
                free.wait(30)
            return super().sample()

    sampling = measure(Hanging)
    sampling.begin("run")
    wait_for(lambda: output.values())
    start_s = time.monotonic()
    sampling.finish("run", timeout_s=0.3)
    assert time.monotonic() - start_s < 2
    ((_, report),) = output.of(CollectorStopped)
    assert report["problems"][0]["reason"] == "it did not answer when the run ended"
    count = len(output.events)
    free.set()
    time.sleep(0.2)
    assert len(output.events) == count


def test_hanging_and_failing_probes(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "PROBE_LIMIT_S", 0.3)
    monkeypatch.setattr(sampler, "_WATCH_INTERVAL_S", 0.05)
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

    by_name = {cls.name: cls for cls in (Absent, Failing, Hanging, Meter)}
    monkeypatch.setattr(catalog, "load", by_name.__getitem__)
    sampling = Sampler(CollectorContext(interval_s=0.05), list(by_name), output)
    sampling.probe()
    sampling.begin("run")
    wait_for(lambda: len(output.values()) > 2)
    sampling.finish("run")
    free.set()
    assert output.facts["absent"] == {"unavailable": "there is no GPU", "cure": "Buy one"}
    assert output.facts["failing"]["unavailable"] == "it failed: RuntimeError: no such bus"
    assert "did not answer within 0.3 s" in output.facts["hanging"]["unavailable"]
    assert {name for name, _ in output.of(Sampled)} == {"meter"}


def test_slow_collector_is_sampled_less_often(
    measure: Callable[..., Sampler], output: FakeOutput
) -> None:
    class Slow(Meter):
        def sample(self) -> Sequence[float | None]:
            time.sleep(0.1)
            return super().sample()

    sampling = measure(Slow)
    sampling.begin("run")
    time.sleep(1.5)
    sampling.finish("run")
    assert 2 <= len(output.values()) <= 4, "a tenth of the time at the most"


def test_single_slow_sample_keeps_the_interval(
    measure: Callable[..., Sampler], output: FakeOutput
) -> None:
    class Once(Meter):
        def sample(self) -> Sequence[float | None]:
            time.sleep(0.3 if self.value == 2 else 0)
            return super().sample()

    sampling = measure(Once)
    sampling.begin("run")
    wait_for(lambda: len(output.values()) >= 3)
    time.sleep(1)
    sampling.finish("run")
    assert len(output.values()) > 8


def test_idle_collectors_stop_and_restart(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "IDLE_TIMEOUT_S", 0.1)
    made: list[Meter] = []

    class Kept(Meter):
        def __init__(self, context: CollectorContext) -> None:
            super().__init__(context)
            made.append(self)

    sampling = measure(Kept)
    for times in ([1], [1, 2]):
        sampling.begin("run")
        wait_for(lambda times=times: made[0].started == times[-1])
        sampling.finish("run")
        wait_for(lambda times=times: made[0].stopped == times[-1])
    assert len(made) == 1


def test_node_is_claimed_by_one_process(measure: Callable[..., Sampler], tmp_path: Path) -> None:
    class Both(Meter):
        quantities = (ENERGY, ON_NODE)

    first, second, other_rank = (
        FakeOutput(tmp_path),
        FakeOutput(tmp_path),
        FakeOutput(tmp_path, frozenset({"node"})),
    )
    samplers = [measure(Both, to=receiver) for receiver in (first, second, other_rank)]
    samplers[2].begin("run")
    wait_for(lambda: other_rank.values())
    for sampling in samplers[:2]:
        sampling.begin("run")
    wait_for(lambda: first.values() and second.values())
    sizes = [len(receiver.values()[0]) for receiver in (first, second, other_rank)]
    assert sorted(sizes) == [1, 1, 2]
    assert sizes[2] == 1, "only the first rank of a node measures it"
    left = [r.of(CollectorStarted)[0][1]["left_to_others"] for r in (first, second)]
    assert sorted(left) == [[], ["node"]]
    for sampling in samplers:
        sampling.finish("run")


def test_claims_without_file_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ranks = [(0, 0), (1, 1), (2, 0)]
    took = [
        Claims(tmp_path, "node1", excluded_claims({"rank": rank, "local_rank": local})).take(
            ["node", "GPU-1", "job", ""]
        )
        for rank, local in ranks
    ]
    assert took == [{"node", "GPU-1", "job", ""}, {""}, {"node", "GPU-1", ""}]


def test_released_claims_can_be_taken(tmp_path: Path) -> None:
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
    monkeypatch.setattr(sampler, "_WATCH_INTERVAL_S", 0.05)


class Stubborn(Meter):
    """Returns one sample, then hangs until ``free`` is set."""

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
def test_run_after_a_hanging_end_is_measured(
    measure: Callable[..., Sampler], output: FakeOutput, stubborn: type[Stubborn], tmp_path: Path
) -> None:
    sampling = measure(stubborn, Meter, interval_s=60)
    sampling.begin("run")
    wait_for(lambda: len(output.values()) == 2)
    sampling.finish("run", timeout_s=0.05)
    stopped = dict(output.of(CollectorStopped))
    assert set(stopped) == {"stubborn", "meter"}, "all collectors are reported"
    assert stopped["meter"]["samples"] == 1
    wait_for(lambda: output.warnings)
    wait_for(
        lambda: Claims(tmp_path / "run", "node1").take(["node"])
    )  # a finished run holds no lock
    sampling.begin("next")
    wait_for(lambda: output.values("next"))
    sampling.finish("next")
    assert [name for name, _ in output.of(CollectorStopped, "next")] == ["meter"]
    assert "did not answer within 0.3 s" in output.facts["stubborn"]["unavailable"]
    assert output.facts["stubborn"]["color"] == "red", "what it result out holds"


@pytest.mark.usefixtures("impatient")
def test_hanging_stop(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "IDLE_TIMEOUT_S", 0.05)
    free = threading.Event()

    class Endless(Meter):
        name = "endless"

        def stop(self) -> None:
            free.wait(30)

    sampling = measure(Endless, Meter)
    sampling.begin("run")
    wait_for(lambda: len(output.values()) >= 2)
    sampling.finish("run")
    wait_for(lambda: output.warnings)
    sampling.begin("next")
    wait_for(lambda: output.values("next"))
    sampling.finish("next")
    free.set()


def test_late_sample_is_dropped(
    measure: Callable[..., Sampler], output: FakeOutput, stubborn: type[Stubborn]
) -> None:
    sampling = measure(stubborn)
    sampling.begin("run")
    wait_for(lambda: output.values())
    sampling.finish("run", timeout_s=0.05)
    count = len(output.samples)
    stubborn.free.set()
    sampling.begin("next")
    wait_for(lambda: output.values("next"))
    assert [run for run, *_ in output.samples[count:] if run == "run"] == []
    sampling.finish("next")


def test_run_that_ended_before_its_first_sample(
    measure: Callable[..., Sampler], output: FakeOutput, stubborn: type[Stubborn]
) -> None:
    sampling = measure(stubborn)
    sampling.begin("run")
    wait_for(lambda: sampling._sampler.calling)
    wait_for(lambda: output.values())
    wait_for(lambda: sampling._sampler.calling)
    sampling.begin("next")
    sampling.finish("next", timeout_s=0.05)
    stubborn.free.set()
    sampling.finish("run")
    ((name, facts),) = output.of(FactsCollected, "next")
    assert name == "sampler"
    assert "before the collector 'stubborn' answered" in facts["unavailable"]


def test_too_many_runs(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MAX_RUNS", 1)
    sampling = measure(Meter)
    sampling.begin("run")
    sampling.begin("other")
    sampling.finish("run")
    assert not output.values("other")
    ((_, facts),) = output.of(FactsCollected, "other")
    assert "1 runs" in facts["unavailable"]


def test_interrupted_finish(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = measure(Meter)
    sampling.begin("run")
    wait_for(lambda: output.values())
    with monkeypatch.context() as patched:

        def interrupt(*_: Any) -> bool:
            raise KeyboardInterrupt

        patched.setattr(threading.Event, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sampling.finish("run")
    count = len(output.values())
    sampling.begin("run")
    wait_for(lambda: len(output.values()) > count + 2)
    sampling.finish("run")


@pytest.mark.parametrize("step", ["probe", "sample"])
def test_collector_that_exits(
    measure: Callable[..., Sampler], output: FakeOutput, step: str
) -> None:
    def exits(_: Collector) -> Any:
        raise SystemExit("no driver")

    sampling = measure(type("Exiting", (Meter,), {"name": "exiting", step: exits}), Meter)
    sampling.begin("run")
    wait_for(lambda: len([name for name, _ in output.of(Sampled) if name == "meter"]) > 2)
    sampling.finish("run")
    messages = [*map(str, output.facts.values()), *output.warnings]
    assert any("no driver" in message for message in messages)


@pytest.mark.parametrize(
    "finding", [None, {"works": True}, Available(quantities=["energy"]), Available(facts=[1])]
)
def test_invalid_probe_result(
    measure: Callable[..., Sampler], output: FakeOutput, finding: Any
) -> None:
    odd = type("Odd", (Meter,), {"name": "odd", "probe": lambda _: finding})
    sampling = measure(odd, Meter)
    sampling.begin("run")
    wait_for(lambda: output.values())
    sampling.finish("run")
    assert output.facts["odd"]["unavailable"]
    assert {name for name, _ in output.of(Sampled)} == {"meter"}


def test_distinct_problems_are_limited(
    measure: Callable[..., Sampler], output: FakeOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MAX_REASONS", 2)
    monkeypatch.setattr(sampler, "_MAX_INTERVAL_S", 0.01)

    class Fickle(Meter):
        def sample(self) -> Sequence[float | None]:
            raise OSError(f"fault {time.monotonic_ns()}")

    sampling = measure(Fickle, interval_s=0.01)
    sampling.begin("run")
    time.sleep(0.3)
    sampling.finish("run")
    ((_, report),) = output.of(CollectorStopped)
    first, second, others = report["problems"]
    assert (first["count"], second["count"], others["reason"]) == (1, 1, "other problems")
    assert others["count"] > 2


def test_extra_samples_do_not_queue_up(
    measure: Callable[..., Sampler], output: FakeOutput, stubborn: type[Stubborn]
) -> None:
    sampling = measure(stubborn)
    sampling.begin("run")
    wait_for(lambda: output.values())
    wait_for(lambda: sampling._sampler.calling)
    time.sleep(0.1)
    for _ in range(1000):
        sampling.sample_extra("run")
    assert sampling._sampler._jobs.qsize() <= 1
    stubborn.free.set()
    sampling.finish("run")
