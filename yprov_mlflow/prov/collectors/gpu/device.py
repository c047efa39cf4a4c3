"""What collectors of GPUs share: how a vendor's library is sampled, and when a GPU is lost.

A gauge is one call of the library. The probe finds out which gauges a GPU has; a gauge that
fails later gives None for that sample; a GPU of which nothing can be read is told of once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Device,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.collectors.counters import MOST_W, SPANS, Counter, Integral
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import Json

COUNTER = "energy_counter"
"""Name of the reading that energy comes from; it is no quantity itself."""


class Reading(NamedTuple):
    """What is known of a reading; one above ``most`` or below 0 is nonsense and thus None."""

    unit: str
    kind: str
    most: float
    system_metric: str
    scale: float = 1.0


_PERCENT = ("PERCENT", "DimensionlessRatio", 100.0)

READINGS: Mapping[str, Reading] = {
    "power": Reading("W", "ElectricPower", MOST_W, "power_usage_watts"),
    "utilization": Reading(*_PERCENT, "utilization_percentage"),
    "memory_utilization": Reading(*_PERCENT, "memory_utilization_percentage"),
    "memory_used": Reading("BYTE", "InformationEntropy", 1e14, "memory_usage_megabytes", 1e-6),
    "temperature": Reading("DEG_C", "Temperature", 200.0, "temperature_celsius"),
    "sm_clock": Reading("MegaHZ", "Frequency", 20_000.0, "sm_clock_megahertz"),
    "memory_clock": Reading("MegaHZ", "Frequency", 20_000.0, "memory_clock_megahertz"),
    "throttled": Reading(*_PERCENT, "throttled_percentage"),
    "throttled_thermal": Reading(*_PERCENT, "throttled_thermal_percentage"),
    "power_limit": Reading("W", "ElectricPower", MOST_W, "power_limit_watts"),
}
"""All readings but energy, in the order of a GPU's quantities."""

_NEVER_ZERO = frozenset({COUNTER, "power"})
"""A GPU that answers takes power: where it is not known, some drivers say 0."""


