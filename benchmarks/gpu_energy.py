"""Compare the collector ``nvidia`` with the GPU's energy counter and with nvidia-smi, under load.

It needs an NVIDIA GPU. It loads the first visible GPU for a fixed time, and samples it with the
collector while nvidia-smi samples it, too. It prints a Markdown table, and exits with 0 if the
energy differs from the GPU's counter by at most the limit, else with 1.

    python benchmarks/gpu_energy.py --seconds 60 --interval 1
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pynvml

from yprov_mlflow.prov.collectors.base import Available, CollectorContext
from yprov_mlflow.prov.collectors.counters import PowerIntegral
from yprov_mlflow.prov.collectors.gpu.nvidia import Nvidia

LIMIT_PERCENT = 2.0
SMI = {  # fields of nvidia-smi: the quantity's name, and the factor to its unit
    "power.draw": ("power", 1.0),
    "utilization.gpu": ("utilization", 1.0),
    "utilization.memory": ("memory_utilization", 1.0),
    "memory.used": ("memory_used", 2**20),
    "temperature.gpu": ("temperature", 1.0),
    "clocks.sm": ("sm_clock", 1.0),
    "clocks.mem": ("memory_clock", 1.0),
    "enforced.power.limit": ("power_limit", 1.0),
    "total_energy_consumption": ("energy_counter", 0.001),  # newer versions, in mJ
}

# Eight independent multiply-add chains per thread keep the GPU busy without memory accesses.
_FMA = "\n".join(f"    fma.rn.f32 %f{i}, %f{i}, %f9, %f9;" for i in range(1, 9))
PTX = """
.version {version}
.target {target}
.address_size 64
.visible .entry burn(.param .u64 out, .param .u32 rounds)
{{
    .reg .pred %p1;
    .reg .f32 %f<10>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [rounds];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r2, %tid.x;
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mad.lo.u32 %r2, %r3, %r4, %r2;
    cvt.rn.f32.u32 %f1, %r2;
{copies}
    mov.f32 %f9, 0f3F7FFF00;
again:
{fma}
    sub.u32 %r1, %r1, 1;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra again;
{sums}
    mul.wide.u32 %rd2, %r2, 4;
    add.u64 %rd3, %rd1, %rd2;
    st.global.f32 [%rd3], %f1;
    ret;
}}
"""
TARGETS = (("6.0", "sm_50"), ("6.0", "sm_70"), ("6.3", "sm_75"), ("7.0", "sm_80"))


# -- load ------------------------------------------------------------------------------------


def torch_load() -> Callable[[], object]:
    import torch

    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in "ab")

    def burn() -> None:
        for _ in range(8):
            torch.matmul(left, right)
        torch.cuda.synchronize()

    return burn


def cupy_load() -> Callable[[], object]:
    import cupy

    left, right = (cupy.random.random((8192, 8192), dtype=cupy.float32) for _ in "ab")

    def burn() -> None:
        cupy.matmul(left, right)
        cupy.cuda.Device().synchronize()

    return burn


def driver_load() -> Callable[[], object]:
    """Return a function that loads the GPU with nothing but the driver, which compiles the PTX."""
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *arguments: object) -> None:
        code = getattr(cuda, name)(*arguments)
        if code:
            raise SystemExit(f"{name} failed with code {code}")

    device, context = ctypes.c_int(), ctypes.c_void_p()
    module, kernel, out = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    for version, target in TARGETS:
        text = PTX.format(
            version=version,
            target=target,
            fma=_FMA,
            copies="\n".join(f"    mov.f32 %f{i}, %f1;" for i in range(2, 9)),
            sums="\n".join(f"    add.f32 %f1, %f1, %f{i};" for i in range(2, 9)),
        )
        if cuda.cuModuleLoadData(ctypes.byref(module), text.encode()) == 0:
            break
    else:
        raise SystemExit("the driver cannot compile the kernel for any of the targets")
    call("cuModuleGetFunction", ctypes.byref(kernel), module, b"burn")
    blocks, threads = 8192, 256
    call("cuMemAlloc_v2", ctypes.byref(out), ctypes.c_size_t(4 * blocks * threads))
    rounds = ctypes.c_uint32(50_000)
    pointers = (ctypes.c_void_p * 2)(
        ctypes.cast(ctypes.byref(out), ctypes.c_void_p),
        ctypes.cast(ctypes.byref(rounds), ctypes.c_void_p),
    )

    def burn() -> None:
        call("cuLaunchKernel", kernel, blocks, 1, 1, threads, 1, 1, 0, None, pointers, None)
        call("cuCtxSynchronize")

    return burn


LOADS = {"torch": torch_load, "cupy": cupy_load, "driver": driver_load}


@contextmanager
def gpu_load(kind: str) -> Iterator[None]:
    """Load the GPU from another thread until the block ends."""
    ready, done = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            burn = LOADS[kind]()
            burn()
            ready.set()
            while not done.is_set():
                burn()
        except BaseException as error:  # noqa: BLE001 - reported by the waiting thread
            errors.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if errors:
            raise SystemExit(f"the load with {kind} failed: {errors[0]!r}")


# -- samples ---------------------------------------------------------------------------------


class Smi:
    """An nvidia-smi process that prints a line per interval, with the time of each line."""

    def __init__(self, uuid: str, interval_s: float) -> None:
        supported = subprocess.run(
            ["nvidia-smi", "--help-query-gpu"], capture_output=True, text=True, check=True
        ).stdout
        self.fields = [field for field in SMI if f'"{field}"' in supported]
        self._process = subprocess.Popen(
            [
                "nvidia-smi",
                f"--id={uuid}",
                f"--query-gpu={','.join(self.fields)}",
                "--format=csv,noheader,nounits",
                f"--loop-ms={int(interval_s * 1000)}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.monotonic(), line))

    def stop(self) -> dict[str, list[tuple[float, float]]]:
        """Stop nvidia-smi, and return (time, value) pairs by the names of our quantities."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        samples: dict[str, list[tuple[float, float]]] = {}
        for at, line in self.lines:
            cells = [cell.strip() for cell in line.split(",")]
            for field, cell in zip(self.fields, cells, strict=False):
                name, factor = SMI[field]
                if cell.replace(".", "", 1).isdigit():
                    samples.setdefault(name, []).append((at, float(cell) * factor))
        return samples


