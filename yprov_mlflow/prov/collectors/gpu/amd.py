"""AMD GPUs through AMD SMI: energy, power, activity, memory, temperature, clocks.

The module ``amdsmi`` comes with ROCm. Importing it without its library prints and raises, so it is
imported only if driver and library exist.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from yprov_mlflow.prov.collectors.base import Available, Unavailable
from yprov_mlflow.prov.collectors.counters import MAX_POWER_W
from yprov_mlflow.prov.collectors.gpu import visibility
from yprov_mlflow.prov.collectors.gpu.device import COUNTER, Gauge, Gpu, GpuCollector
from yprov_mlflow.prov.events import Json

_PROCEDURE = (
    "AMD SMI is queried for each GPU. Energy is the hardware's accumulator times its resolution, "
    "minus its value at the start; if a GPU lacks it, power integrated by trapezoids between "
    "samples. Of two dies on a board, and of a chip's partitions, the first counts for all. "
    "Temperature is that of the die's edge, or of its hottest spot if only that is known."
)
_LIBRARY = "libamd_smi*.so*"
_FOLDERS = ("opt/rocm/lib", "opt/rocm/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib")
_NOT_FOUND, _NOT_INITIALIZED = 31, 32  # amdsmi_status_t
_INSTALL = "Install ROCm's amd-smi-lib, then pip install /opt/rocm/share/amd_smi"
_MIB = 2**20


_Query: TypeAlias = Callable[[Any, Any], tuple[Any, ...]]


def _counter(smi: Any, handle: Any) -> tuple[Any]:
    energy = smi.amdsmi_get_energy_count(handle)
    count = _number(energy.get("energy_accumulator", energy.get("power")))  # an older key
    unit_uj = _number(energy["counter_resolution"])
    return (None if count is None or unit_uj is None else count * unit_uj / 1e6,)


def _power(smi: Any, handle: Any) -> tuple[Any]:
    power = smi.amdsmi_get_power_info(handle)
    keys = ("socket_power", "current_socket_power", "average_socket_power")
    watts = (_number(power.get(key)) for key in keys)
    return (next((value for value in watts if value and value <= MAX_POWER_W), None),)


def _activity(smi: Any, handle: Any) -> tuple[Any, Any]:
    activity = smi.amdsmi_get_gpu_activity(handle)
    return activity["gfx_activity"], activity["umc_activity"]


def _memory(smi: Any, handle: Any) -> tuple[Any]:
    usage = smi.amdsmi_get_gpu_vram_usage(handle)
    used, total = usage["vram_used"], usage["vram_total"]
    return (used * _MIB if used <= total else None,)


def _temperature(sensor: str) -> Callable[[Any, Any], tuple[Any]]:
    def query(smi: Any, handle: Any) -> tuple[Any]:
        kind = getattr(smi.AmdSmiTemperatureType, sensor)
        current = smi.AmdSmiTemperatureMetric.CURRENT
        value = _number(smi.amdsmi_get_temp_metric(handle, kind, current))
        return (value / 1000 if value and value >= 1000 else value,)  # older: millidegrees

    return query


def _clock(kind: str) -> Callable[[Any, Any], tuple[Any]]:
    def query(smi: Any, handle: Any) -> tuple[Any]:
        clock = smi.amdsmi_get_clock_info(handle, getattr(smi.AmdSmiClkType, kind))
        return (clock["clk"] if "clk" in clock else clock["cur_clk"],)

    return query


def _power_limit(smi: Any, handle: Any) -> tuple[Any]:
    value = _number(smi.amdsmi_get_power_cap_info(handle)["power_cap"])
    return (value / 1e6 if value and value > MAX_POWER_W else value,)  # microwatts; older: watts


# For each group of readings, alternative queries that return them; the first that works is used.
# ``KeyError`` means no reading.
_QUERIES: tuple[tuple[tuple[str, ...], Sequence[_Query]], ...] = (
    ((COUNTER,), [_counter]),
    (("power",), [_power]),
    (("utilization", "memory_utilization"), [_activity]),
    (("memory_used",), [_memory]),
    (("temperature",), [_temperature("EDGE"), _temperature("HOTSPOT")]),
    (("sm_clock",), [_clock("GFX")]),
    (("memory_clock",), [_clock("MEM")]),
    (("power_limit",), [_power_limit]),
)

# Readings that each partition of a chip may report for the whole chip.
_CHIP_READINGS = frozenset({COUNTER, "power", "power_limit"})


class Amd(GpuCollector):
    """Measures the AMD GPUs that are visible to this process."""

    name = "amd"

    def probe(self) -> Available | Unavailable:
        """Detect the visible GPUs and their readings."""
        if absent := self._missing_requirement():
            return absent
        try:
            self._smi: Any = importlib.import_module("amdsmi")
        except (ImportError, OSError, AttributeError, KeyError, SystemExit) as error:
            return Unavailable(f"amdsmi cannot be imported: {error!r}", _INSTALL)
        self.errors = (self._smi.AmdSmiException,)
        self.gpus, self.missing = [], []
        try:
            self.open()
        except self.errors as error:
            cure = "Ask for access to /dev/kfd and /dev/dri, often by the groups render and video"
            return Unavailable(f"AMD SMI does not start: {self.reason(error)}", cure)
        try:
            return self._probe()
        except self.errors as error:
            reason = f"AMD SMI fails: {self.reason(error)}"
            return Unavailable(reason, "See the output of amd-smi")

    def open(self) -> None:
        """Initialize AMD SMI; no error if it already is."""
        self._smi.amdsmi_init()

    def close(self) -> None:
        """Keep AMD SMI initialized: a shutdown would affect its other users in this process."""

    def handle(self, key: str) -> Any:
        """Return the handle of a GPU by its UUID; None if the GPU is gone."""
        handles = self._smi.amdsmi_get_processor_handles()
        uuids = (self.fact(self._smi.amdsmi_get_gpu_device_uuid, handle) for handle in handles)
        return next((h for h, uuid in zip(handles, uuids, strict=True) if uuid == key), None)

    def is_closed(self, error: Exception) -> bool:
        """Return whether other code shut AMD SMI down, and possibly initialized it again."""
        return getattr(error, "err_code", None) in (_NOT_INITIALIZED, _NOT_FOUND)

    def reason(self, error: Exception) -> str:
        """Return why a gauge failed."""
        return str(getattr(error, "err_info", "") or " ".join(str(error).split()))

    def _missing_requirement(self) -> Unavailable | None:
        """Return what ``amdsmi`` needs and lacks, without importing it."""
        root, environ = self.context.root, self.context.environ
        if not any((root / path).exists() for path in ("dev/kfd", "sys/module/amdgpu")):
            return Unavailable("no AMD GPU driver (amdgpu)")
        if "amdsmi" in sys.modules:
            return None
        spec = find_spec("amdsmi")
        if spec is None:
            return Unavailable("the Python module amdsmi is not installed", _INSTALL)
        rocm = environ.get("ROCM_HOME") or environ.get("ROCM_PATH")
        folders = chain(
            (root / folder for folder in _FOLDERS),
            (Path(folder) for folder in spec.submodule_search_locations or ()),
            (Path(folder) for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder),
            (Path(rocm, "lib"),) if rocm else (),
            root.glob("opt/rocm-*/lib"),
        )
        if not any(next(folder.glob(_LIBRARY), None) for folder in folders):
            return Unavailable("AMD SMI's library, libamd_smi.so, is not installed", _INSTALL)
        return None

    def _probe(self) -> Available | Unavailable:
        smi = self._smi
        handles: dict[str, Any] = {}
        names: dict[str, str] = {}
        for handle in smi.amdsmi_get_processor_handles():
            uuid = self.fact(smi.amdsmi_get_gpu_device_uuid, handle)
            if uuid is None:
                self.missing.append(Unavailable("it does not answer", "Reset it", "a GPU"))
                continue
            handles.setdefault(uuid, handle)  # in older versions, partitions have the chip's UUID
            # ROCr's own id, GPU- and 16 digits, is the serial number of the chip.
            serial = self._asic(handle).get("asic_serial", "")
            names = {uuid: uuid, f"GPU-{str(serial).lower().removeprefix('0x')}": uuid} | names
        if not handles:
            return Unavailable("no AMD GPU")
        visible = visibility.amd(self.context.environ, list(handles), names)
        if not visible.devices:
            return Unavailable(f"no GPU is visible: {visible.source}", "Select GPUs in it")
        chips: dict[str, str] = {}
        for index, (uuid, handle) in enumerate(handles.items()):
            address = self.fact(smi.amdsmi_get_gpu_device_bdf, handle)
            # Partitions of a chip differ in the function number of their PCI address only.
            chip = chips.setdefault(str(address or uuid).partition(".")[0], f"gpu{index}")
            if uuid in visible.devices:
                self.gpus.append(self._gpu(f"gpu{index}", uuid, handle, chip, address))
        query = getattr(smi, "amdsmi_get_gpu_driver_info", None)  # not in the oldest versions
        driver = (query and self.fact(query, next(iter(handles.values())))) or {}
        return self.available(
            {"driver": driver.get("driver_version"), "visible": visible.source or None},
            agent="amdsmi",
            version=str(getattr(smi, "__version__", "")),
            procedure=_PROCEDURE,
        )

    def _gpu(self, device: str, uuid: str, handle: Any, chip: str, address: str | None) -> Gpu:
        memory = self.fact(self._smi.amdsmi_get_gpu_vram_usage, handle) or {}
        total = memory.get("vram_total")
        size = total and total * _MIB
        facts: dict[str, Json] = {"uuid": uuid, "pci_bus_id": address, "memory_bytes": size}
        candidates = [
            (readings, [self._gauge(readings, query) for query in queries])
            for readings, queries in _QUERIES
        ]
        if chip != device:
            candidates = [pair for pair in candidates if pair[0][0] not in _CHIP_READINGS]
            reason = f"only measured for the whole chip, as {chip}"
            self.missing.append(Unavailable(reason, "", f"{device} energy, power"))
        gauges = self.working_gauges(device, handle, candidates)
        label = self._asic(handle).get("market_name") or "AMD GPU"
        return Gpu(device, uuid, label, facts, gauges, unit_j=1.0)

    def _gauge(self, readings: tuple[str, ...], query: _Query) -> Gauge:
        smi = self._smi

        def read(handle: Any) -> tuple[float | None, ...]:
            try:
                return tuple(_number(value) for value in query(smi, handle))
            except (AttributeError, KeyError, TypeError):  # function or answer of another version
                return (None,) * len(readings)

        return Gauge(readings, read)

    def _asic(self, handle: Any) -> dict[str, Any]:
        return self.fact(self._smi.amdsmi_get_gpu_asic_info, handle) or {}


def _number(value: Any) -> float | None:
    """Return a number of AMD SMI; None for ``"N/A"`` and for all bits set, which mean unknown."""
    if not isinstance(value, int | float) or value in (0xFFFF, 0xFFFFFFFF, 2**64 - 1):
        return None
    return value
