"""AMD GPUs through AMD SMI: energy, power, activity, memory, temperature, clocks.

The module ``amdsmi`` comes with ROCm. Importing it where its library is not there prints and
raises, so it is imported only after driver and library were found.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.counters import MOST_W
from yprov_mlflow.prov.collectors.gpu import visibility
from yprov_mlflow.prov.collectors.gpu.device import COUNTER, Gauge, Gpu, Gpus
from yprov_mlflow.prov.events import Json

_PROCEDURE = (
    "AMD SMI is asked for each GPU. Energy is the hardware's accumulator times its resolution, "
    "less its value at the start; where a GPU has none, power integrated by trapezoids between "
    "samples. Of two dies on a board, and of a chip's partitions, the first counts for all. "
    "Temperature is that of the die's edge, or of its hottest spot where only that is known."
)
_LIBRARY = "libamd_smi*.so*"
_FOLDERS = ("opt/rocm/lib", "opt/rocm/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib")
_NOT_FOUND, _NOT_INITIALISED = 31, 32  # amdsmi_status_t
_INSTALL = "Install ROCm's amd-smi-lib, then pip install /opt/rocm/share/amd_smi"
_MIB = 2**20


class _Call(NamedTuple):
    """What to ask AMD SMI, and its answer's readings; a ``KeyError`` is an answer without."""

    readings: tuple[str, ...]
    ask: Callable[[Any, Any], tuple[Any, ...]]


def _counter(smi: Any, handle: Any) -> tuple[Any]:
    found = smi.amdsmi_get_energy_count(handle)
    count = _number(found.get("energy_accumulator", found.get("power")))  # an older name
    worth_uj = _number(found["counter_resolution"])
    return (None if count is None or worth_uj is None else count * worth_uj / 1e6,)


def _power(smi: Any, handle: Any) -> tuple[Any]:
    found = smi.amdsmi_get_power_info(handle)
    names = ("socket_power", "current_socket_power", "average_socket_power")
    watts = (_number(found.get(name)) for name in names)
    return (next((one for one in watts if one and one <= MOST_W), None),)


def _activity(smi: Any, handle: Any) -> tuple[Any, Any]:
    found = smi.amdsmi_get_gpu_activity(handle)
    return found["gfx_activity"], found["umc_activity"]


def _memory(smi: Any, handle: Any) -> tuple[Any]:
    found = smi.amdsmi_get_gpu_vram_usage(handle)
    used, total = found["vram_used"], found["vram_total"]
    return (used * _MIB if used <= total else None,)


def _temperature(sensor: str) -> Callable[[Any, Any], tuple[Any]]:
    def ask(smi: Any, handle: Any) -> tuple[Any]:
        kind = getattr(smi.AmdSmiTemperatureType, sensor)
        now = smi.AmdSmiTemperatureMetric.CURRENT
        found = _number(smi.amdsmi_get_temp_metric(handle, kind, now))
        return (found / 1000 if found and found >= 1000 else found,)  # older ones: thousandths

    return ask


def _clock(kind: str) -> Callable[[Any, Any], tuple[Any]]:
    def ask(smi: Any, handle: Any) -> tuple[Any]:
        found = smi.amdsmi_get_clock_info(handle, getattr(smi.AmdSmiClkType, kind))
        return (found["clk"] if "clk" in found else found["cur_clk"],)

    return ask


def _limit(smi: Any, handle: Any) -> tuple[Any]:
    found = _number(smi.amdsmi_get_power_cap_info(handle)["power_cap"])
    return (found / 1e6 if found and found > MOST_W else found,)  # microwatts, watts before


_CALLS = (
    (_Call((COUNTER,), _counter),),
    (_Call(("power",), _power),),
    (_Call(("utilization", "memory_utilization"), _activity),),
    (_Call(("memory_used",), _memory),),
    (
        _Call(("temperature",), _temperature("EDGE")),
        _Call(("temperature",), _temperature("HOTSPOT")),
    ),
    (_Call(("sm_clock",), _clock("GFX")),),
    (_Call(("memory_clock",), _clock("MEM")),),
    (_Call(("power_limit",), _limit),),
)
"""For each reading the calls that may give it; the first that does is used."""

_OF_A_CHIP = frozenset({COUNTER, "power", "power_limit"})
"""Readings that each partition of a chip may give, and gives for the whole chip."""


