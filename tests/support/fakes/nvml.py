"""A fake of libnvidia-ml.so.1 as pynvml calls it, with symbols, pointers and error codes.

All of pynvml's own code runs against it. It follows NVML's documentation: calls before nvmlInit and
after the last nvmlShutdown fail, devices of other users are counted but cannot be opened, strings
that do not fit are rejected, MIG instances report their memory and little else.
"""

import contextlib
import ctypes
from dataclasses import dataclass, field

import pynvml

MISSING = None
"""Value of a sensor that a device lacks."""


def uuid(number):
    return f"GPU-{number:08x}-aaaa-bbbb-cccc-{number:012x}"


@dataclass
class Mig:
    uuid: str
    gpu_instance: int = 1
    compute_instance: int = 0
    used: int = 1_000_000_000
    total: int = 10_000_000_000
    name: str = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    errors: dict = field(default_factory=dict)
    lost: int = 0
    forbidden: bool = False


@dataclass
class Gpu:
    """A GPU; a ``MISSING`` sensor is not supported; ``errors`` maps symbols to error codes."""

    uuid: str = uuid(0)
    name: str = "NVIDIA H100 80GB HBM3"
    bus: str = "00000000:01:00.0"
    energy_mj: int | None = 5_000_000
    power_mw: int | None = 350_000
    limit_mw: int | None = 700_000
    utilization: tuple | None = (97, 41)
    used: int | None = 30_000_000_000
    total: int = 80_000_000_000
    temperature: int | None = 61
    clocks: dict = field(default_factory=lambda: {1: 1980, 2: 2619})
    reasons: int | None = 0
    compute_mode: int = 0
    mig_mode: int | None = 0
    uses: list | None = MISSING  # of processes: id, time, percent
    migs: list = field(default_factory=list)
    errors: dict = field(default_factory=dict)
    lost: int = 0
    forbidden: bool = False


class Library:
    """Replacement for ``ctypes.CDLL("libnvidia-ml.so.1")``."""

    def __init__(self, *gpus, without=(), init_error=0):
        self.gpus = list(gpus)
        self.without = set(without)
        self.init_error = init_error
        self.users = 0
        self.ends = 0
        self.reads = 0

    def __getattr__(self, symbol):
        if not symbol.startswith("nvml") or symbol in self.without or not hasattr(_C, symbol):
            raise AttributeError(symbol)  # like ctypes for a missing symbol
        entry = getattr(_C, symbol)

        def function(*arguments):
            if symbol not in ("nvmlInitWithFlags", "nvmlErrorString") and not self.users:
                return pynvml.NVML_ERROR_UNINITIALIZED
            self.reads += 1
            return entry(self, *arguments)

        return function

    def devices(self):
        return [device for gpu in self.gpus for device in (gpu, *gpu.migs)]


@contextlib.contextmanager
def loaded(library):
    """Make pynvml load ``library``; None simulates a missing driver."""

    def cdll(name):
        if library is None:
            raise OSError(f"{name}: cannot open shared object file")
        return library

    before = pynvml.nvmlLib, pynvml.CDLL, pynvml._nvmlLib_refcount
    pynvml.nvmlLib, pynvml.CDLL = None, cdll
    pynvml._nvmlGetFunctionPointer_cache.clear()
    try:
        yield library
    finally:
        pynvml.nvmlLib, pynvml.CDLL, pynvml._nvmlLib_refcount = before
        pynvml._nvmlGetFunctionPointer_cache.clear()


def _put(pointer, value):
    pointer._obj.value = value
    return pynvml.NVML_SUCCESS


def _put_text(buffer, size, text):
    if len(text) >= size.value:
        return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    buffer.value = text.encode()
    return pynvml.NVML_SUCCESS


def _put_handle(library, pointer, device):
    if device.forbidden:
        return pynvml.NVML_ERROR_NO_PERMISSION
    if device.lost:
        return device.lost
    ctypes.c_void_p.from_buffer(pointer._obj).value = 0x1000 + library.devices().index(device)
    return pynvml.NVML_SUCCESS


def _device(symbol, of=(Gpu,)):
    """Decorate an entry that takes a device instead of its handle."""

    def decorate(entry):
        def checked(library, handle, *arguments):
            device = library.devices()[ctypes.cast(handle, ctypes.c_void_p).value - 0x1000]
            code = device.lost or device.errors.get(symbol, 0)
            if code:
                return code
            if not isinstance(device, of):
                return pynvml.NVML_ERROR_NOT_SUPPORTED
            return entry(device, *arguments)

        return checked

    return decorate


def _sensor(symbol, attribute):
    """Return an entry for a sensor that not all devices have."""

    @_device(symbol)
    def entry(device, pointer):
        value = getattr(device, attribute)
        return pynvml.NVML_ERROR_NOT_SUPPORTED if value is MISSING else _put(pointer, value)

    return entry


