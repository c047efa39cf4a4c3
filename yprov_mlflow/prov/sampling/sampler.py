"""Measuring: the collectors of a process at work for the runs that it has open.

Two threads do it, off the training's path. The prober asks each collector in turn what it
finds here. The sampler takes a sample of each that measures at fixed times, and at the end of
a run; what it reads goes to the journals at once, so it survives whatever ends the process. A
call that does not return costs the collector, not the run.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import (
    CollectorStarted,
    CollectorStopped,
    Event,
    FactsCollected,
    Json,
    Sampled,
)
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.sampling.claims import Claims
from yprov_mlflow.prov.sampling.contract import checked, description, facts_of, sound
from yprov_mlflow.prov.sampling.watchdog import SupervisedThread

CALM_S = 0.2
"""How long the collectors wait before they look around: ``start_run`` comes first."""

PROBE_LIMIT_S = 20.0
"""How long a collector may look around before it is given up."""

SAMPLE_LIMIT_S = 5.0
"""How long a sample may take before its collector is given up."""

END_PATIENCE_S = 1.0
"""How long the end of a run waits for its last samples."""

LINGER_S = 10.0
"""How long collectors stay ready after the last run, for the next one."""

MOST_RUNS = 32
"""Runs of one process that are measured at the same time; who opens more is no trainer."""

MOST_REASONS = 20
"""Different problems of a collector that a run keeps apart; more are counted together."""

_MOST_BACKOFF_S = 60.0
_WATCH_S = 2.0


class Output(Protocol):
    """Where what is found goes to."""

    def write(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Journal an event of a run."""

    def found(self, collector: str, facts: Mapping[str, Json]) -> None:
        """Take what a collector found out, for all runs."""

    def sampled(
        self, run_id: str, quantities: Sequence[Quantity], values: Sequence[float | None]
    ) -> None:
        """Take a sample that was journalled."""

    def complain(self, message: str) -> None:
        """Say something to the user, in the log."""

    def failed(self, error: Exception) -> None:
        """Take a fault of ours."""

    def claims(self, run_id: str) -> Claims:
        """Give what this process may measure of a run."""


@dataclasses.dataclass
class _Instrument:
    """A collector that measures: what it gives, when it is due, how it went."""

    name: str
    collector: Collector
    found: Available
    interval_s: float
    due_s: float = 0.0
    last_s: float = -math.inf
    took_s: float = 0.0
    running: bool = False
    cpu_s: float = 0.0
    failed: bool = False

    @property
    def marks_from_s(self) -> float:
        """When a context's bound is worth a sample again."""
        return self.last_s + self.interval_s / 2


@dataclasses.dataclass
class _Share:
    """What of a collector a run has: positions of quantities; and how it went during the run."""

    instrument: _Instrument
    positions: list[int]
    cpu_before_s: float
    samples: int = 0
    problems: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)

    def trouble(self, reason: str) -> None:
        """Note that something went wrong."""
        if reason not in self.problems and len(self.problems) >= MOST_REASONS:
            reason = "other problems"
        new = {"reason": reason, "count": 0, "time_ns": now_ns()}
        self.problems.setdefault(reason, new)["count"] += 1

    def report(self) -> dict[str, Json]:
        """Give the report of the event."""
        return {
            "samples": self.samples,
            "cpu_s": round(self.instrument.cpu_s - self.cpu_before_s, 6),
            "problems": list(self.problems.values()),
        }


