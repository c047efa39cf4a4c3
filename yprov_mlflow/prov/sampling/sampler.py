"""The sampler: runs the collectors of a process for its open runs.

The training never waits for it, except briefly at the end of a run. The prober thread probes one
collector after the other. The sampler thread takes samples at fixed times, when a context starts
or ends, and at the end of a run. Samples go to the journals at once, so they survive a crash. A
call that hangs costs its collector, not the run.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from yprov_mlflow.prov import events
from yprov_mlflow.prov.collectors import base, catalog
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Quantity, Unavailable
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import CollectorStopped, Json
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.sampling import contract
from yprov_mlflow.prov.sampling.claims import Claims
from yprov_mlflow.prov.sampling.shares import Division, OpenFamilies
from yprov_mlflow.prov.sampling.watchdog import SupervisedThread

PROBE_DELAY_S = 0.2  # lets start_run return first
PROBE_LIMIT_S = 20.0  # a collector whose probe takes longer is disabled
SAMPLE_LIMIT_S = 5.0  # a collector whose sample takes longer is disabled
FINISH_TIMEOUT_S = 1.0  # how long the end of a run waits for its last samples
IDLE_TIMEOUT_S = 10.0  # how long collectors stay started after the last run, for the next one
MAX_RUNS = 32  # measured at the same time; a process with more open runs does not train them
MAX_REASONS = 20  # distinct problems of a collector in a run; further ones are counted together
_MAX_INTERVAL_S = 60.0
_WATCH_INTERVAL_S = 2.0


@dataclasses.dataclass(frozen=True)
class Output:
    """Receivers of the sampler's results, called in its threads."""

    write: Callable[..., None]  # appends an event to a run's journal: run id, class, fields
    add_facts: Callable[[str, Mapping[str, Json]], None]  # of a collector, to all runs
    # Receives each sample after it was written: run id, quantities, values.
    publish: Callable[[str, Sequence[Quantity], Sequence[float | None]], None]
    warn: Callable[[str], None]
    debug: Callable[[BaseException], None]
    claims: Callable[[str], Claims]  # of this process for a run


@dataclasses.dataclass
class _ActiveCollector:
    """A collector that measures: its schedule and statistics."""

    name: str
    collector: base.Collector
    probe: Available
    interval_s: float
    due_s: float = 0.0
    last_s: float = -math.inf
    duration_s: float = 0.0
    started: bool = False
    cpu_s: float = 0.0
    failed: bool = False

    def __post_init__(self) -> None:
        self.division = Division(self.probe.quantities)

    @property
    def extra_from_s(self) -> float:
        # A context may trigger an extra sample half an interval after the last sample.
        return self.last_s + self.interval_s / 2


@dataclasses.dataclass
class _RunQuantities:
    """The quantities of a collector that this process measures for a run, with statistics."""

    active: _ActiveCollector
    positions: list[int]
    cpu_before_s: float
    samples: int = 0
    problems: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)

    def add_problem(self, reason: str) -> None:
        if reason not in self.problems and len(self.problems) >= MAX_REASONS:
            reason = "other problems"
        new = {"reason": reason, "count": 0, "time_ns": now_ns()}
        self.problems.setdefault(reason, new)["count"] += 1

    def report(self) -> dict[str, Json]:
        return {
            "samples": self.samples,
            "cpu_s": round(self.active.cpu_s - self.cpu_before_s, 6),
            "problems": list(self.problems.values()),
        }


@dataclasses.dataclass
class _MeasuredRun:
    claims: Claims
    collectors: dict[str, _RunQuantities] = dataclasses.field(default_factory=dict)