def integrated(points: Sequence[tuple[float, float]]) -> float:
    """Return the energy in joules of power samples in watts."""
    integral, total = PowerIntegral(), 0.0
    for at, watts in points:
        total = integral.add(watts, at) or 0.0
    return total


def mean(points: Sequence[tuple[float, float]], since: float, until: float) -> float:
    inside = [value for at, value in points if since <= at <= until]
    return statistics.fmean(inside) if inside else float("nan")


def read_energy_j(uuid: str) -> float:
    """Return the GPU's energy counter, in joules."""
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


# -- comparison ------------------------------------------------------------------------------


def measure(seconds: float, interval_s: float, kind: str) -> int:
    collector = Nvidia(CollectorContext(interval_s=interval_s))
    probed = collector.probe()
    if not isinstance(probed, Available):
        raise SystemExit(f"{probed.reason}. {probed.cure}")
    device = probed.devices[0]
    uuid = str(device.facts["uuid"])
    names = [quantity.name for quantity in probed.quantities if quantity.device == device.id]
    ours: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    cost_s: list[tuple[float, float]] = []

    def sample() -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        values = collector.sample()[: len(names)]
        cost_s.append((time.perf_counter() - wall, time.thread_time() - cpu))
        at = time.monotonic()
        for name, value in zip(names, values, strict=True):
            if value is not None:
                ours[name].append((at, value))

    pynvml.nvmlInit()
    with gpu_load(kind):
        collector.start()
        start, before_j = time.monotonic(), read_energy_j(uuid)
        sample()
        smi = Smi(uuid, interval_s)
        for step in range(1, round(seconds / interval_s) + 1):
            time.sleep(max(0.0, start + step * interval_s - time.monotonic()))
            sample()
        after_j, ended = read_energy_j(uuid), time.monotonic()
        smi_samples = smi.stop()
    collector.stop()
    pynvml.nvmlShutdown()

    print(
        f"{device.label}, driver {probed.facts['driver']}, load with {kind}, "
        f"{ended - start:.1f} s, a sample every {interval_s:g} s\n"
    )
    print("| quantity | collector | reference | difference |\n|---|---:|---:|---:|")
    energy_j, counter_j = ours["energy"][-1][1], after_j - before_j
    error = row("energy, J: GPU counter", energy_j, counter_j)
    if len(smi_samples.get("energy_counter", ())) > 1:
        counter = smi_samples["energy_counter"]
        row("energy, J: counter from nvidia-smi", energy_j, counter[-1][1] - counter[0][1])
    if len(smi_samples.get("power", ())) > 1:
        power = smi_samples["power"]
        # nvidia-smi starts a moment later than the collector.
        share = (ended - start) / (power[-1][0] - power[0][0])
        row("energy, J: integrated power from nvidia-smi", energy_j, integrated(power) * share)
    row("energy, J: integrated power of the collector", integrated(ours["power"]), counter_j)
    since = start + 2.0  # power is an average over the last second
    for quantity in probed.quantities:
        name = quantity.name
        if quantity.device == device.id and name in smi_samples:
            means = [mean(points[name], since, ended) for points in (ours, smi_samples)]
            row(f"{name}, {quantity.unit}: mean, from nvidia-smi", *means)
    wall, cpu = (statistics.median(times) * 1000 for times in zip(*cost_s, strict=True))
    print(f"\nA sample of {len(names)} quantities takes {wall:.2f} ms, {cpu:.2f} ms of CPU time.")
    passed = abs(error) <= LIMIT_PERCENT
    verdict = "within" if passed else "NOT within"
    print(
        f"Energy differs by {error:+.2f} % from the GPU's counter: {verdict} {LIMIT_PERCENT:g} %."
    )
    return 0 if passed else 1


def row(label: str, ours: float, reference: float) -> float:
    """Print a table row, and return the difference in percent of the reference."""
    percent = 100 * (ours - reference) / reference if reference else 100 * ours
    print(f"| {label} | {ours:,.1f} | {reference:,.1f} | {percent:+.2f} % |")
    return percent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the load")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between samples")
    parser.add_argument(
        "--load", choices=("auto", *LOADS), default="auto", help="library that creates the load"
    )
    options = parser.parse_args()
    installed = [name for name in ("torch", "cupy") if importlib.util.find_spec(name)]
    kind = (installed or ["driver"])[0] if options.load == "auto" else options.load
    return measure(options.seconds, options.interval, kind)


if __name__ == "__main__":
    sys.exit(main())
