"""Energy of processors and their memory: RAPL counters, else an estimate that says so."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from yprov_mlflow.prov.collectors import container
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Device,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.collectors.shares import Share
from yprov_mlflow.prov.collectors.sums import Rate, Total
from yprov_mlflow.prov.collectors.system import cgroups, powercap, processes, processors
from yprov_mlflow.prov.events import Json

_W_PER_PROCESSOR = 4.0
"""What codecarbon takes for each logical processor of a model that it does not know."""

_WRAP_W = 1000.0
"""Power at which a counter must not wrap twice between two samples."""

_UNMASK = (
    "Start the container with `--security-opt systempaths=unconfined` (Docker) or"
    " `--security-opt unmask=/sys/devices/virtual/powercap` (Podman)."
)
_LOAD = "Load the kernel's module with `sudo modprobe intel_rapl_msr` if the processor has RAPL."
_TDP = "Set YPROV_MLFLOW_CPU_TDP to the processors' thermal design power for a better estimate."

_RAPL = (
    "Energy is the growth of the kernel's RAPL counters (powercap), wrap-arounds undone; power"
    " is that growth over the time between two samples. Packages and DRAM add up; core and"
    " uncore are parts of a package, and psys contains the packages."
)
_ESTIMATE = (
    "Energy is estimated, not measured: the node's busy CPU seconds times {watts:.4g} W for each"
    " of its {count} logical processors, {origin}. Idle processors and memory count nothing."
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

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self._counters: list[powercap.Counter] = []
        self._watts: float | None = None  # of a busy processor, where it is an estimate

    def probe(self) -> Available | Unavailable:
        """Look for counters that can be read, else for the times that an estimate needs."""
        root = self.surroundings.root
        zones = powercap.zones(root)
        obstacles = {zone.id: powercap.obstacle(zone) for zone in zones}
        readable = [zone for zone in zones if obstacles[zone.id] is None]
        measured = any(zone.kind == "package" for zone in readable)
        counted = processors.times(root) is not None
        if not measured and not counted:
            return Unavailable("neither energy counters nor CPU times can be read")
        missing = [error for error in obstacles.values() if error is not None]
        missing += self._missing(zones, readable)
        if not counted:
            missing.append(Unavailable("no CPU times can be read", what="share of the process"))
        self._counters = [powercap.Counter(zone) for zone in readable]
        self._shared = counted
        count = processors.count(root)
        facts: dict[str, Json] = {"source": "RAPL" if measured else "estimate", "cpu_count": count}
        if measured:
            self._watts, procedure = None, _RAPL
        else:
            tdp_w = self.surroundings.cpu_tdp_w
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
            procedure=procedure + (_SHARE if counted else "") + self._reach(count),
            missing=missing,
        )

    def _missing(
        self, zones: Sequence[powercap.Zone], readable: Sequence[powercap.Zone]
    ) -> Iterator[Unavailable]:
        if not zones:
            yield self._absent()
        if not any(zone.kind == "dram" for zone in zones):
            yield Unavailable("no RAPL counter of memory here", what="memory")
        for zone in readable:
            longest_s = zone.range_j / _WRAP_W
            if 0 < longest_s < self.surroundings.interval_s:
                yield Unavailable(
                    f"its counter may wrap more than once between two samples: it has room for"
                    f" {zone.range_j:.0f} J",
                    f"Set YPROV_MLFLOW_INTERVAL to {int(longest_s)} s or less.",
                    zone.id,
                )

    def _absent(self) -> Unavailable:
        root, environ = self.surroundings.root, self.surroundings.environ
        say = partial(Unavailable, what="energy counters")
        if powercap.hidden(root):
            return say("the container hides the RAPL counters", _UNMASK)
        if processors.virtual(root):
            return say("a virtual machine has no RAPL counters", _TDP)
        if container.kind(root, environ) and not (root / "sys/class").is_dir():
            return say("the container has no /sys", "Give the container the host's /sys.")
        known = platform.system() == "Linux" and platform.machine() in ("x86_64", "i686")
        return say("no RAPL counters in /sys/class/powercap", f"{_LOAD} {_TDP}" if known else _TDP)

    def _reach(self, count: int) -> str:
        """Say what the node's numbers cover where the process has less than the node."""
        allowed = cgroups.cpus(self.surroundings.root, count)
        if allowed is None or allowed >= count:
            return ""
        return (
            f" The control group allows {allowed:.4g} of the node's {count} processors to"
            " this process; the energy of the node covers all of them, whoever used them."
        )

    def _quantities(self) -> Iterator[Quantity]:
        for zone in (counter.zone for counter in self._counters):
            common: dict[str, Any] = {"device": zone.id, "claim": "node"}
            name = zone.metric
            yield _energy(
                "device",
                "measured",
                component=zone.component,
                system_metric=f"{name}_energy_joules",
                **common,
            )
            yield _power("device", "measured", system_metric=f"{name}_power_watts", **common)
        if self._watts is not None:
            yield _energy(
                "node",
                "estimated",
                component="cpu",
                claim="node",
                system_metric="cpu_energy_joules",
            )
            yield _power("node", "estimated", claim="node", system_metric="cpu_power_watts")
        if self._shared:
            yield _energy("process", "estimated", system_metric="process_cpu_energy_joules")

    def start(self) -> None:
        """Begin all energies at 0."""
        for counter in self._counters:
            counter.start()
        self._busy_s = Total()
        self._share = Share()
        self._power = Rate()
        self._own_s = Total()
        self.sample()

    def sample(self) -> Sequence[float | None]:
        """Give energy and power of each domain, or of the estimate, then the share."""
        values: list[float | None] = []
        for counter in self._counters:
            values += counter.read()
        if not self._shared:
            return values
        times = processors.times(self.surroundings.root)
        busy_s = self._busy_s.of(times and times.busy_s)
        own_s = self._own_s.of(processes.shared(self.surroundings.root).read().cpu_s)
        if busy_s is None or own_s is None:
            return [*values, *([None] * (1 if self._watts is None else 3))]
        if self._watts is None:
            # The last known total of a counter that cannot be read now.
            packages = (one for one in self._counters if one.zone.component == "cpu")
            cpu_j = sum(counter.total_j for counter in packages)
        else:
            cpu_j = busy_s * self._watts
            values += (cpu_j, self._power.of(cpu_j, time.monotonic()))
        values.append(self._share.of(cpu_j, busy_s, own_s))
        return values


def _origin(tdp_w: float | None, count: int) -> str:
    if tdp_w:
        return f"which is {tdp_w:.4g} W of thermal design power shared by {count}"
    return "the value that codecarbon takes for processors that it does not know"
