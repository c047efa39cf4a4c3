"""NVIDIA GPUs through NVML: energy, power, utilization, memory, temperature, clocks, throttling.

Devices are numbered as NVML and nvidia-smi number them, which is what MLflow does too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.gpu import visibility
from yprov_mlflow.prov.collectors.gpu.device import Gauge, Gpu, Gpus
from yprov_mlflow.prov.collectors.gpu.nvml import CALLS, USED, Call, MigInstance, PhysicalGpu
from yprov_mlflow.prov.events import Json

_PROCEDURE = (
    "NVML is asked for each GPU. Energy is the hardware's own counter less its value at the "
    "start; where a GPU has none, power integrated by trapezoids between samples. Power is what "
    "NVML gives, which newer GPUs average over one second. Memory in use includes what the "
    "driver keeps for itself. A GPU is throttled (100 %, else 0) while heat, power or the "
    "hardware's protection hold its clocks down; idleness and clocks that someone set do not "
    "count."
)
_COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")


class Nvidia(Gpus):
    """Measures the NVIDIA GPUs that are visible to this process."""

    name = "nvidia"

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self._nvml: Any = None

    def probe(self) -> Available | Unavailable:
        """Find the visible GPUs and what each can tell."""
        try:
            import pynvml
        except ImportError as error:
            return Unavailable(
                f"nvidia-ml-py cannot be imported: {error}", "Run pip install nvidia-ml-py"
            )
        self._nvml, self.errors = pynvml, (pynvml.NVMLError,)
        self.found, self.missing = [], []
        try:
            self.open()
        except pynvml.NVMLError as error:
            return self._no_library(error)
        found: Available | Unavailable
        try:
            found = self._probe()
        except pynvml.NVMLError as error:
            found = Unavailable(f"NVML fails: {error}", "See what nvidia-smi says")
        self.held = isinstance(found, Available)
        if not self.held:
            with suppress(pynvml.NVMLError):
                self.close()
        return found

    def open(self) -> None:
        """Initialise NVML, which counts its users in this process."""
        self._nvml.nvmlInit()

    def close(self) -> None:
        """Leave NVML to its other users."""
        self._nvml.nvmlShutdown()

    def handle(self, key: str) -> Any:
        """Find a GPU or MIG instance by its UUID."""
        return self._nvml.nvmlDeviceGetHandleByUUID(key)

    def is_closed(self, error: Exception) -> bool:
        """Say whether someone shut NVML down more often than they initialised it."""
        return bool(getattr(error, "value", None) == self._nvml.NVML_ERROR_UNINITIALIZED)

    def reason(self, error: Exception) -> str:
        """Say in words why a gauge gives nothing."""
        if isinstance(error, self._nvml.NVMLError_FunctionNotFound):
            return "the driver is too old for it"
        return str(error)

    def _no_library(self, error: Any) -> Unavailable:
        nvml = self._nvml
        loaded = (self.surroundings.root / "proc/driver/nvidia/version").exists()
        container = "In a container, start it with the GPUs (docker --gpus all, apptainer --nv)"
        cures = {
            nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
                "the driver is loaded, but its library libnvidia-ml.so.1 is not here"
                if loaded
                else "there is no NVIDIA driver here (no libnvidia-ml.so.1)",
                container if loaded else f"Where there is a GPU, install its driver. {container}",
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
        whole: dict[str, PhysicalGpu] = {}
        hidden = 0
        for index in range(count):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = nvml.nvmlDeviceGetUUID(handle)
            except nvml.NVMLError_NoPermission:  # the job's control group leaves it to others
                hidden += 1
            except nvml.NVMLError as error:
                self._miss(f"gpu{index}", f"{error}", "See the kernel's log; reset the GPU")
            else:
                whole[uuid] = PhysicalGpu(
                    f"gpu{index}", uuid, handle, list(self._instances(handle))
                )
        names = {uuid: uuid for uuid in whole}
        for gpu in whole.values():
            names |= {name: mig.uuid for mig in gpu.instances for name in mig.names(gpu.uuid)}
        visible = visibility.nvidia(
            self.surroundings.environ, list(whole), names, constrained=hidden > 0
        )
        if not visible.devices:
            return self._nothing(count, hidden, visible.because)
        for gpu in whole.values():
            self._add(gpu, visible.devices)
        self._say_order(whole.values())
        return self.available(
            self._facts(visible.because, hidden),
            agent="nvidia-ml-py",
            version=_version(),
            procedure=_PROCEDURE,
        )

    def _nothing(self, count: int, hidden: int, because: str) -> Unavailable:
        if self.missing and hidden + len(self.missing) == count:
            first = self.missing[0]
            return Unavailable(f"{first.what}: {first.reason}", first.cure)
        if not count:
            share = self.surroundings.environ.get("NVIDIA_VISIBLE_DEVICES")
            where = f" (NVIDIA_VISIBLE_DEVICES={share})" if share is not None else ""
            return Unavailable(f"there is no NVIDIA GPU here{where}")
        if hidden == count:
            return Unavailable(
                f"this process may open none of the node's {count} GPUs",
                "Ask the scheduler for GPUs, or for access to /dev/nvidia0 and its like",
            )
        return Unavailable(
            f"no GPU is visible: {because}", "Name GPUs in it, as nvidia-smi -L lists them"
        )

    def _instances(self, handle: Any) -> Iterator[MigInstance]:
        nvml = self._nvml
        for index in range(self.fact(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            with suppress(nvml.NVMLError):  # there are fewer than there may be
                mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                yield MigInstance(
                    index,
                    nvml.nvmlDeviceGetUUID(mig),
                    mig,
                    self.fact(nvml.nvmlDeviceGetGpuInstanceId, mig),
                    self.fact(nvml.nvmlDeviceGetComputeInstanceId, mig),
                )

    def _add(self, whole: PhysicalGpu, visible: Sequence[str]) -> None:
        """Add a GPU if it or one of its instances is visible; all of them if it is as a whole."""
        chosen = [mig for mig in whole.instances if {mig.uuid, whole.uuid} & {*visible}]
        if not chosen and whole.uuid not in visible:
            return
        self.found.append(self._gpu(whole))
        for mig in chosen:
            device = f"{whole.id}-mig{mig.place}"
            self.found.append(
                Gpu(
                    device,
                    mig.uuid,
                    self.fact(self._nvml.nvmlDeviceGetName, mig.handle) or "MIG instance",
                    {"uuid": mig.uuid, "gpu": whole.id, "memory_bytes": self._total(mig)},
                    self._gauges(device, mig.handle, [USED]),
                )
            )
            self._miss(
                f"{device} energy, power",
                f"they are known of the whole {whole.id} only, not of an instance in it",
            )

    def _gpu(self, whole: PhysicalGpu) -> Gpu:
        nvml, fact = self._nvml, self.fact
        limit = fact(nvml.nvmlDeviceGetEnforcedPowerLimit, whole.handle)
        mode = fact(nvml.nvmlDeviceGetComputeMode, whole.handle)
        mig = fact(nvml.nvmlDeviceGetMigMode, whole.handle)
        pci = fact(nvml.nvmlDeviceGetPciInfo, whole.handle)
        facts: dict[str, Json] = {
            "uuid": whole.uuid,
            "pci_bus_id": pci and pci.busId,
            "memory_bytes": self._total(whole),
            "power_limit_w": limit and limit / 1000,
            "compute_mode": _COMPUTE_MODES[mode] if mode in range(len(_COMPUTE_MODES)) else mode,
            "mig_mode": None if mig is None else bool(mig[0]),
        }
        gauges = self._gauges(whole.id, whole.handle, CALLS)
        name = fact(nvml.nvmlDeviceGetName, whole.handle) or "NVIDIA GPU"
        return Gpu(whole.id, whole.uuid, name, facts, gauges)

    def _gauges(self, device: str, handle: Any, calls: Iterable[Call]) -> list[Gauge]:
        nvml = self._nvml
        return self.gauges(device, handle, [(one.readings, one.gauges(nvml)) for one in calls])

    def _say_order(self, gpus: Iterable[PhysicalGpu]) -> None:
        """Say where CUDA's numbers may mean other GPUs than NVML's."""
        environ = self.surroundings.environ
        words = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        numbers = any(word.strip()[:1].isdigit() for word in words)
        models = {self.fact(self._nvml.nvmlDeviceGetName, gpu.handle) for gpu in gpus}
        if numbers and len(models) > 1 and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            self._miss(
                "order of GPUs",
                "the GPUs differ and CUDA may number them by speed, NVML does by PCI bus",
                "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID",
            )

    def _facts(self, because: str, hidden: int) -> dict[str, Json]:
        nvml = self._nvml
        cuda = self.fact(nvml.nvmlSystemGetCudaDriverVersion_v2)
        facts: dict[str, Json] = {
            "driver": self.fact(nvml.nvmlSystemGetDriverVersion),
            "nvml": self.fact(nvml.nvmlSystemGetNVMLVersion),
            "cuda": cuda and f"{cuda // 1000}.{cuda % 1000 // 10}",
            "visible": because or None,
            "gpus_of_others": hidden or None,
        }
        return facts

    def _total(self, device: PhysicalGpu | MigInstance) -> Json:
        memory = self.fact(self._nvml.nvmlDeviceGetMemoryInfo, device.handle)
        return memory and memory.total

    def _miss(self, what: str, reason: str, cure: str = "") -> None:
        self.missing.append(Unavailable(reason, cure, what))


def _version() -> str:
    try:
        return version("nvidia-ml-py")
    except PackageNotFoundError:  # it came without its metadata
        return ""