class Amd(Gpus):
    """Measures the AMD GPUs that are visible to this process."""

    name = "amd"

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self._smi: Any = None

    def probe(self) -> Available | Unavailable:
        """Find the visible GPUs and what each can tell."""
        absent = self._absent()
        if absent is not None:
            return absent
        try:
            self._smi = importlib.import_module("amdsmi")
        except (ImportError, OSError, AttributeError, KeyError, SystemExit) as error:
            return Unavailable(f"amdsmi cannot be imported: {error!r}", _INSTALL)
        self.errors = (self._smi.AmdSmiException,)
        self.found, self.missing = [], []
        try:
            self.open()
        except self.errors as error:
            return Unavailable(
                f"AMD SMI does not start: {_text(error)}",
                "Ask for access to /dev/kfd and /dev/dri, often by the groups render and video",
            )
        try:
            return self._probe()
        except self.errors as error:
            return Unavailable(f"AMD SMI fails: {_text(error)}", "See what amd-smi says")

    def open(self) -> None:
        """Initialise AMD SMI, which may be so already."""
        self._smi.amdsmi_init()

    def close(self) -> None:
        """Leave AMD SMI as it is: shut down, it would be so for others in this process too."""

    def handle(self, key: str) -> Any:
        """Find a GPU by its UUID, None if it is no longer there."""
        handles = self._smi.amdsmi_get_processor_handles()
        ids = (self.fact(self._smi.amdsmi_get_gpu_device_uuid, handle) for handle in handles)
        return next((one for one, uuid in zip(handles, ids, strict=True) if uuid == key), None)

    def is_closed(self, error: Exception) -> bool:
        """Say whether someone shut AMD SMI down under us, and maybe initialised it anew."""
        return getattr(error, "err_code", None) in (_NOT_INITIALISED, _NOT_FOUND)

    def reason(self, error: Exception) -> str:
        """Say in words why a gauge gives nothing."""
        return _text(error)

    def _absent(self) -> Unavailable | None:
        """Say what ``amdsmi`` would miss, without importing it."""
        root, environ = self.surroundings.root, self.surroundings.environ
        if not any((root / one).exists() for one in ("dev/kfd", "sys/module/amdgpu")):
            return Unavailable("there is no AMD GPU driver here (amdgpu)")
        if "amdsmi" in sys.modules:
            return None
        spec = find_spec("amdsmi")
        if spec is None:
            return Unavailable("the Python module amdsmi is not installed", _INSTALL)
        rocm = environ.get("ROCM_HOME") or environ.get("ROCM_PATH")
        folders = chain(
            (root / one for one in _FOLDERS),
            (Path(one) for one in spec.submodule_search_locations or ()),
            (Path(one) for one in environ.get("LD_LIBRARY_PATH", "").split(":") if one),
            (Path(rocm, "lib"),) if rocm else (),
            root.glob("opt/rocm-*/lib"),
        )
        if not any(next(folder.glob(_LIBRARY), None) for folder in folders):
            return Unavailable("the library of AMD SMI, libamd_smi.so, is not here", _INSTALL)
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
            handles.setdefault(uuid, handle)  # older versions give partitions that of their chip
            # ROCr's own id, GPU- and 16 digits, is the serial number of the chip.
            serial = self._asic(handle).get("asic_serial", "")
            names = {uuid: uuid, f"GPU-{str(serial).lower().removeprefix('0x')}": uuid} | names
        if not handles:
            return Unavailable("there is no AMD GPU here")
        visible = visibility.amd(self.surroundings.environ, list(handles), names)
        if not visible.devices:
            return Unavailable(f"no GPU is visible: {visible.because}", "Name GPUs in it")
        first: dict[str, str] = {}
        for index, (uuid, handle) in enumerate(handles.items()):
            address = self.fact(smi.amdsmi_get_gpu_device_bdf, handle)
            chip = first.setdefault(str(address or uuid).partition(".")[0], f"gpu{index}")
            if uuid in visible.devices:
                self.found.append(self._gpu(f"gpu{index}", uuid, handle, chip, address))
        ask = getattr(smi, "amdsmi_get_gpu_driver_info", None)  # not in the oldest versions
        driver = (ask and self.fact(ask, next(iter(handles.values())))) or {}
        return self.available(
            {"driver": driver.get("driver_version"), "visible": visible.because or None},
            agent="amdsmi",
            version=str(getattr(smi, "__version__", "")),
            procedure=_PROCEDURE,
        )

    def _gpu(self, device: str, uuid: str, handle: Any, chip: str, address: str | None) -> Gpu:
        memory = self.fact(self._smi.amdsmi_get_gpu_vram_usage, handle) or {}
        total = memory.get("vram_total")
        facts: dict[str, Json] = {
            "uuid": uuid,
            "pci_bus_id": address,
            "memory_bytes": total and total * _MIB,
        }
        calls = [(one[0].readings, [self._gauge(call) for call in one]) for one in _CALLS]
        if chip != device:
            calls = [one for one in calls if one[0][0] not in _OF_A_CHIP]
            reason = f"they are known of the whole chip only, as those of {chip}"
            self.missing.append(Unavailable(reason, "", f"{device} energy, power"))
        label = self._asic(handle).get("market_name") or "AMD GPU"
        return Gpu(device, uuid, label, facts, self.gauges(device, handle, calls), unit_j=1.0)

    def _gauge(self, call: _Call) -> Gauge:
        smi = self._smi

        def read(handle: Any) -> tuple[float | None, ...]:
            try:
                return tuple(_number(one) for one in call.ask(smi, handle))
            except (AttributeError, KeyError, TypeError):  # another version's function or answer
                return (None,) * len(call.readings)

        return Gauge(call.readings, read)

    def _asic(self, handle: Any) -> dict[str, Any]:
        return self.fact(self._smi.amdsmi_get_gpu_asic_info, handle) or {}


def _number(value: Any) -> float | None:
    """Give a number that AMD SMI gave, None for ``"N/A"`` and all bits set, which mean none."""
    if not isinstance(value, int | float) or value in (0xFFFF, 0xFFFFFFFF, 2**64 - 1):
        return None
    return value


def _text(error: Exception) -> str:
    return str(getattr(error, "err_info", "") or " ".join(str(error).split()))
