"""The machine: its description, its load, and the usage by this process and its children."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from yprov_mlflow.prov.collectors.base import Available, Collector, Quantity, Scope, Unavailable
from yprov_mlflow.prov.collectors.counters import MonotonicTotal, Rate
from yprov_mlflow.prov.collectors.system import cgroups, node, processes
from yprov_mlflow.prov.events import Json

_PROCEDURE = (
    "CPU times are the kernel's, waiting for disks not included. Memory used is total minus"
    " available memory. Disk space is that of the root file system; disk traffic is that of"
    " physical disks, without partitions and volumes on them. Network traffic is that of all"
    " interfaces, the loopback included; a container may see only its own. The process's numbers"
    " are sums over the process and its descendants: resident memory, in which shared memory"
    " counts for each process, and bytes that went to and came from disks, not the page cache."
    " The job's numbers are those of the control group that sets the tightest limit, without file"
    " pages that can be dropped."
)


class _Row(NamedTuple):
    name: str
    unit: str
    scope: Scope
    cumulative: bool = False


# By the name of the system metric, which is MLflow's own where it has one.
_NODE = {
    "cpu_utilization_percentage": _Row("cpu_utilization", "PERCENT", "node"),
    "load_average_1m": _Row("load_average", "NUM", "node"),
    "system_memory_usage_megabytes": _Row("memory_used", "BYTE", "node"),
    "system_memory_usage_percentage": _Row("memory_utilization", "PERCENT", "node"),
    "disk_usage_megabytes": _Row("disk_used", "BYTE", "node"),
    "disk_available_megabytes": _Row("disk_available", "BYTE", "node"),
    "disk_usage_percentage": _Row("disk_utilization", "PERCENT", "node"),
    "disk_read_megabytes": _Row("disk_read", "BYTE", "node", True),
    "disk_write_megabytes": _Row("disk_written", "BYTE", "node", True),
    "network_receive_megabytes": _Row("network_received", "BYTE", "node", True),
    "network_transmit_megabytes": _Row("network_sent", "BYTE", "node", True),
}
_PROCESS = {  # in the order of processes.Usage
    "process_cpu_seconds": _Row("cpu_time", "SEC", "process", True),
    "process_memory_megabytes": _Row("memory_used", "BYTE", "process"),
    "process_count": _Row("processes", "NUM", "process"),
    "process_threads": _Row("threads", "NUM", "process"),
    "process_disk_read_megabytes": _Row("disk_read", "BYTE", "process", True),
    "process_disk_write_megabytes": _Row("disk_written", "BYTE", "process", True),
}
_MEMORY_LIMIT = {
    "job_memory_usage_megabytes": _Row("memory_used", "BYTE", "job"),
    "job_memory_usage_percentage": _Row("memory_utilization", "PERCENT", "job"),
}
_CPU_LIMIT = {"job_cpu_throttled_seconds": _Row("cpu_throttled", "SEC", "job", True)}
_KINDS = {
    "BYTE": "InformationEntropy",
    "NUM": "Dimensionless",
    "PERCENT": "DimensionlessRatio",
    "SEC": "Time",
}


class Host(Collector):
    """Usage of CPU, memory, disk and network by the node, the process and its children."""

    name = "host"

    def probe(self) -> Available:
        """Describe the machine, see ``collect``, and detect which values can be read."""
        root = self.context.root
        self._memory_limit = cgroups.memory_limit(root, node.memory().total)
        self._cpu_limit = cgroups.cpu_limit(root)
        rows = _NODE | _PROCESS
        claims = dict.fromkeys(_NODE, "node")
        for limit, more in ((self._memory_limit, _MEMORY_LIMIT), (self._cpu_limit, _CPU_LIMIT)):
            if limit is not None:
                rows |= more
                claims |= dict.fromkeys(more, cgroups.identity(limit.folder))
        self.start()
        readable = self._values()
        if node.cpu_times() is not None:
            readable["cpu_utilization_percentage"] = 0.0  # needs a second reading
        self._metrics = [metric for metric in rows if readable.get(metric) is not None]
        return Available(
            collect(root),
            [_quantity(metric, rows[metric], claims.get(metric, "")) for metric in self._metrics],
            procedure=_PROCEDURE,
            missing=[
                Unavailable("the system does not report it", what=f"{row.name} of the {row.scope}")
                for metric, row in rows.items()
                if metric not in self._metrics
            ],
        )

    def start(self) -> None:
        """Reset all totals to 0."""
        self._busy = Rate()
        rows = _NODE | _PROCESS | _CPU_LIMIT
        self._totals = {metric: MonotonicTotal() for metric, row in rows.items() if row.cumulative}
        self._values()

    def sample(self) -> Sequence[float | None]:
        """Return the current value of each quantity of the probe."""
        values = self._values()
        return [values.get(metric) for metric in self._metrics]

    def _values(self) -> dict[str, float | None]:
        root = self.context.root
        values: dict[str, float | None] = {"cpu_utilization_percentage": self._utilization()}
        unsupported = suppress(OSError, RuntimeError, NotImplementedError, psutil.Error)
        with unsupported:
            values["load_average_1m"] = os.getloadavg()[0]
        with unsupported:
            memory = node.memory()
            values["system_memory_usage_megabytes"] = memory.used
            values["system_memory_usage_percentage"] = 100.0 * memory.used / memory.total
        with unsupported:
            space = psutil.disk_usage(str(root))
            values["disk_usage_megabytes"] = space.used
            values["disk_available_megabytes"] = space.free
            values["disk_usage_percentage"] = space.percent
        with unsupported:
            if disks := node.disk_traffic(root):
                values["disk_read_megabytes"], values["disk_write_megabytes"] = disks
        with unsupported:
            if network := node.network_traffic():
                values["network_receive_megabytes"] = network.incoming
                values["network_transmit_megabytes"] = network.outgoing
        values.update(zip(_PROCESS, processes.shared_tree(root).read(), strict=True))
        values.update(self._job())
        for metric, total in self._totals.items():
            values[metric] = total.update(values.get(metric))
        return values

    def _utilization(self) -> float | None:
        times = node.cpu_times()
        share = None if times is None else self._busy.update(times.busy_s, times.total_s)
        return None if share is None else 100.0 * min(max(share, 0.0), 1.0)

    def _job(self) -> Iterator[tuple[str, float | None]]:
        if self._memory_limit is not None:
            used = cgroups.memory_used_bytes(self._memory_limit.folder)
            share = None if used is None else 100.0 * used / self._memory_limit.amount
            yield from zip(_MEMORY_LIMIT, (used, share), strict=True)
        if self._cpu_limit is not None:
            (metric,) = _CPU_LIMIT
            yield metric, cgroups.throttled_s(self._cpu_limit.folder)


def _quantity(metric: str, row: _Row, claim: str) -> Quantity:
    return Quantity(
        *(row.name, row.unit, _KINDS[row.unit], row.scope, "measured", "", row.cumulative),
        claim=claim,
        system_metric=metric,
        scale=1e-6 if row.unit == "BYTE" else 1.0,
    )


def collect(root: Path = Path("/")) -> dict[str, Json]:
    """Return the facts about the host of this process.

    Args:
        root: Folder that contains ``proc`` and ``sys``.

    Returns:
        ``hostname``, ``os``, ``release``, ``machine``, ``cpu_model``, ``cpu_count``
        (logical), ``cpu_count_physical``, ``cpu_limit`` (CPUs that the control group
        allows), ``memory_bytes`` and ``memory_limit_bytes``; None for unknown values and
        limits that do not exist.
    """
    memory_bytes = node.memory().total
    memory_limit = cgroups.memory_limit(root, memory_bytes)
    return {
        "hostname": platform.node(),
        "os": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpu_model": node.cpu_model(root),
        "cpu_count": psutil.cpu_count(),
        "cpu_count_physical": psutil.cpu_count(logical=False),
        "cpu_limit": cgroups.cpu_allowance(root, node.cpu_count()),
        "memory_bytes": memory_bytes,
        "memory_limit_bytes": memory_limit and int(memory_limit.amount),
    }
