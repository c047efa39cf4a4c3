"""Common parts of GPU collectors: sampling a vendor's library, and detecting a lost GPU."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

from yprov_mlflow.prov.collectors import base, counters
from yprov_mlflow.prov.collectors.base import Quantity, Unavailable
from yprov_mlflow.prov.collectors.counters import MAX_POWER_W
from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import Json

COUNTER = "energy_counter"
"""Name of the reading that energy is computed from; not a quantity itself."""


class Reading(NamedTuple):
    """Properties of a reading; a value below 0 or above ``maximum`` is invalid."""

    unit: str
    kind: str
    maximum: float
    system_metric: str
    scale: float = 1.0


_PERCENT = ("PERCENT", "DimensionlessRatio", 100.0)

READINGS: Mapping[str, Reading] = {
    "power": Reading("W", "ElectricPower", MAX_POWER_W, "power_usage_watts"),
    "utilization": Reading(*_PERCENT, "utilization_percentage"),
    "memory_utilization": Reading(*_PERCENT, "memory_utilization_percentage"),
    "memory_used": Reading("BYTE", "InformationEntropy", 1e14, "memory_usage_megabytes", 1e-6),
    "temperature": Reading("DEG_C", "Temperature", 200.0, "temperature_celsius"),
    "sm_clock": Reading("MegaHZ", "Frequency", 20_000.0, "sm_clock_megahertz"),
    "memory_clock": Reading("MegaHZ", "Frequency", 20_000.0, "memory_clock_megahertz"),
    "throttled": Reading(*_PERCENT, "throttled_percentage"),
    "throttled_thermal": Reading(*_PERCENT, "throttled_thermal_percentage"),
    "power_limit": Reading("W", "ElectricPower", MAX_POWER_W, "power_limit_watts"),
}
"""All readings except energy, in the order of a GPU's quantities."""

# NVML samples the use by processes every second or so, and returns nothing in between.
_USE_INTERVAL_S = 2.0

# A working GPU draws power: some drivers report 0 if they do not know it.
_NEVER_ZERO = frozenset({COUNTER, "power"})


class Gauge(NamedTuple):
    """One call of a vendor's library: the readings it returns, and the function of a handle."""

    readings: tuple[str, ...]
    read: Callable[[Any], tuple[float | None, ...]]


class Use(NamedTuple):
    """How much a process used a GPU in the last moments; ``time`` is the library's own."""

    pid: int
    percent: float
    time: int


ReadUse: TypeAlias = Callable[[Any, int], Sequence[Use]]
"""Returns the use of a GPU by each process since a time; takes the GPU's handle and that time."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or an instance of one, to be sampled."""

    id: str
    key: str  # UUID, which finds its handle and is the claim of its quantities
    label: str
    facts: Mapping[str, Json]
    gauges: Sequence[Gauge]  # the calls that work on it
    unit_j: float = 0.001  # joules per count of its energy counter
    read_use: ReadUse | None = None  # None if the use by each process is unknown

    def readings(self) -> set[str]:
        """Return the names of all its readings."""
        return {reading for gauge in self.gauges for reading in gauge.readings}

    def quantities(self) -> list[Quantity]:
        """Return its quantities: energy if it has a counter or power, then all readings."""
        names = self.readings()
        prefix = self.id.replace("gpu", "gpu_", 1).replace("-mig", "_mig_")
        quantities = [
            Quantity(
                *(name, reading.unit, reading.kind, "device", "measured", self.id),
                claim=self.key,
                system_metric=f"{prefix}_{reading.system_metric}",
                scale=reading.scale,
            )
            for name, reading in READINGS.items()
            if name in names
        ]
        if names & {COUNTER, "power"}:
            total = partial(base.energy, "device", "measured", self.id, component="gpu")
            metric = f"{prefix}_energy_joules"
            quantities.insert(0, total(claim=self.key, system_metric=metric))
            if self.read_use is not None:
                own = partial(base.energy, "process", "estimated", self.id, share_of="gpu")
                quantities.append(own(system_metric=f"{prefix}_process_energy_joules"))
        return quantities


