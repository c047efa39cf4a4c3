"""What NVML can say of a GPU: which function gives which readings, in which unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors.gpu.device import COUNTER, Gauge

_SM, _MEMORY = 1, 2  # nvmlClockType_t
_THERMAL = 0x20 | 0x40
_THROTTLED = _THERMAL | 0x04 | 0x08 | 0x80 | 0x200 | 0x400


class Call(NamedTuple):
    """A function of pynvml, or the older one that drivers without it have."""

    readings: tuple[str, ...]
    functions: tuple[str, ...]
    arguments: tuple[int, ...] = ()
    value: Callable[[Any], tuple[float | None, ...]] = lambda found: (found,)

    def gauges(self, nvml: Any) -> list[Gauge]:
        """Make a gauge of each function that pynvml has."""
        return [self._gauge(getattr(nvml, one)) for one in self.functions if hasattr(nvml, one)]

    def _gauge(self, function: Callable[..., Any]) -> Gauge:
        arguments, value = self.arguments, self.value
        return Gauge(self.readings, lambda handle: value(function(handle, *arguments)))


def _milli(found: int) -> tuple[float]:
    return (found / 1000,)


def _memory(found: Any) -> tuple[float | None]:
    return (found.used if found.used <= found.total else None,)


def _throttled(reasons: int) -> tuple[float, float]:
    return (100.0 * bool(reasons & _THROTTLED), 100.0 * bool(reasons & _THERMAL))


USED = Call(("memory_used",), ("nvmlDeviceGetMemoryInfo",), value=_memory)
CALLS = (
    Call((COUNTER,), ("nvmlDeviceGetTotalEnergyConsumption",)),
    Call(("power",), ("nvmlDeviceGetPowerUsage",), value=_milli),
    Call(
        ("utilization", "memory_utilization"),
        ("nvmlDeviceGetUtilizationRates",),
        value=lambda found: (found.gpu, found.memory),
    ),
    USED,
    Call(("temperature",), ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"), (0,)),
    Call(("sm_clock",), ("nvmlDeviceGetClockInfo",), (_SM,)),
    Call(("memory_clock",), ("nvmlDeviceGetClockInfo",), (_MEMORY,)),
    Call(
        ("throttled", "throttled_thermal"),
        (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
        ),
        value=_throttled,
    ),
    Call(("power_limit",), ("nvmlDeviceGetEnforcedPowerLimit",), value=_milli),
)


class MigInstance(NamedTuple):
    """A MIG instance, by its place in its GPU."""

    place: int
    uuid: str
    handle: Any
    gpu_instance: int | None
    compute_instance: int | None

    def names(self, parent: str) -> tuple[str, str]:
        """Give what it may be called: its UUID, and the form that drivers before 470 have."""
        return self.uuid, f"MIG-{parent}/{self.gpu_instance}/{self.compute_instance}"


class PhysicalGpu(NamedTuple):
    """A GPU that can be opened, with its MIG instances."""

    id: str
    uuid: str
    handle: Any
    instances: list[MigInstance]
