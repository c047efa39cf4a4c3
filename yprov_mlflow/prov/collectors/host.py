"""The machine: what it is, how busy it is, and what this process and its children use of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.base import Available, Collector, Quantity, Scope, Unavailable
from yprov_mlflow.prov.collectors.sums import Rate, Total
from yprov_mlflow.prov.collectors.system import cgroups, node, processes, processors
from yprov_mlflow.prov.events import Json

_PROCEDURE = (
    "CPU times are the kernel's, waiting for disks not included. Memory used is what is not"
    " available. Disk space is that of the root file system; disk traffic is that of disks, not"
    " again of what is built on them. Network traffic is that of all interfaces, the loopback"
    " included; a container may see only its own. The process's numbers are sums over the process"
    " and all that it started: resident memory, in which what processes share counts for each,"
    " and bytes that went to and came from disks, not the page cache. The job's numbers are those"
    " of the control group that sets the tightest limit, without file pages that can be dropped."
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
_PROCESS = {
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

_DISK_TRAFFIC = ("disk_read_megabytes", "disk_write_megabytes")
_NETWORK_TRAFFIC = ("network_receive_megabytes", "network_transmit_megabytes")

_Values = dict[str, float | None]


class Host(Collector):
    """Use of CPU, memory, disk and network by the node, and by this process and its children."""

    name = "host"

    def probe(self) -> Available:
        """Describe the machine, see ``collect``, and try what can be read."""
        facts = collect(self.surroundings.root)
        memory_bytes = node.memory(self.surroundings.root).total
        self._memory_limit = cgroups.memory_limit(self.surroundings.root, memory_bytes)
        self._cpu_limit = cgroups.cpu_limit(self.surroundings.root)
        rows = _NODE | _PROCESS
        claims = dict.fromkeys(_NODE, "node")
        for limit, more in ((self._memory_limit, _MEMORY_LIMIT), (self._cpu_limit, _CPU_LIMIT)):
            if limit is not None:
                rows |= more
                claims |= dict.fromkeys(more, cgroups.identity(limit.folder))
        self.start()
        readable = self._values()
        if processors.times(self.surroundings.root) is not None:
            readable["cpu_utilization_percentage"] = 0.0  # it takes two readings
        self._metrics = [metric for metric in rows if readable.get(metric) is not None]
        return Available(
            facts,
            [_quantity(metric, rows[metric], claims.get(metric, "")) for metric in self._metrics],
            procedure=_PROCEDURE,
            missing=[
                Unavailable("the system does not say", what=f"{row.name} of the {row.scope}")
                for metric, row in rows.items()
                if metric not in self._metrics
            ],
        )

    def start(self) -> None:
        """Begin all totals at 0."""
        self._busy = Rate()
        rows = _NODE | _PROCESS | _CPU_LIMIT
        self._totals = {metric: Total() for metric, row in rows.items() if row.cumulative}
        self._values()

    def sample(self) -> Sequence[float | None]:
        """Give what the quantities of the probe are now."""
        values = self._values()
        return [values.get(metric) for metric in self._metrics]

    def _values(self) -> _Values:
        values: _Values = {"cpu_utilization_percentage": self._utilization()}
        for read in (_load, _memory, _disk_space, _disk_traffic, _network_traffic):
            values.update(_tried(read, self.surroundings.root))
        values.update(self._process())
        values.update(self._job())
        for metric, total in self._totals.items():
            values[metric] = total.of(values.get(metric))
        return values

    def _utilization(self) -> float | None:
        times = processors.times(self.surroundings.root)
        share = None if times is None else self._busy.of(times.busy_s, times.all_s)
        return None if share is None else 100.0 * min(max(share, 0.0), 1.0)

    def _process(self) -> _Values:
        usage = processes.shared(self.surroundings.root).read()
        return dict(zip(_PROCESS, usage, strict=True))

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
        row.name,
        row.unit,
        _KINDS[row.unit],
        row.scope,
        "measured",
        cumulative=row.cumulative,
        claim=claim,
        system_metric=metric,
        scale=1e-6 if row.unit == "BYTE" else 1.0,
    )


def _tried(read: Callable[[Path], _Values], root: Path) -> _Values:
    import psutil

    try:
        return read(root)
    except (OSError, RuntimeError, NotImplementedError, psutil.Error):  # of systems unlike most
        return {}


def _load(_: Path) -> _Values:
    return {"load_average_1m": os.getloadavg()[0]}


def _memory(root: Path) -> _Values:
    memory = node.memory(root)
    return {
        "system_memory_usage_megabytes": memory.used,
        "system_memory_usage_percentage": 100.0 * memory.used / memory.total,
    }


def _disk_space(root: Path) -> _Values:
    import psutil

    usage = psutil.disk_usage(str(root))
    return {
        "disk_usage_megabytes": usage.used,
        "disk_available_megabytes": usage.free,
        "disk_usage_percentage": usage.percent,
    }


def _disk_traffic(root: Path) -> _Values:
    return dict(zip(_DISK_TRAFFIC, node.disks(root) or (None, None), strict=True))


def _network_traffic(root: Path) -> _Values:
    return dict(zip(_NETWORK_TRAFFIC, node.network(root) or (None, None), strict=True))


def collect(root: Path = Path("/")) -> dict[str, Json]:
    """Describe the host of this process.

    Args:
        root: Folder that ``proc`` and ``sys`` are in.

    Returns:
        ``hostname``, ``os``, ``release``, ``machine``, ``cpu_model``, ``cpu_count``
        (logical), ``cpu_count_physical``, ``cpu_limit`` (CPUs that the control group
        allows), ``memory_bytes`` and ``memory_limit_bytes``; None for what is not known
        or not limited.
    """
    import psutil

    memory_bytes = node.memory(root).total
    memory_limit = cgroups.memory_limit(root, memory_bytes)
    return {
        "hostname": platform.node(),
        "os": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpu_model": processors.model(root),
        "cpu_count": psutil.cpu_count(),
        "cpu_count_physical": psutil.cpu_count(logical=False),
        "cpu_limit": cgroups.cpus(root, processors.count(root)),
        "memory_bytes": memory_bytes,
        "memory_limit_bytes": memory_limit and int(memory_limit.amount),
    }