class _C:
    """The functions of the library by symbol; the first argument is the library."""

    def nvmlInitWithFlags(library, flags):
        if not library.init_error:
            library.users += 1
        return library.init_error

    def nvmlShutdown(library):
        library.users -= 1
        library.ends += not library.users
        return pynvml.NVML_SUCCESS

    def nvmlErrorString(library, code):
        return b"Error of a later driver"

    def nvmlSystemGetDriverVersion(library, buffer, size):
        return _put_text(buffer, size, "570.86.15")

    def nvmlSystemGetNVMLVersion(library, buffer, size):
        return _put_text(buffer, size, "12.570.86.15")

    def nvmlSystemGetCudaDriverVersion_v2(library, pointer):
        return _put(pointer, 12080)

    def nvmlDeviceGetCount_v2(library, pointer):
        return _put(pointer, len(library.gpus))

    def nvmlDeviceGetHandleByIndex_v2(library, index, pointer):
        if index.value >= len(library.gpus):
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        return _put_handle(library, pointer, library.gpus[index.value])

    def nvmlDeviceGetHandleByUUID(library, text, pointer):
        for device in library.devices():
            if device.uuid == text.value.decode():
                return _put_handle(library, pointer, device)
        return pynvml.NVML_ERROR_NOT_FOUND

    @_device("nvmlDeviceGetUUID", of=(Gpu, Mig))
    def nvmlDeviceGetUUID(device, buffer, size):
        return _put_text(buffer, size, device.uuid)

    @_device("nvmlDeviceGetName", of=(Gpu, Mig))
    def nvmlDeviceGetName(device, buffer, size):
        return _put_text(buffer, size, device.name)

    @_device("nvmlDeviceGetPciInfo_v3")
    def nvmlDeviceGetPciInfo_v3(device, pointer):
        pointer._obj.busId = device.bus
        return pynvml.NVML_SUCCESS

    @_device("nvmlDeviceGetComputeMode")
    def nvmlDeviceGetComputeMode(device, pointer):
        return _put(pointer, device.compute_mode)

    @_device("nvmlDeviceGetMigMode")
    def nvmlDeviceGetMigMode(device, current, pending):
        if device.mig_mode is MISSING:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        return _put(current, device.mig_mode) or _put(pending, 1 - device.mig_mode)

    @_device("nvmlDeviceGetMaxMigDeviceCount")
    def nvmlDeviceGetMaxMigDeviceCount(device, pointer):
        return _put(pointer, 7 if device.mig_mode else 0)

    def nvmlDeviceGetMigDeviceHandleByIndex(library, handle, index, pointer):
        gpu = library.devices()[ctypes.cast(handle, ctypes.c_void_p).value - 0x1000]
        if index.value >= len(gpu.migs):
            return pynvml.NVML_ERROR_NOT_FOUND
        return _put_handle(library, pointer, gpu.migs[index.value])

    @_device("nvmlDeviceGetGpuInstanceId", of=(Mig,))
    def nvmlDeviceGetGpuInstanceId(device, pointer):
        return _put(pointer, device.gpu_instance)

    @_device("nvmlDeviceGetComputeInstanceId", of=(Mig,))
    def nvmlDeviceGetComputeInstanceId(device, pointer):
        return _put(pointer, device.compute_instance)

    nvmlDeviceGetTotalEnergyConsumption = _sensor(
        "nvmlDeviceGetTotalEnergyConsumption", "energy_mj"
    )
    nvmlDeviceGetPowerUsage = _sensor("nvmlDeviceGetPowerUsage", "power_mw")
    nvmlDeviceGetEnforcedPowerLimit = _sensor("nvmlDeviceGetEnforcedPowerLimit", "limit_mw")
    nvmlDeviceGetCurrentClocksEventReasons = _sensor(
        "nvmlDeviceGetCurrentClocksEventReasons", "reasons"
    )
    nvmlDeviceGetCurrentClocksThrottleReasons = _sensor(
        "nvmlDeviceGetCurrentClocksThrottleReasons", "reasons"
    )

    @_device("nvmlDeviceGetMemoryInfo", of=(Gpu, Mig))
    def nvmlDeviceGetMemoryInfo(device, pointer):
        if device.used is MISSING:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        memory = pointer._obj
        memory.total, memory.used = device.total, device.used
        memory.free = max(device.total - device.used, 0)
        return pynvml.NVML_SUCCESS

    @_device("nvmlDeviceGetUtilizationRates")
    def nvmlDeviceGetUtilizationRates(device, pointer):
        if device.utilization is MISSING or device.mig_mode:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        pointer._obj.gpu, pointer._obj.memory = device.utilization
        return pynvml.NVML_SUCCESS

    @_device("nvmlDeviceGetProcessUtilization")
    def nvmlDeviceGetProcessUtilization(device, samples, count, since):
        if device.uses is MISSING or device.mig_mode:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        uses = [use for use in device.uses if use[1] > since.value]
        if not uses:
            return pynvml.NVML_ERROR_NOT_FOUND
        if samples is None or count._obj.value < len(uses):
            count._obj.value = len(uses)
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for entry, (pid, time, percent) in zip(samples, uses, strict=False):
            entry.pid, entry.timeStamp, entry.smUtil = pid, time, percent
        count._obj.value = len(uses)
        return pynvml.NVML_SUCCESS

    @_device("nvmlDeviceGetTemperatureV")
    def nvmlDeviceGetTemperatureV(device, pointer):
        if pointer._obj.version != pynvml.nvmlTemperature_v1:
            return pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
        if pointer._obj.sensorType != pynvml.NVML_TEMPERATURE_GPU:
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        if device.temperature is MISSING:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        pointer._obj.temperature = device.temperature
        return pynvml.NVML_SUCCESS

    @_device("nvmlDeviceGetTemperature")
    def nvmlDeviceGetTemperature(device, sensor, pointer):
        if sensor.value != pynvml.NVML_TEMPERATURE_GPU:
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        if device.temperature is MISSING:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        return _put(pointer, device.temperature)

    @_device("nvmlDeviceGetClockInfo")
    def nvmlDeviceGetClockInfo(device, kind, pointer):
        if kind.value not in device.clocks:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        return _put(pointer, device.clocks[kind.value])
