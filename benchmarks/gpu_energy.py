"""Energy of a GPU under load: the collector ``nvidia`` against the card itself and nvidia-smi.

For a machine with an NVIDIA GPU. It loads the first visible one for a known time, and samples it
with the collector while nvidia-smi writes its own readings beside. It prints a Markdown table
and exits with 0 if the energy differs from the card's counter by less than the limit, else 1.

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

MOST_PERCENT = 2.0
SMI = {  # fields of nvidia-smi: our name, and the factor to our unit
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

# Eight independent chains of multiply-add for each thread: work that no memory holds up.
_FMA = "\n".join(f"    fma.rn.f32 %f{one}, %f{one}, %f9, %f9;" for one in range(1, 9))
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


def by_torch() -> Callable[[], object]:
    import torch

    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in "ab")

    def burn() -> None:
        for _ in range(8):
            torch.matmul(left, right)
        torch.cuda.synchronize()

    return burn


def by_cupy() -> Callable[[], object]:
    import cupy

    left, right = (cupy.random.random((8192, 8192), dtype=cupy.float32) for _ in "ab")

    def burn() -> None:
        cupy.matmul(left, right)
        cupy.cuda.Device().synchronize()

    return burn


def by_driver() -> Callable[[], object]:
    """Load the GPU through the driver's library alone, which compiles the kernel itself."""
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *arguments: object) -> None:
        code = getattr(cuda, name)(*arguments)
        if code:
            raise SystemExit(f"{name} fails with {code}")

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
            copies="\n".join(f"    mov.f32 %f{one}, %f1;" for one in range(2, 9)),
            sums="\n".join(f"    add.f32 %f1, %f1, %f{one};" for one in range(2, 9)),
        )
        if cuda.cuModuleLoadData(ctypes.byref(module), text.encode()) == 0:
            break
    else:
        raise SystemExit("the driver compiles the kernel for none of its targets")
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


BURNS = {"torch": by_torch, "cupy": by_cupy, "driver": by_driver}


@contextmanager
def burning(kind: str) -> Iterator[None]:
    """Load the GPU in a thread of its own until the block ends."""
    ready, done = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            burn = BURNS[kind]()
            burn()
            ready.set()
            while not done.is_set():
                burn()
        except BaseException as error:  # noqa: BLE001 - told in the thread that waits
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if failed:
            raise SystemExit(f"the load by {kind} failed: {failed[0]!r}")


# -- readings --------------------------------------------------------------------------------


class Smi:
    """nvidia-smi, writing a line every so often; read when it has ended."""

    def __init__(self, uuid: str, interval_s: float) -> None:
        known = subprocess.run(
            ["nvidia-smi", "--help-query-gpu"], capture_output=True, text=True, check=True
        ).stdout
        self.fields = [one for one in SMI if f'"{one}"' in known]
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
        """End it, and give the readings by our names, each with its time."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        found: dict[str, list[tuple[float, float]]] = {}
        for at, line in self.lines:
            cells = [cell.strip() for cell in line.split(",")]
            for field, cell in zip(self.fields, cells, strict=False):
                name, factor = SMI[field]
                if cell.replace(".", "", 1).isdigit():
                    found.setdefault(name, []).append((at, float(cell) * factor))
        return found


def integrated(points: Sequence[tuple[float, float]]) -> float:
    """Give joules from watts."""
    integral, total = PowerIntegral(), 0.0
    for at, watts in points:
        total = integral.add(watts, at) or 0.0
    return total


def mean(points: Sequence[tuple[float, float]], since: float, until: float) -> float:
    inside = [value for at, value in points if since <= at <= until]
    return statistics.fmean(inside) if inside else float("nan")


def counted(uuid: str) -> float:
    """Read the card's own counter, in joules."""
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


# -- the comparison --------------------------------------------------------------------------


def measure(seconds: float, interval_s: float, kind: str) -> int:
    collector = Nvidia(CollectorContext(interval_s=interval_s))
    found = collector.probe()
    if not isinstance(found, Available):
        raise SystemExit(f"{found.reason}. {found.cure}")
    device = found.devices[0]
    uuid = str(device.facts["uuid"])
    names = [quantity.name for quantity in found.quantities if quantity.device == device.id]
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
    with burning(kind):
        collector.start()
        began, before_j = time.monotonic(), counted(uuid)
        sample()
        smi = Smi(uuid, interval_s)
        for step in range(1, round(seconds / interval_s) + 1):
            time.sleep(max(0.0, began + step * interval_s - time.monotonic()))
            sample()
        after_j, ended = counted(uuid), time.monotonic()
        theirs = smi.stop()
    collector.stop()
    pynvml.nvmlShutdown()

    print(
        f"{device.label}, driver {found.facts['driver']}, load by {kind}, "
        f"{ended - began:.1f} s, a sample each {interval_s:g} s\n"
    )
    print("| reading | collector | card | difference |\n|---|---:|---:|---:|")
    energy_j, card_j = ours["energy"][-1][1], after_j - before_j
    error = row("energy, J: the card's counter read directly", energy_j, card_j)
    if len(theirs.get("energy_counter", ())) > 1:
        counter = theirs["energy_counter"]
        row("energy, J: nvidia-smi's counter", energy_j, counter[-1][1] - counter[0][1])
    if len(theirs.get("power", ())) > 1:
        power = theirs["power"]
        share = (ended - began) / (power[-1][0] - power[0][0])  # it began a moment later
        row("energy, J: nvidia-smi's power integrated", energy_j, integrated(power) * share)
    row("energy, J: our power integrated, as without a counter", integrated(ours["power"]), card_j)
    since = began + 2.0  # power is a mean over the second before
    for quantity in found.quantities:
        name = quantity.name
        if quantity.device == device.id and name in theirs:
            means = [mean(points[name], since, ended) for points in (ours, theirs)]
            row(f"{name}, {quantity.unit}: mean, nvidia-smi's", *means)
    wall, cpu = (statistics.median(one) * 1000 for one in zip(*cost_s, strict=True))
    print(f"\nA sample of {len(names)} quantities takes {wall:.2f} ms, {cpu:.2f} ms of CPU time.")
    good = abs(error) <= MOST_PERCENT
    verdict = "within" if good else "NOT within"
    print(
        f"Energy differs by {error:+.2f} % from the card's counter: {verdict} {MOST_PERCENT:g} %."
    )
    return 0 if good else 1


def row(what: str, ours: float, theirs: float) -> float:
    """Print a row; give the difference in percent of theirs."""
    percent = 100 * (ours - theirs) / theirs if theirs else 100 * ours
    print(f"| {what} | {ours:,.1f} | {theirs:,.1f} | {percent:+.2f} % |")
    return percent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the load")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between samples")
    parser.add_argument("--burn", choices=("auto", *BURNS), default="auto", help="what loads it")
    options = parser.parse_args()
    there = [one for one in ("torch", "cupy") if importlib.util.find_spec(one)]
    kind = (there or ["driver"])[0] if options.burn == "auto" else options.burn
    return measure(options.seconds, options.interval, kind)


if __name__ == "__main__":
    sys.exit(main())
