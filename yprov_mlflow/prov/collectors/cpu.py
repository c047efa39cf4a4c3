"""Energy of processors and memory: from RAPL counters, otherwise estimated from CPU time."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from functools import partial

from yprov_mlflow.prov.collectors import container
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Device,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.collectors.counters import EnergyShare, MonotonicTotal, Rate
from yprov_mlflow.prov.collectors.system import cgroups, node, powercap, processes
from yprov_mlflow.prov.events import Json

# codecarbon's value per logical processor of an unknown model.
_W_PER_PROCESSOR = 4.0

# Power at which a counter must not overflow twice between two samples.
_OVERFLOW_W = 1000.0

_UNMASK = (
    "Start the container with `--security-opt systempaths=unconfined` (Docker) or"
    " `--security-opt unmask=/sys/devices/virtual/powercap` (Podman)."
)
_LOAD = "Load the kernel module with `sudo modprobe intel_rapl_msr` if the processor has RAPL."
_TDP = "Set YPROV_MLFLOW_CPU_TDP to the processors' thermal design power for a better estimate."

_RAPL = (
    "Energy is the growth of the kernel's RAPL counters (powercap), corrected for overflows; power"
    " is that growth divided by the time between two samples. Packages and DRAM add up; core and"
    " uncore are parts of a package, and psys contains the packages."
)
_ESTIMATE = (
    "Energy is estimated, not measured: the node's busy CPU seconds times {watts:.4g} W for each"
    " of its {count} logical processors, {origin}. Idle processors and memory are not included."
)
_SHARE = (
    " The share of this process and its children is their part of the node's busy CPU seconds"
    " applied to the energy of its processors."
)

_energy = partial(Quantity, "energy", "J", "ElectricEnergy", cumulative=True)
_power = partial(Quantity, "power", "W", "ElectricPower")


class Cpu(Collector):
    """Energy and power of each processor package and its memory, and the process's share."""

    name = "cpu"

    def __init__(self, context: CollectorContext) -> None:
        super().__init__(context)
        self._counters: list[powercap.ZoneCounter] = []
        self._watts: float | None = None  # per busy processor; None if energy is measured

    def probe(self) -> Available | Unavailable:
        """Detect readable RAPL counters, otherwise the CPU times for an estimate."""
        zones = powercap.zones(self.context.root)
        obstacles = {zone.id: zone.obstacle() for zone in zones}
        readable = [zone for zone in zones if obstacles[zone.id] is None]
        measured = any(zone.kind == "package" for zone in readable)
        self._has_times = node.cpu_times() is not None
        if not measured and not self._has_times:
            return Unavailable("neither energy counters nor CPU times can be read")
        missing = [reason for reason in obstacles.values() if reason is not None]
        missing += self._missing(zones, readable)
        if not self._has_times:
            missing.append(Unavailable("the CPU times cannot be read", what="share of the process"))
        self._counters = [powercap.ZoneCounter(zone) for zone in readable]
        count = node.cpu_count()
        facts: dict[str, Json] = {"source": "RAPL" if measured else "estimate", "cpu_count": count}
        if measured:
            self._watts, procedure = None, _RAPL
        else:
            tdp_w = self.context.cpu_tdp_w
            self._watts = tdp_w / count if tdp_w else _W_PER_PROCESSOR
            facts["watts_per_processor"] = self._watts
            procedure = _ESTIMATE.format(
                watts=self._watts, count=count, origin=_origin(tdp_w, count)
            )
        return Available(
            facts,
            list(self._quantities()),
            [
                Device(zone.id, zone.label, {"zone": zone.path.name, "range_j": zone.range_j})
                for zone in readable
            ],
            procedure=procedure + (_SHARE if self._has_times else "") + self._coverage(count),
            missing=missing,
        )

    def _missing(
        self, zones: Sequence[powercap.Zone], readable: Sequence[powercap.Zone]
    ) -> Iterator[Unavailable]:
        if not zones:
            yield self._no_counters()
        if not any(zone.kind == "dram" for zone in zones):
            yield Unavailable("there is no RAPL counter for memory", what="memory")
        for zone in readable:
            longest_s = zone.range_j / _OVERFLOW_W
            if 0 < longest_s < self.context.interval_s:
                yield Unavailable(
                    "its counter may overflow more than once between two samples, every"
                    f" {zone.range_j:.0f} J",
                    f"Set YPROV_MLFLOW_INTERVAL to {int(longest_s)} s or less.",
                    zone.id,
                )

    def _no_counters(self) -> Unavailable:
        root, environ = self.context.root, self.context.environ
        missing = partial(Unavailable, what="energy counters")
        if powercap.is_hidden(root):
            return missing("the container hides the RAPL counters", _UNMASK)
        if node.is_virtual_machine(root):
            return missing("a virtual machine has no RAPL counters", _TDP)
        if container.kind(root, environ) and not (root / "sys/class").is_dir():
            return missing("the container has no /sys", "Mount the host's /sys in the container.")
        x86 = platform.system() == "Linux" and platform.machine() in ("x86_64", "i686")
        return missing(
            "there are no RAPL counters in /sys/class/powercap", f"{_LOAD} {_TDP}" if x86 else _TDP
        )

    def _coverage(self, count: int) -> str:
        """Return what the node's numbers cover if the process may use only a part of the node."""
        allowed = cgroups.cpu_allowance(self.context.root, count)
        if allowed is None or allowed >= count:
            return ""
        return (
            f" The control group allows {allowed:.4g} of the node's {count} processors to"
            " this process; the energy of the node covers all of them, including other users'."
        )

    def _quantities(self) -> Iterator[Quantity]:
        for zone in (counter.zone for counter in self._counters):
            yield _energy(
                "device",
                "measured",
                zone.id,
                component=zone.component,
                claim="node",
                system_metric=f"{zone.metric}_energy_joules",
            )
            power_metric = f"{zone.metric}_power_watts"
            yield _power("device", "measured", zone.id, claim="node", system_metric=power_metric)
        if self._watts is not None:
            yield _energy(
                "node",
                "estimated",
                component="cpu",
                claim="node",
                system_metric="cpu_energy_joules",
            )
            yield _power("node", "estimated", claim="node", system_metric="cpu_power_watts")
        if self._has_times:
            yield _energy("process", "estimated", system_metric="process_cpu_energy_joules")

    def start(self) -> None:
        """Reset all energies to 0."""
        for counter in self._counters:
            counter.start()
        self._busy_s = MonotonicTotal()
        self._own_s = MonotonicTotal()
        self._share = EnergyShare()
        self._power = Rate()
        self.sample()

    def sample(self) -> Sequence[float | None]:
        """Return energy and power of each zone or of the estimate, then the process's share."""
        values: list[float | None] = []
        for counter in self._counters:
            values += counter.read()
        if not self._has_times:
            return values
        times = node.cpu_times()
        busy_s = self._busy_s.update(times and times.busy_s)
        own_s = self._own_s.update(processes.shared_tree(self.context.root).read().cpu_s)
        if busy_s is None or own_s is None:
            return [*values, *([None] * (1 if self._watts is None else 3))]
        if self._watts is None:
            # A counter that cannot be read now contributes its last total.
            packages = (c for c in self._counters if c.zone.component == "cpu")
            cpu_j = sum(counter.total_j for counter in packages)
        else:
            cpu_j = busy_s * self._watts
            values += (cpu_j, self._power.update(cpu_j, time.monotonic()))
        values.append(self._share.update(cpu_j, busy_s, own_s))
        return values


def _origin(tdp_w: float | None, count: int) -> str:
    if tdp_w:
        return f"which is {tdp_w:.4g} W of thermal design power divided by {count}"
    return "codecarbon's value for unknown processors"