class Gauge(NamedTuple):
    """One call of a vendor's library: the readings it gives, and how, from a handle."""

    readings: tuple[str, ...]
    read: Callable[[Any], tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or an instance in one, that is to be sampled.

    Args:
        id: The device's id.
        key: What its handle is found by, and what no two processes measure both.
        label: Its product name.
        facts: What does not change.
        gauges: What can be read of it.
        unit_j: What one count of its energy counter is worth.
    """

    id: str
    key: str
    label: str
    facts: Mapping[str, Json]
    gauges: Sequence[Gauge] = ()
    unit_j: float = 0.001

    def readings(self) -> set[str]:
        """Give the names of what can be read."""
        return {reading for gauge in self.gauges for reading in gauge.readings}

    def quantities(self) -> list[Quantity]:
        """Give its quantities: energy where there is a counter or power, then all else."""
        own = self.readings()
        metric = self.id.replace("gpu", "gpu_", 1).replace("-mig", "_mig_")
        found = [
            Quantity(
                name,
                each.unit,
                each.kind,
                "device",
                "measured",
                device=self.id,
                claim=self.key,
                system_metric=f"{metric}_{each.system_metric}",
                scale=each.scale,
            )
            for name, each in READINGS.items()
            if name in own
        ]
        if own & {COUNTER, "power"}:
            energy = Quantity(
                "energy",
                "J",
                "ElectricEnergy",
                "device",
                "measured",
                device=self.id,
                cumulative=True,
                component="gpu",
                claim=self.key,
                system_metric=f"{metric}_energy_joules",
            )
            found.insert(0, energy)
        return found


@dataclass(slots=True)
class _Meter:
    """A GPU while it is sampled.

    ``energy_j`` is what was given last; ``silent`` says why nothing was read, "" if something
    was; ``told`` whether that was said.
    """

    gpu: Gpu
    handle: Any
    names: Sequence[str] = ()
    energy_j: float | None = None
    silent: str = ""
    told: bool = False
    energy: Counter | Integral = field(default_factory=Integral)

    def __post_init__(self) -> None:
        self.names = [quantity.name for quantity in self.gpu.quantities()]
        if COUNTER in self.gpu.readings():
            self.energy = Counter(self.gpu.unit_j)

    def values(self, found: Mapping[str, float | None], time_s: float) -> list[float | None]:
        """Give the value of each quantity from what was read."""
        sane = {name: sensible(name, value) for name, value in found.items()}
        source = COUNTER if isinstance(self.energy, Counter) else "power"
        total_j = self.energy.add(sane.get(source), time_s)
        # A counter that stands still was not refreshed yet, or never is: that is no energy of 0.
        sane["energy"] = None if total_j == self.energy_j else total_j
        self.energy_j = self.energy_j if total_j is None else total_j
        return [sane.get(name) for name in self.names]


def sensible(name: str, value: float | None) -> float | None:
    """Give the value of a reading, None for one that cannot be."""
    if value is None or value < 0 or (value == 0 and name in _NEVER_ZERO):
        return None
    if name == COUNTER:
        return None if value + 1 in SPANS else value
    return float(value) if value <= READINGS[name].most else None


def known(facts: Mapping[str, Json]) -> dict[str, Json]:
    """Give the facts that are known, those that are not None."""
    return {name: value for name, value in facts.items() if value is not None}


class Gpus(Collector):
    """Base of the collectors of GPUs; its ``probe`` fills ``found``, ``missing`` and ``errors``.

    A GPU that nobody uses may take seconds to wake. So a probe may leave the library open, as
    ``held`` says, until ``start`` has opened it as well.
    """

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self.found: list[Gpu] = []
        self.missing: list[Unavailable] = []
        self.errors: tuple[type[Exception], ...] = ()
        self.held = False
        self._meters: list[_Meter] = []

    @abstractmethod
    def open(self) -> None:
        """Begin to use the vendor's library."""

    @abstractmethod
    def close(self) -> None:
        """End the use that ``open`` began."""

    @abstractmethod
    def handle(self, key: str) -> Any:
        """Find the handle of a device."""

    @abstractmethod
    def is_closed(self, error: Exception) -> bool:
        """Say whether someone else in this process closed the library, or handles are stale."""

    def reason(self, error: Exception) -> str:
        """Say in words why a gauge gives nothing."""
        return str(error)

    def gauges(
        self, device: str, handle: Any, calls: Iterable[tuple[tuple[str, ...], Sequence[Gauge]]]
    ) -> list[Gauge]:
        """Find out what can be read of a device, and note what cannot.

        Args:
            device: Its id.
            handle: Its handle.
            calls: Readings, and the gauges that may give them; the first that does is taken.
        """
        found = []
        for readings, candidates in calls:
            reason = "the vendor's library does not offer it"
            for gauge in candidates:
                try:
                    values = gauge.read(handle)
                except self.errors as error:
                    reason = self.reason(error)
                    continue
                if any(each is not None for each in map(sensible, readings, values)):
                    found.append(gauge)
                    break
                reason = "what is read makes no sense"
            else:
                if readings == (COUNTER,):
                    reason = f"{reason}; energy is power integrated between samples, if any"
                self.missing.append(Unavailable(reason, "", f"{device} {', '.join(readings)}"))
        return found

    def available(
        self, facts: Mapping[str, Json], *, agent: str, version: str, procedure: str
    ) -> Available:
        """Say what the probe found."""
        return Available(
            facts=known(facts),
            quantities=[quantity for gpu in self.found for quantity in gpu.quantities()],
            devices=[Device(gpu.id, gpu.label, known(gpu.facts)) for gpu in self.found],
            agent=agent,
            version=version,
            procedure=procedure,
            missing=self.missing,
        )

    def fact(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Give what a function of the library returns, None if it fails."""
        try:
            return function(*arguments)
        except self.errors:
            return None

    def start(self) -> None:
        """Open the library, find the devices, and begin the totals."""
        self.open()
        self._meters = [_Meter(gpu, self.fact(self.handle, gpu.key)) for gpu in self.found]
        if self.held:
            self.held = False
            self.close()
        self._read_all()
        for meter in self._meters:
            meter.energy_j = None

    def sample(self) -> Sequence[float | None]:
        """Read all GPUs.

        Raises:
            CollectorError: Nothing can be read of some of them; said once of each, otherwise
                their values are None.
        """
        values = self._read_all()
        silent = [meter for meter in self._meters if meter.silent and not meter.told]
        for meter in silent:
            meter.told = True
        if silent:
            ids = ", ".join(meter.gpu.id for meter in silent)
            raise CollectorError(
                f"the collector {self.name!r} can read nothing of {ids}",
                "; ".join(dict.fromkeys(meter.silent for meter in silent)),
                "See the kernel's log; a GPU that fell off the bus needs a reset or a reboot",
            )
        return values

    def stop(self) -> None:
        """Give the library back."""
        self._meters = []
        self.close()

    def _read_all(self) -> list[float | None]:
        return [value for meter in self._meters for value in self._read(meter)]

    def _read(self, meter: _Meter) -> list[float | None]:
        found: dict[str, float | None] = {}
        reason = "it is not there"
        for gauge in meter.gpu.gauges:
            if not meter.handle:
                break
            try:
                readings = self._ask(meter, gauge)
            except self.errors as error:
                reason = self.reason(error)
            else:
                found.update(zip(gauge.readings, readings, strict=True))
        meter.silent = "" if found or not meter.gpu.gauges else reason
        return meter.values(found, monotonic())

    def _ask(self, meter: _Meter, gauge: Gauge) -> tuple[float | None, ...]:
        try:
            return gauge.read(meter.handle)
        except self.errors as error:
            if not self.is_closed(error):
                raise
            self.open()
            for each in self._meters:
                each.handle = self.fact(self.handle, each.gpu.key)
            if not meter.handle:
                raise
        return gauge.read(meter.handle)
