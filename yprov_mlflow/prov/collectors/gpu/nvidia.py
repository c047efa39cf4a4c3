"""NVIDIA GPUs through NVML: energy, power, utilization, memory, temperature, clocks, throttling.

Devices are numbered as by NVML and nvidia-smi, and therefore as by MLflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors.base import Available, Unavailable
from yprov_mlflow.prov.collectors.gpu import visibility
from yprov_mlflow.prov.collectors.gpu.device import COUNTER, Gauge, Gpu, GpuCollector, Use
from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.events import Json

_PROCEDURE = (
    "NVML is queried for each GPU. Energy is the hardware's own counter minus its value at the "
    "start; if a GPU lacks it, power integrated by trapezoids between samples. Power is NVML's "
    "value, which newer GPUs average over one second. Memory in use includes the driver's own. "
    "A GPU is throttled (100 %, else 0) while heat, power or the hardware's protection hold its "
    "clocks down; idleness and clocks that someone set do not count. The share of the run is an "
    "estimate: the growth of the energy times the percent of time in which NVML saw kernels of the "
    "process and its children; if the percents of all processes exceed 100, they are scaled down. "
    "Idle time belongs to no run."
)
_COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")

_SM, _MEMORY = 1, 2  # nvmlClockType_t
# Bits of nvmlClocksEventReasons. Not idle (0x01), application clocks (0x02), sync boost (0x10) and
# display clocks (0x100): they do not mean that the GPU is held back.
_THERMAL = 0x20 | 0x40
_THROTTLED = _THERMAL | 0x04 | 0x08 | 0x80 | 0x200 | 0x400


class _Call(NamedTuple):
    """A function of pynvml, with the older ones for drivers that lack it."""

    readings: tuple[str, ...]
    functions: tuple[str, ...]
    arguments: tuple[int, ...] = ()
    convert: Callable[[Any], tuple[float | None, ...]] = lambda value: (value,)

    def gauges(self, nvml: Any) -> list[Gauge]:
        """Return a gauge for each function that pynvml has."""
        return [self._gauge(getattr(nvml, f)) for f in self.functions if hasattr(nvml, f)]

    def _gauge(self, function: Callable[..., Any]) -> Gauge:
        arguments, convert = self.arguments, self.convert
        return Gauge(self.readings, lambda handle: convert(function(handle, *arguments)))


def _from_milli(value: int) -> tuple[float]:
    return (value / 1000,)


def _memory_used(memory: Any) -> tuple[float | None]:
    return (memory.used if memory.used <= memory.total else None,)


def _throttling(reasons: int) -> tuple[float, float]:
    return (100.0 * bool(reasons & _THROTTLED), 100.0 * bool(reasons & _THERMAL))


_MEMORY_CALL = _Call(("memory_used",), ("nvmlDeviceGetMemoryInfo",), convert=_memory_used)
_CALLS = (
    _Call((COUNTER,), ("nvmlDeviceGetTotalEnergyConsumption",)),
    _Call(("power",), ("nvmlDeviceGetPowerUsage",), convert=_from_milli),
    _Call(
        ("utilization", "memory_utilization"),
        ("nvmlDeviceGetUtilizationRates",),
        convert=lambda rates: (rates.gpu, rates.memory),
    ),
    _MEMORY_CALL,
    _Call(("temperature",), ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"), (0,)),
    _Call(("sm_clock",), ("nvmlDeviceGetClockInfo",), (_SM,)),
    _Call(("memory_clock",), ("nvmlDeviceGetClockInfo",), (_MEMORY,)),
    _Call(
        ("throttled", "throttled_thermal"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
        convert=_throttling,
    ),
    _Call(("power_limit",), ("nvmlDeviceGetEnforcedPowerLimit",), convert=_from_milli),
)


class _MigInstance(NamedTuple):
    """A MIG instance and its number in its GPU."""

    number: int
    uuid: str
    handle: Any
    old_name: str  # for drivers before 470


class _PhysicalGpu(NamedTuple):
    """A GPU that can be opened, with its MIG instances."""

    id: str
    uuid: str
    handle: Any
    instances: list[_MigInstance]


class Nvidia(GpuCollector):
    """Measures the NVIDIA GPUs that are visible to this process."""

    name = "nvidia"

    def probe(self) -> Available | Unavailable:
        """Detect the visible GPUs and their readings."""
        try:
            import pynvml
        except ImportError as error:
            reason = f"nvidia-ml-py cannot be imported: {error}"
            return Unavailable(reason, "Run pip install nvidia-ml-py")
        self._nvml: Any = pynvml
        self.errors = (pynvml.NVMLError,)
        self.gpus, self.missing = [], []
        try:
            self.open()
        except pynvml.NVMLError as error:
            return self._init_failure(error)
        try:
            result = self._probe()
        except pynvml.NVMLError as error:
            result = Unavailable(f"NVML fails: {error}", "See the output of nvidia-smi")
        self.keep_open = isinstance(result, Available)
        if not self.keep_open:
            with suppress(pynvml.NVMLError):
                self.close()
        return result

    def open(self) -> None:
        """Initialize NVML, which counts its users in this process."""
        self._nvml.nvmlInit()

    def close(self) -> None:
        """Release NVML; its other users in this process keep it."""
        self._nvml.nvmlShutdown()

    def handle(self, key: str) -> Any:
        """Return the handle of a GPU or MIG instance by its UUID."""
        return self._nvml.nvmlDeviceGetHandleByUUID(key)

    def is_closed(self, error: Exception) -> bool:
        """Return whether other code shut NVML down more often than it initialized it."""
        return bool(getattr(error, "value", None) == self._nvml.NVML_ERROR_UNINITIALIZED)

    def reason(self, error: Exception) -> str:
        """Return why a gauge failed."""
        if isinstance(error, self._nvml.NVMLError_FunctionNotFound):
            return "the driver is too old for it"
        return str(error)

    def _init_failure(self, error: Any) -> Unavailable:
        nvml = self._nvml
        loaded = (self.context.root / "proc/driver/nvidia/version").exists()
        container = "In a container, start it with the GPUs (docker --gpus all, apptainer --nv)"
        cures = {
            nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
                "the NVIDIA driver is loaded, but its library libnvidia-ml.so.1 is missing"
                if loaded
                else "no NVIDIA driver (libnvidia-ml.so.1 is missing)",
                container if loaded else f"If there is a GPU, install its driver. {container}",
            ),
            nvml.NVML_ERROR_DRIVER_NOT_LOADED: (
                "the NVIDIA driver is not loaded",
                f"Load the kernel module nvidia. {container}",
            ),
            nvml.NVML_ERROR_NO_PERMISSION: (
                "this user may not use the NVIDIA driver",
                "Ask for access to /dev/nvidiactl and /dev/nvidia0, often by the group video",
            ),
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
                "the NVIDIA driver and its library have different versions",
                "Reboot, or reload the NVIDIA kernel modules: the driver was updated",
            ),
        }
        reason, cure = cures.get(error.value, (f"NVML does not start: {error}", ""))
        return Unavailable(reason, cure)

    def _probe(self) -> Available | Unavailable:
        nvml = self._nvml
        count = nvml.nvmlDeviceGetCount()
        gpus: dict[str, _PhysicalGpu] = {}
        hidden = 0
        for index in range(count):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = nvml.nvmlDeviceGetUUID(handle)
            except nvml.NVMLError_NoPermission:  # the job's control group does not include it
                hidden += 1
            except nvml.NVMLError as error:
                self._miss(f"gpu{index}", f"{error}", "See the kernel's log; reset the GPU")
            else:
                instances = list(self._instances(uuid, handle))
                gpus[uuid] = _PhysicalGpu(f"gpu{index}", uuid, handle, instances)
        names = {uuid: uuid for uuid in gpus}
        for gpu in gpus.values():
            for mig in gpu.instances:
                names[mig.uuid] = names[mig.old_name] = mig.uuid
        visible = visibility.nvidia(self.context.environ, list(gpus), names, constrained=hidden > 0)
        if not visible.devices:
            return self._no_gpu(count, hidden, visible.source)
        for gpu in gpus.values():
            self._add(gpu, visible.devices)
        self._check_order(gpus.values())
        return self.available(
            self._facts(visible.source, hidden),
            agent="nvidia-ml-py",
            version=_version(),
            procedure=_PROCEDURE,
        )

    def _no_gpu(self, count: int, hidden: int, source: str) -> Unavailable:
        if self.missing and hidden + len(self.missing) == count:
            first = self.missing[0]
            return Unavailable(f"{first.what}: {first.reason}", first.cure)
        if not count:
            value = self.context.environ.get("NVIDIA_VISIBLE_DEVICES")
            setting = f" (NVIDIA_VISIBLE_DEVICES={value})" if value is not None else ""
            return Unavailable(f"no NVIDIA GPU{setting}")
        if hidden == count:
            reason = f"this process may open none of the node's {count} GPUs"
            cure = "Request GPUs from the scheduler, or access to devices such as /dev/nvidia0"
        else:
            reason = f"no GPU is visible: {source}"
            cure = "Select GPUs in it, as listed by nvidia-smi -L"
        return Unavailable(reason, cure)

    def _instances(self, gpu: str, handle: Any) -> Iterator[_MigInstance]:
        nvml = self._nvml
        for index in range(self.fact(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            with suppress(nvml.NVMLError):  # fewer instances than the maximum
                mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                instance = self.fact(nvml.nvmlDeviceGetGpuInstanceId, mig)
                compute = self.fact(nvml.nvmlDeviceGetComputeInstanceId, mig)
                old_name = f"MIG-{gpu}/{instance}/{compute}"
                yield _MigInstance(index, nvml.nvmlDeviceGetUUID(mig), mig, old_name)

    def _add(self, gpu: _PhysicalGpu, visible: Sequence[str]) -> None:
        """Add a GPU and its visible instances; all instances if the whole GPU is visible."""
        instances = [mig for mig in gpu.instances if {mig.uuid, gpu.uuid} & {*visible}]
        if not instances and gpu.uuid not in visible:
            return
        self.gpus.append(self._gpu(gpu))
        for mig in instances:
            device = f"{gpu.id}-mig{mig.number}"
            label = self.fact(self._nvml.nvmlDeviceGetName, mig.handle) or "MIG instance"
            facts = {"uuid": mig.uuid, "gpu": gpu.id, "memory_bytes": self._total_memory(mig)}
            gauges = self._gauges(device, mig.handle, [_MEMORY_CALL])
            self.gpus.append(Gpu(device, mig.uuid, label, facts, gauges))
            reason = f"only measured for the whole {gpu.id}, not for an instance of it"
            self._miss(f"{device} energy, power", reason)

    def _gpu(self, gpu: _PhysicalGpu) -> Gpu:
        nvml, fact = self._nvml, self.fact
        limit = fact(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu.handle)
        mode = fact(nvml.nvmlDeviceGetComputeMode, gpu.handle)
        mig = fact(nvml.nvmlDeviceGetMigMode, gpu.handle)
        pci = fact(nvml.nvmlDeviceGetPciInfo, gpu.handle)
        facts: dict[str, Json] = {
            "uuid": gpu.uuid,
            "pci_bus_id": pci and pci.busId,
            "memory_bytes": self._total_memory(gpu),
            "power_limit_w": limit and limit / 1000,
            "compute_mode": _COMPUTE_MODES[mode] if mode in range(len(_COMPUTE_MODES)) else mode,
            "mig_mode": None if mig is None else bool(mig[0]),
        }
        gauges = self._gauges(gpu.id, gpu.handle, _CALLS)
        name = fact(nvml.nvmlDeviceGetName, gpu.handle) or "NVIDIA GPU"
        obstacle = self._obstacle_to_use(gpu.handle)
        facts["use_by_process"] = obstacle
        read_use = None if obstacle else self._use
        return Gpu(gpu.id, gpu.uuid, name, facts, gauges, read_use=read_use)

    def _obstacle_to_use(self, handle: Any) -> str | None:
        """Return why the use of a GPU by each process is unknown; None if NVML knows it."""
        if not processes.in_first_namespace(self.context.root):
            return "unknown: NVML numbers processes as the host does, this container differently"
        try:
            self._use(handle, 0)
        except self.errors as error:
            return f"unknown: {self.reason(error)}"
        return None

    def _use(self, handle: Any, since: int) -> list[Use]:
        nvml = self._nvml
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, since)
        except nvml.NVMLError as error:
            # pynvml raises even for success without samples: no process used the GPU.
            if error.value in (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND):
                return []
            raise
        return [Use(s.pid, min(s.smUtil, 100), s.timeStamp) for s in samples if s.timeStamp > since]

    def _gauges(self, device: str, handle: Any, calls: Iterable[_Call]) -> list[Gauge]:
        candidates = [(call.readings, call.gauges(self._nvml)) for call in calls]
        return self.working_gauges(device, handle, candidates)

    def _check_order(self, gpus: Iterable[_PhysicalGpu]) -> None:
        """Add a note if CUDA may number the GPUs differently from NVML."""
        environ = self.context.environ
        words = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        by_number = any(word.strip()[:1].isdigit() for word in words)
        models = {self.fact(self._nvml.nvmlDeviceGetName, gpu.handle) for gpu in gpus}
        if by_number and len(models) > 1 and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            self._miss(
                "order of GPUs",
                "the GPUs differ, and CUDA may number them by speed, unlike NVML (PCI bus)",
                "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or select GPUs by UUID",
            )

    def _facts(self, source: str, hidden: int) -> dict[str, Json]:
        nvml = self._nvml
        cuda = self.fact(nvml.nvmlSystemGetCudaDriverVersion_v2)
        return {
            "driver": self.fact(nvml.nvmlSystemGetDriverVersion),
            "nvml": self.fact(nvml.nvmlSystemGetNVMLVersion),
            "cuda": cuda and f"{cuda // 1000}.{cuda % 1000 // 10}",
            "visible": source or None,
            "gpus_of_others": hidden or None,
        }

    def _total_memory(self, device: _PhysicalGpu | _MigInstance) -> Json:
        memory = self.fact(self._nvml.nvmlDeviceGetMemoryInfo, device.handle)
        return memory and memory.total

    def _miss(self, what: str, reason: str, cure: str = "") -> None:
        self.missing.append(Unavailable(reason, cure, what))


def _version() -> str:
    try:
        return version("nvidia-ml-py")
    except PackageNotFoundError:  # pynvml can be installed without metadata
        return ""