class _Meter:
    """State of a GPU while it is sampled."""

    def __init__(self, gpu: Gpu, handle: Any) -> None:
        self.gpu = gpu
        self.handle = handle
        self.energy_j: float | None = None  # the last total that was returned
        self.failure = ""  # why nothing could be read; "" after a successful reading
        self.reported = False  # whether that failure was raised
        # The share of the process has the same name as the energy, and comes last.
        quantities = gpu.quantities()
        self._names = [quantity.name for quantity in quantities if not quantity.share_of]
        self.has_share = len(self._names) < len(quantities)
        self._share_j, self._shared_j = 0.0, 0.0  # of the process; the total when it last grew
        self._use_time = 0
        self._used_s = -math.inf  # when the last use by a process was read
        self._source = COUNTER if COUNTER in gpu.readings() else "power"
        self._energy = (
            counters.EnergyCounter(gpu.unit_j)
            if self._source == COUNTER
            else counters.PowerIntegral()
        )

    def values(self, readings: Mapping[str, float | None], time_s: float) -> list[float | None]:
        """Return the value of each quantity."""
        valid = {name: validated(name, value) for name, value in readings.items()}
        total_j = self._energy.add(valid.get(self._source), time_s)
        # An unchanged counter was not refreshed yet, or never is: that is not an energy of 0.
        valid["energy"] = None if total_j == self.energy_j else total_j
        self.energy_j = self.energy_j if total_j is None else total_j
        return [valid.get(name) for name in self._names]

    def share(
        self, own_pids: Collection[int], errors: tuple[type[Exception], ...], time_s: float
    ) -> float | None:
        """Return the joules of some processes since the start; None if their use is unknown.

        They are the growth of the energy times the processes' part of the GPU's time. Idle time
        belongs to the hardware. Where processes use the GPU at the same time, their parts are
        scaled down.
        """
        read_use = self.gpu.read_use
        if read_use is None or self.energy_j is None or not self.handle:
            return None
        try:
            uses = read_use(self.handle, self._use_time)
        except errors:
            return None
        if uses:
            self._use_time, self._used_s = max(use.time for use in uses), time_s
        elif time_s - self._used_s < _USE_INTERVAL_S:
            return self._share_j  # the next use divides this growth, too
        samples: dict[int, list[float]] = {}
        for use in uses:
            samples.setdefault(use.pid, []).append(use.percent)
        means = {pid: sum(percents) / len(percents) for pid, percents in samples.items()}
        own = sum(percent for pid, percent in means.items() if pid in own_pids)
        growth_j = max(self.energy_j - self._shared_j, 0.0)
        self._share_j += growth_j * own / max(100.0, sum(means.values()))
        self._shared_j = self.energy_j
        return self._share_j


def validated(name: str, value: float | None) -> float | None:
    """Return the value of a reading; None if it is impossible."""
    if value is None or value < 0 or (value == 0 and name in _NEVER_ZERO):
        return None
    if name == COUNTER:
        return (
            None if value + 1 in counters.COUNTER_RANGES else value
        )  # all bits set: not supported
    return float(value) if value <= READINGS[name].maximum else None


def without_none(facts: Mapping[str, Json]) -> dict[str, Json]:
    """Return the facts that are not None."""
    return {name: value for name, value in facts.items() if value is not None}


