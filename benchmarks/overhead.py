"""Measure the cost of capture: the same calls with plain MLflow and captured, alternating.

Absolute times differ between machines and from hour to hour. So each case alternates between plain
and captured, a few calls at a time, in several processes, and reports the median difference of
neighboring measurements, with its 95 % interval. README.md has the details.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import itertools
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

BACKENDS = ("sqlite", "file", "http")
MODES = ("plain", "captured")
BOOT_S = 90.0
POINTS_PER_BATCH = 1000
POINTS_PER_RUN = 20_000
PARAMS_PER_RUN = 50
POINTS_IN_MEMORY = (100_000, 300_000)
FLAT_MIB = 5.0
"""Memory in MiB that three times the points may add before it counts as growth."""


# -- results -------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Measurements of the same work, one right after the other."""

    plain: float
    captured: float


class Goal(NamedTuple):
    """The maximum cost of capture: a ``ratio``, or a ``difference`` in the unit of the case."""

    kind: str
    limit: float


class Row(NamedTuple):
    """A row of the table; ``low`` and ``high`` bound the ratio or difference with the goal."""

    case: str
    unit: str
    plain: float
    captured: float
    ratio: float
    difference: float
    low: float
    high: float
    goal: str
    verdict: str


def summarize(case: str, unit: str, pairs: list[Pair], goal: Goal | None = None) -> Row:
    """Return medians of the pairs' ratios and differences, and whether they meet the goal."""
    # Medians over neighboring measurements are robust against slow phases of the machine.
    ratios = [pair.captured / pair.plain for pair in pairs if pair.plain]
    differences = [pair.captured - pair.plain for pair in pairs]
    by_ratio = goal is not None and goal.kind == "ratio"
    low, high = interval(ratios if by_ratio else differences)
    ratio = statistics.median(ratios) if ratios else math.nan
    difference = statistics.median(differences)
    verdict = text = ""
    if goal is not None:
        text = f"<= {goal.limit:g}x" if by_ratio else f"<= {goal.limit:g} {unit} more"
        verdict = "met" if (ratio if by_ratio else difference) <= goal.limit else "missed"
        if low <= goal.limit < high:
            verdict += ", within noise"
    return Row(
        case,
        unit,
        statistics.median(pair.plain for pair in pairs),
        statistics.median(pair.captured for pair in pairs),
        ratio,
        difference,
        low,
        high,
        text,
        verdict,
    )