class Sampler:
    """The collectors of one process. Its methods return at once, except ``finish`` and ``wait``.

    Args:
        context: The environment of the collectors.
        names: The selected collectors, in probing order.
        output: Receiver of the results.
        families: The measured runs of this process, whichever sampler measures them.
    """

    def __init__(
        self,
        context: CollectorContext,
        names: Sequence[str],
        output: Output,
        families: OpenFamilies | None = None,
    ) -> None:
        self._families = families or OpenFamilies()
        self._context = context
        self._names = names
        self._output = output
        # Run ids between ``begin`` and ``finish``, changed by the training's threads. Nothing is
        # written for a run that is not in it: after the end its journal may be closed.
        self._open_ids: set[str] = set()
        # Changed by the sampler thread only. Others iterate over a copy.
        self._active: dict[str, _ActiveCollector] = {}
        self._runs: dict[str, _MeasuredRun] = {}
        self._idle_since_s: float | None = None
        self._extra_pending = False
        self._extra_from_s = 0.0
        self._skip_delay = threading.Event()
        self._probed = threading.Event()
        self._lock = threading.RLock()  # reentrant: a signal handler may end the run
        # Each thread is the watchdog of the other.
        options: dict[str, Any] = {"on_hang": self._disable, "on_error": output.debug}
        self._prober = SupervisedThread("yprov-prober", PROBE_LIMIT_S, tick=self._watch, **options)
        self._sampler = SupervisedThread(
            "yprov-sampler", SAMPLE_LIMIT_S, tick=self._sample_due, **options
        )

    # -- called by the training's threads ----------------------------------------------

    def probe(self) -> None:
        """Start probing all collectors; must be called first, and once."""
        if not self._names:
            self._probed.set()
            return
        self._prober.put(partial(self._skip_delay.wait, PROBE_DELAY_S))
        for name in self._names:
            self._prober.put(partial(self._probe, name))
        self._prober.put(self._probed.set)

    def begin(self, run_id: str) -> None:
        """Start to measure for a run."""
        with self._lock:
            if not self._names or run_id in self._open_ids:
                return
            too_many = len(self._open_ids) >= MAX_RUNS
            if not too_many:
                self._open_ids.add(run_id)
        if too_many:
            reason = f"{MAX_RUNS} runs of this process are already measured"
            self._report_unmeasured(run_id, reason, "End runs that have finished")
            return
        self._sampler.put(partial(self._open, run_id))
        self._prober.put(lambda: None)  # its tick, which watches the sampler, follows each job

    def sample_extra(self, run_id: str) -> None:
        """Take a sample soon, because a context of the run starts or ends."""
        # A flag rather than a job per call: contexts may change thousands of times per second.
        due = time.monotonic() >= self._extra_from_s
        if run_id in self._open_ids and not self._extra_pending and due:
            self._extra_pending = True
            self._sampler.put(self._sample_extra)

    def finish(self, run_id: str, timeout_s: float = FINISH_TIMEOUT_S) -> None:
        """Take the run's last samples, within a time limit; nothing is written after it."""
        if run_id not in self._open_ids:
            return
        done = threading.Event()
        # Two jobs: a collector that hangs in the first one does not prevent the second.
        self._sampler.put(partial(self._sample_last, run_id))
        self._sampler.put(partial(self._close, run_id, done))
        in_time = False
        try:
            in_time = done.wait(timeout_s)
        finally:  # also on KeyboardInterrupt
            with self._lock:
                self._open_ids.discard(run_id)
        if not in_time:
            self._report_unfinished(run_id)

    def _report_unfinished(self, run_id: str) -> None:
        """Write the run's reports instead of the sampler thread, in which a collector hangs."""
        hanging, run = self._sampler.calling, self._runs.get(run_id)
        if run is None:
            reason = f"the run ended before the collector {hanging!r} answered"
            self._report_unmeasured(run_id, reason)
            return
        for name, quantities in list(run.collectors.items()):
            if name == hanging:
                quantities.add_problem("it did not answer when the run ended")
            self._output.write(run_id, CollectorStopped, name, quantities.report())

    def _report_unmeasured(self, run_id: str, reason: str, cure: str = "") -> None:
        facts = {"unavailable": reason, "cure": cure}
        self._output.write(run_id, events.FactsCollected, "sampler", facts)

    def wait(self, timeout_s: float) -> None:
        """Wait until all collectors are probed, within a time limit."""
        self._skip_delay.set()
        self._probed.wait(timeout_s)

    def release_in_child(self) -> None:
        """Close the parent's locks in a forked child, where the threads do not exist."""
        for run in self._runs.values():
            run.claims.close()

    # -- in the prober thread ----------------------------------------------------------

    def _probe(self, name: str) -> None:
        # Facts about a collector that hangs are written by the thread that takes over: _disable.
        try:
            collector, result = self._prober.call(name, partial(self._load, name))
        except CollectorError as error:
            self._output.warn(str(error))
            result = Unavailable(error.what, error.cure or "")
        except Exception as error:  # noqa: BLE001 - a collector may raise anything
            self._output.debug(error)
            result = Unavailable(f"it failed: {type(error).__name__}: {error}")
        if facts := contract.facts_of(result):
            self._output.add_facts(name, facts)
        if isinstance(result, Available) and result.quantities:
            active = _ActiveCollector(name, collector, result, self._context.interval_s)
            self._sampler.put(partial(self._activate, active))

    def _load(self, name: str) -> tuple[base.Collector, Available | Unavailable]:
        collector = catalog.load(name)(self._context)
        return collector, contract.validated_probe(collector.probe())

    def _watch(self) -> float | None:
        """Check the sampler thread while it works; it checks the prober in turn."""
        self._sampler.check()
        started = any(active.started for active in list(self._active.values()))
        busy = self._open_ids or started or self._sampler.calling
        return _WATCH_INTERVAL_S if busy else None

    # -- in the sampler thread ---------------------------------------------------------

    def _open(self, run_id: str) -> None:
        if run_id not in self._open_ids:  # it ended before its turn came
            return
        self._idle_since_s = None
        run = self._runs[run_id] = _MeasuredRun(self._output.claims(run_id))
        self._families.open(run_id)
        for active in list(self._active.values()):
            self._assign(run_id, run, active)
        self._sample_all()

    def _activate(self, active: _ActiveCollector) -> None:
        self._active[active.name] = active
        for run_id, run in list(self._runs.items()):
            self._assign(run_id, run, active)
        self._sample(active)

    def _assign(self, run_id: str, run: _MeasuredRun, active: _ActiveCollector) -> None:
        quantities = active.probe.quantities
        claims = run.claims.take(quantity.claim for quantity in quantities)
        positions = [i for i, quantity in enumerate(quantities) if quantity.claim in claims]
        if positions:
            run.collectors[active.name] = _RunQuantities(active, positions, active.cpu_s)
            started = contract.description(active.probe, positions, active.interval_s)
            self._write(run_id, events.CollectorStarted, active.name, started)

    def _write(self, run_id: str, cls: type[events.Event], *fields: Any) -> None:
        if run_id in self._open_ids:
            self._output.write(run_id, cls, *fields)

    def _sample_due(self) -> float | None:
        """Take the samples that are due; return the seconds until the next one."""
        self._prober.check()
        now_s = time.monotonic()
        if not self._runs:
            return self._stop_if_idle(now_s)
        for active in list(self._active.values()):
            if active.due_s <= now_s:
                self._sample(active)
        collectors = self._active.values()
        # Before that no context is worth waking this thread.
        self._extra_from_s = min((active.extra_from_s for active in collectors), default=math.inf)
        due_s = min((active.due_s for active in collectors), default=now_s + _WATCH_INTERVAL_S)
        return min(max(due_s - time.monotonic(), 0.0), _WATCH_INTERVAL_S)

    def _stop_if_idle(self, now_s: float) -> float | None:
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        if now_s - self._idle_since_s < IDLE_TIMEOUT_S:
            return IDLE_TIMEOUT_S
        for active in list(self._active.values()):
            if active.started:
                try:
                    self._sampler.call(active.name, active.collector.stop)
                except Exception as error:  # noqa: BLE001 - no run depends on it any more
                    self._output.debug(error)
                active.started = False
        return None

    def _sample_all(self) -> None:
        for active in list(self._active.values()):
            self._sample(active)

    def _sample_extra(self) -> None:
        self._extra_pending = False
        now_s = time.monotonic()
        for active in list(self._active.values()):
            if active.extra_from_s <= now_s:
                self._sample(active)

    def _sample(self, active: _ActiveCollector) -> None:
        """Take one sample for all runs that have quantities of this collector."""
        name, start_s = active.name, time.monotonic()
        runs = {
            key: run.collectors[name] for key, run in self._runs.items() if name in run.collectors
        }
        if runs:
            start_cpu_s = time.thread_time()
            try:
                values = self._sampler.call(name, partial(_read, active))
            except Exception as error:  # noqa: BLE001 - a collector may raise anything
                self._handle_error(active, runs.values(), error)
            else:
                self._adapt_interval(active, time.monotonic() - start_s)
                parts = active.division.divide(values, runs.keys(), self._families)
                for run_id, quantities in runs.items():
                    self._write_sample(run_id, quantities, parts[run_id])
            active.cpu_s += time.thread_time() - start_cpu_s
        active.last_s = start_s
        self._schedule(active, start_s)

    def _adapt_interval(self, active: _ActiveCollector, duration_s: float) -> None:
        # A collector gets at most a tenth of the sampler's time. Only two slow samples in a row
        # count: one may have waited for training code that held the GIL.
        usual_s = min(active.duration_s, duration_s)
        active.duration_s = duration_s
        active.interval_s = max(self._context.interval_s, min(10 * usual_s, _MAX_INTERVAL_S))

    def _write_sample(
        self, run_id: str, quantities: _RunQuantities, values: Sequence[float | None]
    ) -> None:
        if run_id not in self._open_ids:  # it ended during the sample
            return
        active, positions = quantities.active, quantities.positions
        own = [values[position] for position in positions]
        quantities.samples += 1
        self._write(run_id, events.Sampled, active.name, own)
        self._output.publish(run_id, [active.probe.quantities[i] for i in positions], own)

    def _handle_error(
        self, active: _ActiveCollector, runs: Iterable[_RunQuantities], error: Exception
    ) -> None:
        """Record an error of a collector, warn once, and sample it less often."""
        active.interval_s = min(2 * active.interval_s, _MAX_INTERVAL_S)
        reason = f"{type(error).__name__}: {error}"
        for quantities in runs:
            quantities.add_problem(reason)
        if not active.failed:
            active.failed = True
            self._output.warn(
                f"The collector {active.name!r} failed ({reason}). The run continues; its "
                "document lists what was not measured."
            )

    def _schedule(self, active: _ActiveCollector, start_s: float) -> None:
        # Whole intervals after the last planned time, so that delays do not add up to a drift.
        # Missed samples are skipped. After a pause of two intervals the schedule starts again.
        delay_s = time.monotonic() - active.due_s
        if not 0 <= delay_s < 2 * active.interval_s:
            active.due_s, delay_s = start_s, 0.0
        active.due_s += (math.floor(delay_s / active.interval_s) + 1) * active.interval_s

    def _sample_last(self, run_id: str) -> None:
        if run_id in self._open_ids and run_id in self._runs:
            self._sample_all()

    def _close(self, run_id: str, done: threading.Event) -> None:
        try:
            self._families.close(run_id)
            if (run := self._runs.pop(run_id, None)) is not None:
                for name, quantities in run.collectors.items():
                    self._write(run_id, CollectorStopped, name, quantities.report())
                run.claims.release()
        finally:
            done.set()

    def _disable(self, name: str) -> None:
        """Continue without a collector that hangs, in the thread that replaces the hanging one."""
        active = self._active.get(name)
        limit_s = PROBE_LIMIT_S if active is None else SAMPLE_LIMIT_S
        reason = f"it did not answer within {limit_s:g} s and was disabled"
        facts: dict[str, Json] = {"unavailable": reason, "cure": f"Exclude it with -{name}"}
        self._output.warn(
            f"The collector {name!r} did not answer within {limit_s:g} s and is disabled. The run "
            "continues."
        )
        if active is not None:
            for run_id, run in self._runs.items():
                if quantities := run.collectors.pop(name, None):
                    quantities.add_problem(reason)
                    self._write(run_id, CollectorStopped, name, quantities.report())
            del self._active[name]
            # Later runs lack its samples; these facts explain why in their documents.
            facts = {**contract.facts_of(active.probe), **facts}
        self._output.add_facts(name, facts)


def _read(active: _ActiveCollector) -> list[float | None]:
    if not active.started:
        active.collector.start()
        active.started = True
    return contract.validated_sample(active.collector.sample(), active.probe.quantities)