class _OpenRun:
    """A run under measurement."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.shares: dict[str, _Share] = {}


class Sampler:
    """The collectors of one process; its methods return at once but for ``finish``."""

    def __init__(
        self, surroundings: CollectorContext, chosen: Sequence[str], output: Output
    ) -> None:
        self._surroundings = surroundings
        self._chosen = chosen
        self._output = output
        self._instruments: dict[str, _Instrument] = {}
        self._runs: dict[str, _OpenRun] = {}
        self._begun: set[str] = set()
        self._idle_since_s: float | None = None
        self._marked = False
        self._marks_from_s = 0.0
        self._hurried = threading.Event()
        self._probed = threading.Event()
        self._lock = threading.RLock()
        options: dict[str, Any] = {"on_hang": self._lost, "on_error": output.failed}
        self._prober = SupervisedThread("yprov-prober", PROBE_LIMIT_S, tick=self._watch, **options)
        self._sampler = SupervisedThread(
            "yprov-sampler", SAMPLE_LIMIT_S, tick=self._sample_due, **options
        )

    # -- from the training's threads ---------------------------------------------------

    def look(self) -> None:
        """Have all collectors probed; to be called once, before all else."""
        if not self._chosen:
            self._probed.set()
            return
        self._prober.put(self._keep_calm)
        for name in self._chosen:
            self._prober.put(functools.partial(self._probe, name))
        self._prober.put(self._probed.set)

    def begin(self, run_id: str) -> None:
        """Measure for a run from now on."""
        with self._lock:
            if not self._chosen or run_id in self._begun:
                return
            too_many = len(self._begun) >= MOST_RUNS
            if not too_many:
                self._begun.add(run_id)
        if too_many:
            reason = f"{MOST_RUNS} runs of this process were measured at the same time already"
            self._unmeasured(run_id, reason, "End runs that are over")
            return
        self._sampler.put(functools.partial(self._open, run_id))
        self._prober.put(_nothing)  # wakes the watch

    def mark(self, run_id: str) -> None:
        """Take a sample soon: a context of the run begins or ends."""
        if run_id in self._begun and not self._marked and time.monotonic() >= self._marks_from_s:
            self._marked = True
            self._sampler.put(self._sample_marked)

    def finish(self, run_id: str, patience_s: float = END_PATIENCE_S) -> None:
        """Take the run's last samples, within limits; nothing is written of it afterwards."""
        if run_id not in self._begun:
            return
        done = threading.Event()
        # Two jobs: a collector that keeps the first one for ever does not keep the second.
        self._sampler.put(functools.partial(self._sample_last, run_id))
        self._sampler.put(functools.partial(self._close, run_id, done))
        in_time = False
        try:
            in_time = done.wait(patience_s)
        finally:  # also when the user interrupts it
            with self._lock:
                self._begun.discard(run_id)
        if not in_time:
            self._leave(run_id)

    def _leave(self, run_id: str) -> None:
        """Report on a run that has ended in place of the sampler, which a collector keeps."""
        kept_by, run = self._sampler.calling, self._runs.get(run_id)
        if run is None:
            reason = f"the run was over before the collector {kept_by!r} gave an answer"
            self._unmeasured(run_id, reason)
            return
        for name, share in list(run.shares.items()):
            if name == kept_by:
                share.trouble("it did not answer when the run ended")
            self._output.write(run_id, CollectorStopped, name, share.report())

    def _unmeasured(self, run_id: str, reason: str, cure: str = "") -> None:
        facts = {"unavailable": reason, "cure": cure}
        self._output.write(run_id, FactsCollected, "sampler", facts)

    def wait(self, patience_s: float) -> None:
        """Wait until all collectors have said what they find, within limits."""
        self._hurried.set()
        self._probed.wait(patience_s)

    def forked(self) -> None:
        """In a child process: leave the locks to the parent."""
        for run in self._runs.values():
            run.claims.release()

    # -- in the prober's thread --------------------------------------------------------

    def _keep_calm(self) -> None:
        self._hurried.wait(CALM_S)

    def _probe(self, name: str) -> None:
        # The word for a collector that hangs comes from whoever takes over, see ``_lost``.
        try:
            collector, found = self._prober.call(name, functools.partial(self._look, name))
        except CollectorError as error:
            self._output.complain(str(error))
            found = Unavailable(error.what, error.cure or "")
        except Exception as error:  # noqa: BLE001 - a collector's fault ends nothing else
            self._output.failed(error)
            found = Unavailable(f"it failed: {type(error).__name__}: {error}")
        facts = facts_of(found)
        if facts:
            self._output.found(name, facts)
        if isinstance(found, Available) and found.quantities:
            instrument = _Instrument(name, collector, found, self._surroundings.interval_s)
            self._sampler.put(functools.partial(self._ready, instrument))

    def _look(self, name: str) -> tuple[Collector, Available | Unavailable]:
        collector = catalog.load(name)(self._surroundings)
        return collector, checked(collector.probe())

    def _watch(self) -> float | None:
        """See after the sampler while it is at work; it does so after the prober."""
        self._sampler.check()
        running = any(instrument.running for instrument in list(self._instruments.values()))
        return _WATCH_S if self._begun or running or self._sampler.calling else None

    # -- in the sampler's thread -------------------------------------------------------

    def _open(self, run_id: str) -> None:
        if run_id not in self._begun:  # it was over before its turn came
            return
        self._idle_since_s = None
        run = self._runs[run_id] = _OpenRun(self._output.claims(run_id))
        for instrument in list(self._instruments.values()):
            self._admit(run_id, run, instrument)
        self._sample_all()

    def _ready(self, instrument: _Instrument) -> None:
        self._instruments[instrument.name] = instrument
        for run_id, run in list(self._runs.items()):
            self._admit(run_id, run, instrument)
        self._sample(instrument)

    def _admit(self, run_id: str, run: _OpenRun, instrument: _Instrument) -> None:
        """Let a run have its share of what the collector measures."""
        quantities = instrument.found.quantities
        mine = run.claims.take(quantity.claim for quantity in quantities)
        positions = [i for i, quantity in enumerate(quantities) if quantity.claim in mine]
        if positions:
            run.shares[instrument.name] = _Share(instrument, positions, instrument.cpu_s)
            described = description(instrument.found, positions, instrument.interval_s)
            self._write(run_id, CollectorStarted, instrument.name, described)

    def _write(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        if run_id in self._begun:
            self._output.write(run_id, cls, *fields)

    def _sample_due(self) -> float | None:
        """Sample what is due; give the time until the next is."""
        self._prober.check()
        now = time.monotonic()
        if not self._runs:
            return self._idle(now)
        for instrument in list(self._instruments.values()):
            if instrument.due_s <= now:
                self._sample(instrument)
        instruments = self._instruments.values()
        # Until then no context's bound is worth waking this thread.
        self._marks_from_s = min((one.marks_from_s for one in instruments), default=math.inf)
        wait_s = min((one.due_s for one in instruments), default=now + _WATCH_S) - time.monotonic()
        return min(max(wait_s, 0.0), _WATCH_S)

    def _idle(self, now: float) -> float | None:
        """Stop the collectors some time after the last run."""
        if self._idle_since_s is None:
            self._idle_since_s = now
        if now - self._idle_since_s < LINGER_S:
            return LINGER_S
        for instrument in list(self._instruments.values()):
            if instrument.running:
                try:
                    self._sampler.call(instrument.name, instrument.collector.stop)
                except Exception as error:  # noqa: BLE001 - it has done its work
                    self._output.failed(error)
                instrument.running = False
        return None

    def _sample_all(self) -> None:
        for instrument in list(self._instruments.values()):
            self._sample(instrument)

    def _sample_marked(self) -> None:
        """Sample for a context's bound, but never much more often than without contexts."""
        self._marked = False
        now = time.monotonic()
        for instrument in list(self._instruments.values()):
            if instrument.marks_from_s <= now:
                self._sample(instrument)

    def _sample(self, instrument: _Instrument) -> None:
        """Take one sample for all runs that have a share in it."""
        name, began = instrument.name, time.monotonic()
        sharing = {key: run.shares[name] for key, run in self._runs.items() if name in run.shares}
        if sharing:
            cpu_s = time.thread_time()
            try:
                values = self._sampler.call(name, functools.partial(_read, instrument))
            except Exception as error:  # noqa: BLE001 - a collector's sample may fail
                self._fault(instrument, sharing.values(), error)
            else:
                # It never has more than a tenth of the sampler's time. One slow sample may only
                # have waited for a training that kept the interpreter's lock.
                before_s, instrument.took_s = instrument.took_s, time.monotonic() - began
                slow_s = 10 * min(before_s, instrument.took_s)
                usual_s = self._surroundings.interval_s
                instrument.interval_s = max(usual_s, min(slow_s, _MOST_BACKOFF_S))
                for run_id, share in sharing.items():
                    self._hand_out(run_id, share, instrument, values)
            instrument.cpu_s += time.thread_time() - cpu_s
        instrument.last_s = began
        self._plan(instrument, began)

    def _hand_out(
        self,
        run_id: str,
        share: _Share,
        instrument: _Instrument,
        values: Sequence[float | None],
    ) -> None:
        if run_id not in self._begun:  # it ended while this was read
            return
        mine = [values[position] for position in share.positions]
        share.samples += 1
        self._write(run_id, Sampled, instrument.name, mine)
        quantities = [instrument.found.quantities[position] for position in share.positions]
        self._output.sampled(run_id, quantities, mine)

    def _fault(self, instrument: _Instrument, shares: Iterable[_Share], error: Exception) -> None:
        """Note what a collector raised, say it once, and ask it less and less often."""
        instrument.interval_s = min(2 * instrument.interval_s, _MOST_BACKOFF_S)
        reason = f"{type(error).__name__}: {error}"
        for share in shares:
            share.trouble(reason)
        if not instrument.failed:
            instrument.failed = True
            self._output.complain(
                f"The collector {instrument.name!r} failed ({reason}). The run goes on; its "
                "document says what was not measured."
            )

    def _plan(self, instrument: _Instrument, began: float) -> None:
        """Set the next time: whole intervals after the last planned one, none made up for."""
        behind_s = time.monotonic() - instrument.due_s
        if not 0 <= behind_s < 2 * instrument.interval_s:  # the first time, or after a pause
            instrument.due_s, behind_s = began, 0.0
        instrument.due_s += (math.floor(behind_s / instrument.interval_s) + 1) * (
            instrument.interval_s
        )

    def _sample_last(self, run_id: str) -> None:
        if run_id in self._begun and run_id in self._runs:
            self._sample_all()

    def _close(self, run_id: str, done: threading.Event) -> None:
        try:
            run = self._runs.pop(run_id, None)
            if run is not None:
                for name, share in run.shares.items():
                    self._write(run_id, CollectorStopped, name, share.report())
                run.claims.release()
        finally:
            done.set()

    def _lost(self, name: str) -> None:
        """Take over from a thread that a collector keeps: go on without that one."""
        instrument = self._instruments.get(name)
        limit_s = PROBE_LIMIT_S if instrument is None else SAMPLE_LIMIT_S
        reason = f"it did not answer within {limit_s:g} s and was given up"
        self._output.complain(f"The collector {name!r} is not used any more: {reason}.")
        if instrument is None:
            self._output.found(name, {"unavailable": reason, "cure": f"Choose -{name}"})
            return
        for run_id, run in self._runs.items():
            if name in run.shares:
                share = run.shares.pop(name)
                share.trouble(reason)
                self._write(run_id, CollectorStopped, name, share.report())
        del self._instruments[name]
        # Runs to come have no samples of it, and their documents say why.
        facts = {**facts_of(instrument.found), "unavailable": reason, "cure": f"Choose -{name}"}
        self._output.found(name, facts)


def _read(instrument: _Instrument) -> list[float | None]:
    """Take a sample of a collector, starting it first if need be."""
    if not instrument.running:
        instrument.collector.start()
        instrument.running = True
    return sound(instrument.collector.sample(), instrument.found.quantities)


def _nothing() -> None:
    """Wake a lane."""