def interval(samples: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median by order statistics, or the range of few samples."""
    ordered = sorted(samples)
    half = 0.98 * math.sqrt(len(ordered))
    first = max(0, math.floor(len(ordered) / 2 - half))
    last = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))
    return ordered[first], ordered[last]


def table(rows: list[Row], modes: tuple[str, str] = MODES) -> str:
    """Return the rows as a text table; ``modes`` are the headings of the two measurements."""
    headings = ("case", *modes, "ratio", "difference", "95 % interval", "goal", "result")
    lines = [headings]
    for row in rows:
        by_ratio = row.goal.endswith("x")
        bounds = (
            f"{row.low:.3f}..{row.high:.3f} x" if by_ratio else f"{row.low:+.4g}..{row.high:+.4g}"
        )
        lines.append(
            (
                row.case,
                f"{row.plain:.4g} {row.unit}",
                f"{row.captured:.4g} {row.unit}",
                f"{row.ratio:.3f}",
                f"{row.difference:+.4g} {row.unit}",
                bounds,
                row.goal,
                row.verdict,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


# -- calls, plain and captured in the same process -----------------------------------------


class SwitchableRun:
    """A run that can be switched between captured and plain MLflow.

    The comparison needs the same store: two stores would differ by more than the cost of capture,
    because of names, the order in which folders list their files, and the caches of databases.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.tracking._tracking_service import utils

        root = None if uri.startswith("yprov+http") else str(folder / "artifacts")
        warm = folder / "warm.bin"
        warm.write_bytes(b"w")
        self.client = MlflowClient(uri)
        experiment = self.client.create_experiment("overhead", artifact_location=root)
        self.run_id = self.client.create_run(experiment).info.run_id
        self.client.log_artifact(self.run_id, str(warm))
        self.store = self.client._tracking_client.store
        self._objects = [self.store, utils._artifact_repos_cache[self.run_id]]
        self._wrapped = [type(obj) for obj in self._objects]
        self._plain = [cls.__bases__[0] for cls in self._wrapped]

    def switch_to(self, mode: str) -> None:
        """Make the next calls ``captured`` or ``plain``."""
        from yprov_mlflow.prov.capture.switch import switch
        from yprov_mlflow.prov.capture.wrappers import Wrapped

        captured = mode == "captured"
        switch.on = captured
        classes = self._wrapped if captured else self._plain
        for obj, cls in zip(self._objects, classes, strict=True):
            obj.__class__ = cls
            if isinstance(obj, Wrapped) is not captured:
                raise SystemExit(f"{obj} is not {mode}")
        queue = self.store.__dict__.get("_async_logging_queue")
        if queue is not None:
            queue._logging_func = getattr(self.store, queue._logging_func.__name__)


Call = Callable[[Any, str, int], Any]


def case_log_metric(client: Any, run_id: str, i: int) -> None:
    client.log_metric(run_id, "loss", i / 7, step=i)


def case_calls(folder: Path) -> dict[str, tuple[Call, int, int]]:
    """Return for each case its call, the calls per block and the blocks of a full benchmark."""
    from mlflow.entities import Metric

    file = folder / "kilobyte.bin"
    file.write_bytes(os.urandom(1024))
    batches: dict[int, list[Any]] = {}

    def batch(i: int) -> list[Any]:
        if i not in batches:
            batches.clear()
            first = i * POINTS_PER_BATCH // 10
            batches[i] = [
                Metric(f"m{n % 10}", n / 7, 1_700_000_000_000 + n, first + n // 10)
                for n in range(POINTS_PER_BATCH)
            ]
        return batches[i]

    def log_batch(client: Any, run_id: str, i: int) -> None:
        client.log_batch(run_id, metrics=batch(i))

    # Batches are created before the clock starts.
    log_batch.prepare = batch  # type: ignore[attr-defined] # - functions may have attributes
    return {
        "log_metric": (case_log_metric, 5, 600),
        "log_param": (lambda c, r, i: c.log_param(r, f"p{i}", i), 5, 80),
        "set_tag": (lambda c, r, i: c.set_tag(r, f"t{i}", str(i)), 5, 80),
        "log_batch of 1000 metrics": (log_batch, 1, 41),
        "log_metric, asynchronous": (
            lambda c, r, i: c.log_metric(r, "queued", i / 7, step=i, synchronous=False),
            20,
            60,
        ),
        "log_artifact of 1 KB": (lambda c, r, i: c.log_artifact(r, str(file)), 2, 80),
    }


def time_block(call: Call, client: Any, run_id: str, numbers: range) -> tuple[float, float]:
    """Return median CPU and wall time per call of the calling thread, in microseconds."""
    prepare = getattr(call, "prepare", None)
    cpu, wall, results = [], [], []
    for i in numbers:
        if prepare is not None:
            prepare(i)
        cpu_0, wall_0 = time.thread_time_ns(), time.perf_counter_ns()
        result = call(client, run_id, i)
        wall_1, cpu_1 = time.perf_counter_ns(), time.thread_time_ns()
        cpu.append((cpu_1 - cpu_0) / 1000)
        wall.append((wall_1 - wall_0) / 1000)
        results.append(result)
    for result in results:
        if hasattr(result, "wait"):
            result.wait()
    return statistics.median(cpu), statistics.median(wall)


def in_blocks(run: SwitchableRun, call: Call, calls: int, blocks: int) -> dict[str, Any]:
    """Time alternating blocks of plain and captured calls, in reversed order each time."""
    cpu, wall = [], []
    gc.collect()
    first = itertools.count(0, calls)  # each call has different arguments
    for block in range(-1, blocks):
        times = {}
        for mode in MODES if block % 2 else MODES[::-1]:
            run.switch_to(mode)
            start = next(first)
            numbers = range(start, start + calls)
            times[mode] = time_block(call, run.client, run.run_id, numbers)
        if block >= 0:
            cpu.append([times[mode][0] for mode in MODES])
            wall.append([times[mode][1] for mode in MODES])
    return {"cpu": cpu, "wall": wall}


def measure_calls(uri: str, folder: Path, share: float) -> dict[str, Any]:
    """Time a share of each case's blocks."""
    run = SwitchableRun(uri, folder)
    results: dict[str, Any] = {}
    for case, (call, calls, blocks) in case_calls(folder).items():
        results[case] = in_blocks(run, call, calls, max(11, int(blocks * share)))
    results["log_metric, backend left out"] = measure_without_backend(run, share)
    run.switch_to("captured")
    run.client.set_terminated(run.run_id)
    return results


def measure_without_backend(run: SwitchableRun, share: float) -> dict[str, Any]:
    """Time ``log_metric`` with a store that does nothing, so that capture dominates.

    The result is a lower bound: a real write evicts code and data of capture from the CPU caches.
    """
    run.switch_to("plain")
    store = type(run.store)
    original = store.log_metric
    store.log_metric = lambda self, run_id, metric: None
    try:
        return in_blocks(run, case_log_metric, 50, max(11, int(200 * share)))
    finally:
        store.log_metric = original


# -- whole runs and imports, each in a new process -----------------------------------------


def measure_run(uri: str, points: int) -> dict[str, float]:
    """Log a run; return the seconds of ``start_run`` and ``end_run``, and the memory in MiB."""
    import mlflow
    from mlflow.entities import Metric

    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    client.search_experiments(max_results=1)
    start_0 = time.perf_counter()
    run = mlflow.start_run()
    start_s = time.perf_counter() - start_0
    mlflow.log_params({f"p{i}": i for i in range(PARAMS_PER_RUN)})
    for first in range(0, points, POINTS_PER_BATCH):
        numbers = range(first, first + POINTS_PER_BATCH)
        metrics = [Metric(f"m{n % 10}", n / 7, 1_700_000_000_000 + n, n // 10) for n in numbers]
        client.log_batch(run.info.run_id, metrics=metrics)
    end_0 = time.perf_counter()
    mlflow.end_run()
    end_s = time.perf_counter() - end_0
    files = [entry.path for entry in client.list_artifacts(run.info.run_id)]
    if ("provenance" in files) is not uri.startswith("yprov+"):
        raise SystemExit(f"{uri}: the run's artifacts are {files}")
    return {"start_s": start_s, "end_s": end_s, **resident()}


def resident() -> dict[str, float]:
    """Return the current and the peak memory of this process, in MiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return {"rss": int(sizes["VmRSS"]) / 1024, "peak": int(sizes["VmHWM"]) / 1024}


IMPORT = """
import sys, time
start = time.process_time()
import {module} as mlflow
mlflow.start_run
duration = time.process_time() - start
assert ("yprov_mlflow" in sys.modules) is {with_package}, "the wrong packages are installed"
print(duration * 1000)
"""


def site_folder(folder: Path, *, with_package: bool) -> Path:
    """Create a folder with links to all installed packages, with or without this package."""
    import sysconfig

    import yprov_mlflow

    folder.mkdir()
    for name in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(name)).iterdir():
            if path.suffix == ".pth" or path.name in ("yprov_mlflow", "__pycache__"):
                continue
            is_metadata = path.name.startswith("yprov_mlflow-")
            if (with_package or not is_metadata) and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    if with_package:
        (folder / "yprov_mlflow").symlink_to(Path(str(yprov_mlflow.__file__)).parent)
    return folder


# -- measuring processes -------------------------------------------------------------------


class Bench:
    """A folder, an environment and a database template for measuring processes."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        inherited = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
        self.environment = {
            **{name: os.environ[name] for name in inherited if name in os.environ},
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_ENABLE_PROGRESS_BAR": "false",
            "GIT_PYTHON_REFRESH": "quiet",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "YPROV_MLFLOW_DIR": str(folder / "state"),
        }
        self.template = folder / "template.db"
        self.python(
            "-c",
            "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()",
            f"sqlite:///{self.template}",
        )

    def python(self, *words: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**self.environment, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def child(self, *words: str) -> Any:
        """Run this file in a measuring process, and return its result."""
        return json.loads(self.python(str(Path(__file__).resolve()), *words).splitlines()[-1])

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def database(self, folder: Path) -> str:
        shutil.copy(self.template, folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    def alternate(self, times: int, work: Callable[[str], float | dict[str, float]]) -> list[Any]:
        """Do the work plain and captured, in reversed order each time; skip the first results."""
        pairs = []
        for i in range(-1, times):
            results = {mode: work(mode) for mode in (MODES if i % 2 else MODES[::-1])}
            if i >= 0:
                pairs.append(Pair(results["plain"], results["captured"]))
        return pairs

    @contextlib.contextmanager
    def uri(self, backend: str, folder: Path) -> Iterator[str]:
        if backend == "sqlite":
            yield self.database(folder)
        elif backend == "file":
            yield f"file://{folder / 'mlruns'}"
        else:
            with self.server(folder) as uri:
                yield uri

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = (
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", self.database(folder)),
            *("--artifacts-destination", str(folder / "artifacts")),
        )
        log = folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            uri = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + BOOT_S
            while not responds(f"{uri}/health"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start:\n{log.read_text('utf-8')}")
                time.sleep(0.2)
            yield uri
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


# -- cases ---------------------------------------------------------------------------------


def goals_of(case: str, backend: str) -> tuple[Goal | None, Goal | None]:
    """Return the goals for CPU time (in microseconds) and wall time (a ratio)."""
    if case.endswith("left out"):
        return Goal("difference", 10), None
    if case == "log_metric":
        return Goal("difference", 10), Goal("ratio", 1.05 if backend == "file" else 1.03)
    if case.startswith("log_batch"):
        return None, Goal("ratio", 1.03)
    if case.endswith("asynchronous"):
        return Goal("difference", 20), None
    return None, None


def rows_of_calls(bench: Bench, backend: str) -> Iterator[Row]:
    """Yield the rows of a backend's calls; each process is a sample."""
    # The memory and disk layout of a process shifts all of its times by several microseconds.
    share = "0.2" if bench.quick else "0.5"
    processes = []
    for _ in range(3 if bench.quick else 9):
        folder = bench.new_folder()
        with bench.uri(backend, folder) as uri:
            words = (f"yprov+{uri}", str(folder), share)
            processes.append(bench.child("--measure-calls", *words))
    for case in processes[0]:
        cpu_goal, wall_goal = goals_of(case, backend)
        for clock, goal in (("cpu", cpu_goal), ("wall", wall_goal)):
            pairs = [median_pair(result[case][clock]) for result in processes]
            yield summarize(f"{backend}: {case}, {clock}", "us", pairs, goal)


def median_pair(blocks: list[list[float]]) -> Pair:
    """Return the plain median of a process, and the same plus the median difference."""
    plain = statistics.median(block[0] for block in blocks)
    return Pair(plain, plain + statistics.median(block[1] - block[0] for block in blocks))


def rows_of_runs(bench: Bench) -> Iterator[Row]:
    pairs = alternate_runs(bench, POINTS_PER_RUN, 5 if bench.quick else 9)
    case = f"{PARAMS_PER_RUN} params and {POINTS_PER_RUN} points"
    for name, parts, goal in (
        ("start_run", ("start_s",), None),
        ("end_run", ("end_s",), None),
        ("start_run and end_run", ("start_s", "end_s"), Goal("difference", 0.3)),
    ):
        sums = [Pair(*(sum(times[part] for part in parts) for times in pair)) for pair in pairs]
        yield summarize(f"sqlite: {name}, {case}", "s", sums, goal)


def alternate_runs(bench: Bench, points: int, times: int) -> list[Any]:
    def work(mode: str) -> dict[str, float]:
        folder = bench.new_folder()
        uri = ("yprov+" if mode == "captured" else "") + bench.database(folder)
        result: dict[str, float] = bench.child("--measure-run", uri, str(points))
        shutil.rmtree(folder)
        return result

    return bench.alternate(times, work)


def rows_of_memory(bench: Bench) -> Iterator[Row]:
    differences = {}
    for points in POINTS_IN_MEMORY:
        pairs = alternate_runs(bench, points, 1 if bench.quick else 5)
        for name, goal in (("rss", Goal("difference", 30)), ("peak", None)):
            sizes = [Pair(*(result[name] for result in pair)) for pair in pairs]
            label = {"rss": "memory after end_run", "peak": "peak memory"}[name]
            row = summarize(f"sqlite: {label}, {points} points", "MiB", sizes, goal)
            differences[name, points] = row.difference
            yield row
    few, many = POINTS_IN_MEMORY
    for name in ("rss", "peak"):
        growth = Pair(differences[name, few], differences[name, many])
        goal = Goal("difference", FLAT_MIB) if name == "rss" else None
        case = f"sqlite: {name} added by capture, {few} to {many} points"
        yield summarize(case, "MiB", [growth], goal)


def rows_of_imports(bench: Bench) -> Iterator[Row]:
    times = 7 if bench.quick else 25

    def import_dropin(mode: str) -> float:
        module = "yprov_mlflow" if mode == "captured" else "mlflow"
        # Plain MLflow also loads the package, through its entry points.
        return float(bench.python("-c", IMPORT.format(module=module, with_package=True)))

    pairs = bench.alternate(times, import_dropin)
    yield summarize("import yprov_mlflow for mlflow, cpu", "ms", pairs, Goal("ratio", 1.05))
    sites = {
        mode: site_folder(bench.folder / f"site-{mode}", with_package=mode == "captured")
        for mode in MODES
    }

    def import_mlflow(mode: str) -> float:
        source = IMPORT.format(module="mlflow", with_package=mode == "captured")
        return float(bench.python("-S", "-c", source, PYTHONPATH=str(sites[mode])))

    pairs = bench.alternate(times, import_mlflow)
    yield summarize("import mlflow, installed but unused, cpu", "ms", pairs, Goal("difference", 5))


def groups(bench: Bench) -> dict[str, Callable[[], Iterator[Row]]]:
    return {
        **{backend: lambda b=backend: rows_of_calls(bench, b) for backend in BACKENDS},
        "run": lambda: rows_of_runs(bench),
        "import": lambda: rows_of_imports(bench),
        "memory": lambda: rows_of_memory(bench),
    }


def main() -> int:
    names = [*BACKENDS, "run", "import", "memory"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "groups", nargs="*", choices=[*names, []], help=f"any of {', '.join(names)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="use fewer repetitions: more noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table to FILE")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="yprov-overhead-") as name:
        bench = Bench(Path(name), quick=options.quick)
        for group, measure in groups(bench).items():
            if not options.groups or group in options.groups:
                print(f"{group} ...", file=sys.stderr, flush=True)
                rows += measure()
    versions = {name: importlib.metadata.version(name) for name in ("mlflow", "yprov-mlflow")}
    print(f"Python {sys.version.split()[0]}, {versions}")
    print(table(rows))
    if options.json:
        result = {"versions": versions, "rows": [row._asdict() for row in rows]}
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 1 if any(row.verdict == "missed" for row in rows) else 0


def measure(words: list[str]) -> Any:
    match words:
        case ["--measure-calls", uri, folder, share]:
            return measure_calls(uri, Path(folder), float(share))
        case ["--measure-run", uri, points]:
            return measure_run(uri, int(points))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--measure-"):
        print(json.dumps(measure(sys.argv[1:])))
    else:
        sys.exit(main())
