"""Energy of processors and memory: from RAPL counters, otherwise estimated from CPU time."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from functools import partial

from yprov_mlflow.prov.collectors import base, container, design_power
from yprov_mlflow.prov.collectors.base import Available, Unavailable
from yprov_mlflow.prov.collectors.counters import EnergyShare, MonotonicTotal, Rate
from yprov_mlflow.prov.collectors.design_power import DesignPower
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
    " The share of the run is an estimate: the energy of the processors times the CPU seconds of"
    " the process and its children, divided by {divisor}. CPU seconds of children that measure"
    " runs of their own are not in it. Runs that are open in one process at the same time divide"
    " its energy evenly, and a run has none while runs nested in it are open."
)
_OF_ALL = "those of all processors, idle ones included: idle power belongs to no run"
_OF_BUSY = "the node's busy CPU seconds"


class Cpu(base.Collector):
    """Energy and power of each processor package and its memory, and the run's share."""

    name = "cpu"

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
        self._watts: float | None = None  # per busy processor; None if energy is measured
        count, procedure = node.cpu_count(), _RAPL
        facts: dict[str, Json] = {"source": "RAPL" if measured else "estimate", "cpu_count": count}
        if not measured:
            power, origin = self._design_power(count)
            self._watts = power.watts / count
            facts |= {"watts_per_processor": self._watts, "design_power_source": power.source}
            procedure = _ESTIMATE.format(watts=self._watts, count=count, origin=origin)
        if self._has_times:
            procedure += _SHARE.format(divisor=_OF_ALL if measured else _OF_BUSY)
        return Available(
            facts,
            list(self._quantities()),
            [
                base.Device(zone.id, zone.label, {"zone": zone.path.name, "range_j": zone.range_j})
                for zone in readable
            ],
            procedure=procedure + self._coverage(count),
            missing=missing,
        )

    def _design_power(self, count: int) -> tuple[DesignPower, str]:
        """Return the design power of the processors, and its origin in words."""
        root, tdp_w = self.context.root, self.context.cpu_tdp_w
        power = DesignPower(tdp_w, "YPROV_MLFLOW_CPU_TDP") if tdp_w else design_power.look_up(root)
        if power is not None and (tdp_w or not node.is_virtual_machine(root)):
            return power, (
                f"which is {power.watts:.4g} W of thermal design power divided by {count}"
                f" ({power.source})"
            )
        default = DesignPower(_W_PER_PROCESSOR * count, "codecarbon's value for unknown processors")
        if power is None:
            return default, default.source
        # The table knows the whole processor, of which this machine has some threads.
        return default, (
            f"{default.source}: a virtual machine has an unknown part of the {power.watts:.4g} W"
            f" of its processor ({power.source})"
        )

    def _missing(
        self, zones: Sequence[powercap.Zone], readable: Sequence[powercap.Zone]
    ) -> Iterator[Unavailable]:
        if not zones:
            yield self._no_counters()
        if not any(zone.kind == "dram" for zone in zones):
            yield Unavailable("no RAPL counter for memory", what="memory")
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
            return missing("no RAPL counters in a virtual machine", _TDP)
        if container.kind(root, environ) and not (root / "sys/class").is_dir():
            cure = "Mount the host's /sys in the container."
            return missing("/sys is missing in the container", cure)
        x86 = platform.system() == "Linux" and platform.machine() in ("x86_64", "i686")
        cure = f"{_LOAD} {_TDP}" if x86 else _TDP
        return missing("no RAPL counters in /sys/class/powercap", cure)

    def _coverage(self, count: int) -> str:
        """Return what the node's numbers cover if the process may use only a part of the node."""
        allowed = cgroups.cpu_allowance(self.context.root, count)
        if allowed is None or allowed >= count:
            return ""
        return (
            f" The control group allows {allowed:.4g} of the node's {count} processors to"
            " this process; the energy of the node covers all of them, including other users'."
        )

    def _quantities(self) -> Iterator[base.Quantity]:
        energy, power = partial(base.energy, claim="node"), partial(base.power, claim="node")
        for zone in (counter.zone for counter in self._counters):
            part, metric = zone.component, f"{zone.metric}_energy_joules"
            yield energy("device", "measured", zone.id, component=part, system_metric=metric)
            yield power("device", "measured", zone.id, system_metric=f"{zone.metric}_power_watts")
        if self._watts is not None:
            yield energy("node", "estimated", component="cpu", system_metric="cpu_energy_joules")
            yield power("node", "estimated", system_metric="cpu_power_watts")
        if self._has_times:
            metric = "process_cpu_energy_joules"
            yield base.energy("process", "estimated", share_of="cpu", system_metric=metric)

    def start(self) -> None:
        """Reset all energies to 0."""
        for counter in self._counters:
            counter.start()
        self._cpu_s, self._own_s = MonotonicTotal(), MonotonicTotal()
        self._share, self._power = EnergyShare(), Rate()
        self.sample()

    def sample(self) -> Sequence[float | None]:
        """Return energy and power of each zone or of the estimate, then the process's share."""
        values: list[float | None] = []
        for counter in self._counters:
            values += counter.read()
        if not self._has_times:
            return values
        times = node.cpu_times()
        measured = self._watts is None
        cpu_s = self._cpu_s.update(times and (times.total_s if measured else times.busy_s))
        own_s = self._own_s.update(self._own_cpu_s())
        if cpu_s is None or own_s is None:
            return [*values, *([None] * (1 if measured else 3))]
        if self._watts is None:
            # A counter that cannot be read now contributes its last total.
            packages = (c for c in self._counters if c.zone.component == "cpu")
            energy_j = sum(counter.total_j for counter in packages)
        else:
            energy_j = cpu_s * self._watts
            values += (energy_j, self._power.update(energy_j, time.monotonic()))
        values.append(self._share.update(energy_j, cpu_s, own_s))
        return values

    def _own_cpu_s(self) -> float | None:
        children_s = self.context.children_cpu_s()
        tree_s = processes.shared_tree(self.context.root).read().cpu_s
        return None if tree_s is None else tree_s - children_s