class GpuCollector(base.Collector):
    """Base class of GPU collectors; ``probe`` must set ``gpus``, ``missing`` and ``errors``.

    Waking an idle GPU may take seconds. ``probe`` may therefore keep the library open and set
    ``keep_open``, until ``start`` has opened it too.
    """

    def __init__(self, context: base.CollectorContext) -> None:
        super().__init__(context)
        self.gpus: list[Gpu] = []
        self.missing: list[Unavailable] = []
        self.errors: tuple[type[Exception], ...] = ()
        self.keep_open = False
        self._meters: list[_Meter] = []

    @abstractmethod
    def open(self) -> None:
        """Initialize the vendor's library."""

    @abstractmethod
    def close(self) -> None:
        """Release the vendor's library."""

    @abstractmethod
    def handle(self, key: str) -> Any:
        """Return the handle of a device."""

    @abstractmethod
    def is_closed(self, error: Exception) -> bool:
        """Return whether other code in this process closed the library or made handles stale."""

    @abstractmethod
    def reason(self, error: Exception) -> str:
        """Return why a gauge failed."""

    def working_gauges(
        self, device: str, handle: Any, calls: Iterable[tuple[tuple[str, ...], Sequence[Gauge]]]
    ) -> list[Gauge]:
        """Return the gauges that work on a device, and add the others to ``missing``.

        ``calls`` are readings with alternative gauges for them; the first that works is used.
        """
        gauges = []
        for readings, candidates in calls:
            reason = "the vendor's library does not offer it"
            for gauge in candidates:
                try:
                    values = gauge.read(handle)
                except self.errors as error:
                    reason = self.reason(error)
                    continue
                if any(value is not None for value in map(validated, readings, values)):
                    gauges.append(gauge)
                    break
                reason = "the reading is invalid"
            else:
                if readings == (COUNTER,):
                    reason += "; energy is integrated from power between samples, if available"
                self.missing.append(Unavailable(reason, "", f"{device} {', '.join(readings)}"))
        return gauges

    def available(
        self, facts: Mapping[str, Json], *, agent: str, version: str, procedure: str
    ) -> base.Available:
        """Return the result of the probe."""
        return base.Available(
            without_none(facts),
            [quantity for gpu in self.gpus for quantity in gpu.quantities()],
            [base.Device(gpu.id, gpu.label, without_none(gpu.facts)) for gpu in self.gpus],
            *(agent, version, procedure, self.missing),
        )

    def fact(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function of the library; None if it fails."""
        try:
            return function(*arguments)
        except self.errors:
            return None

    def start(self) -> None:
        """Open the library, look up the devices, and reset the totals to 0."""
        self.open()
        self._meters = [_Meter(gpu, self.fact(self.handle, gpu.key)) for gpu in self.gpus]
        if self.keep_open:
            self.keep_open = False
            self.close()
        self._read_all()
        for meter in self._meters:
            meter.energy_j = None

    def sample(self) -> Sequence[float | None]:
        """Read all GPUs.

        Raises:
            CollectorError: Nothing can be read from some of them. Raised once per GPU, then its
                values are None.
        """
        values = self._read_all()
        failed = [meter for meter in self._meters if meter.failure and not meter.reported]
        if failed:
            for meter in failed:
                meter.reported = True
            ids = ", ".join(meter.gpu.id for meter in failed)
            raise CollectorError(
                f"the collector {self.name!r} can read nothing from {ids}",
                "; ".join(dict.fromkeys(meter.failure for meter in failed)),
                "See the kernel's log; a GPU that fell off the bus needs a reset or a reboot",
            )
        return values

    def stop(self) -> None:
        """Release the library."""
        self._meters = []
        self.close()

    def _read_all(self) -> list[float | None]:
        shared = any(meter.has_share for meter in self._meters)
        pids = self._own_pids() if shared else set()
        values: list[float | None] = []
        for meter in self._meters:
            values += self._read(meter)
            if meter.has_share:
                values.append(meter.share(pids, self.errors, monotonic()))
        return values

    def _own_pids(self) -> set[int]:
        tree = processes.shared_tree(self.context.root)
        tree.read()
        return tree.pids() - self.context.children_pids()

    def _read(self, meter: _Meter) -> list[float | None]:
        readings: dict[str, float | None] = {}
        reason = "the device is gone"
        for gauge in meter.gpu.gauges:
            if not meter.handle:
                break
            try:
                values = self._call(meter, gauge)
            except self.errors as error:
                reason = self.reason(error)
            else:
                readings.update(zip(gauge.readings, values, strict=True))
        # A GPU without any working gauge is listed in ``missing``; it is not lost.
        meter.failure = "" if readings or not meter.gpu.gauges else reason
        return meter.values(readings, monotonic())

    def _call(self, meter: _Meter, gauge: Gauge) -> tuple[float | None, ...]:
        try:
            return gauge.read(meter.handle)
        except self.errors as error:
            if not self.is_closed(error):
                raise
            self.open()
            for other in self._meters:
                other.handle = self.fact(self.handle, other.gpu.key)
            if not meter.handle:
                raise
        return gauge.read(meter.handle)
