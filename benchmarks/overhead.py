"""What capture costs: plain MLflow against captured, taken in turns within one run.

Absolute times say little about another machine, and little about this one an hour later. So
each case takes plain and captured in turns, a few calls at a time, in several processes, and
reports the median of what the neighbours differ by, with its 95 % interval. README.md tells more.
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
WHICH = ("plain", "captured")
BOOT_S = 90.0
POINTS_PER_BATCH = 1000
POINTS_PER_RUN = 20_000
PARAMS_PER_RUN = 50
POINTS_IN_MEMORY = (100_000, 300_000)
FLAT_MIB = 5.0
"""How much more memory three times the points may take before it counts as growth."""


# -- results -------------------------------------------------------------------------------


class Pair(NamedTuple):
    """The same work done twice, one right after the other."""

    plain: float
    captured: float


class Goal(NamedTuple):
    """The most that capture may cost: a ``ratio`` or a ``difference`` in the case's unit."""

    kind: str
    most: float


class Row(NamedTuple):
    """One case of the table; ``low`` and ``high`` bound the figure that the goal is about."""

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


def judge(case: str, unit: str, pairs: list[Pair], goal: Goal | None = None) -> Row:
    """Compare by the medians over neighbours, which no slow minute of the machine can move."""
    ratios = [pair.captured / pair.plain for pair in pairs if pair.plain]
    differences = [pair.captured - pair.plain for pair in pairs]
    by_ratio = goal is not None and goal.kind == "ratio"
    low, high = interval(ratios if by_ratio else differences)
    ratio = statistics.median(ratios) if ratios else math.nan
    difference = statistics.median(differences)
    verdict = text = ""
    if goal is not None:
        text = f"<= {goal.most:g}x" if by_ratio else f"<= {goal.most:g} {unit} more"
        verdict = "met" if (ratio if by_ratio else difference) <= goal.most else "missed"
        if low <= goal.most < high:
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
    """Give the 95 % interval of a median, by order statistics; of a few samples, their range."""
    ordered = sorted(samples)
    half = 0.98 * math.sqrt(len(ordered))
    first = max(0, math.floor(len(ordered) / 2 - half))
    last = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))
    return ordered[first], ordered[last]


def table(rows: list[Row], sides: tuple[str, str] = WHICH) -> str:
    heads = ("case", *sides, "ratio", "difference", "95 % of", "goal", "met")
    lines = [heads]
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
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


# -- calls, both ways in one process -------------------------------------------------------


class Subject:
    """A run in a store whose calls are captured, or are MLflow's own alone, as it is told.

    Two stores, one plain and one captured, would differ by more than capture takes: by names,
    by the order in which a folder lists its files, by what a database has cached.
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
        self._wrapped = [type(each) for each in self._objects]
        self._plain = [cls.__bases__[0] for cls in self._wrapped]

    def become(self, which: str) -> None:
        """Have the next calls captured, or not."""
        from yprov_mlflow.prov.capture.switch import switch
        from yprov_mlflow.prov.capture.wrappers import Wrapped

        captured = which == "captured"
        switch.on = captured
        classes = self._wrapped if captured else self._plain
        for each, cls in zip(self._objects, classes, strict=True):
            each.__class__ = cls
            if isinstance(each, Wrapped) is not captured:
                raise SystemExit(f"{each} is not {which}")
        queue = self.store.__dict__.get("_async_logging_queue")
        if queue is not None:
            queue._logging_func = getattr(self.store, queue._logging_func.__name__)


Call = Callable[[Any, str, int], Any]


def case_log_metric(client: Any, run_id: str, i: int) -> None:
    client.log_metric(run_id, "loss", i / 7, step=i)


def case_calls(folder: Path) -> dict[str, tuple[Call, int, int]]:
    """Give each case's call, the calls in a block and the blocks of a full run."""
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

    # Batches are made before the clock starts.
    log_batch.prepare = batch  # type: ignore[attr-defined] # - a function may have attributes
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
    """Give the CPU and wall time of the calling thread per call, in microseconds."""
    prepare = getattr(call, "prepare", None)
    cpu, wall, answers = [], [], []
    for i in numbers:
        if prepare is not None:
            prepare(i)
        cpu_0, wall_0 = time.thread_time_ns(), time.perf_counter_ns()
        answer = call(client, run_id, i)
        wall_1, cpu_1 = time.perf_counter_ns(), time.thread_time_ns()
        cpu.append((cpu_1 - cpu_0) / 1000)
        wall.append((wall_1 - wall_0) / 1000)
        answers.append(answer)
    for answer in answers:
        if hasattr(answer, "wait"):
            answer.wait()
    return statistics.median(cpu), statistics.median(wall)


def in_blocks(subject: Subject, call: Call, calls: int, blocks: int) -> dict[str, Any]:
    """Take blocks of calls in turns, the order of the two sides reversed each time."""
    cpu, wall = [], []
    gc.collect()
    first = itertools.count(0, calls)  # no call is made twice
    for block in range(-1, blocks):
        took = {}
        for which in WHICH if block % 2 else WHICH[::-1]:
            subject.become(which)
            start = next(first)
            numbers = range(start, start + calls)
            took[which] = time_block(call, subject.client, subject.run_id, numbers)
        if block >= 0:
            cpu.append([took[which][0] for which in WHICH])
            wall.append([took[which][1] for which in WHICH])
    return {"cpu": cpu, "wall": wall}


def measure_calls(uri: str, folder: Path, share: float) -> dict[str, Any]:
    """Take each case's blocks in turns, the order of the two sides reversed each time."""
    subject = Subject(uri, folder)
    found: dict[str, Any] = {}
    for case, (call, calls, blocks) in case_calls(folder).items():
        found[case] = in_blocks(subject, call, calls, max(11, int(blocks * share)))
    found["log_metric, backend left out"] = measure_without_backend(subject, share)
    subject.become("captured")
    subject.client.set_terminated(subject.run_id)
    return found


def measure_without_backend(subject: Subject, share: float) -> dict[str, Any]:
    """Take ``log_metric`` with MLflow's own store doing nothing, so that little else is timed.

    It is a lower bound: after a real write the processor's caches hold less of what capture
    needs.
    """
    subject.become("plain")
    store = type(subject.store)
    original = store.log_metric
    store.log_metric = lambda self, run_id, metric: None
    try:
        return in_blocks(subject, case_log_metric, 50, max(11, int(200 * share)))
    finally:
        store.log_metric = original


# -- whole runs and imports, one process each ----------------------------------------------


def measure_run(uri: str, points: int) -> dict[str, float]:
    """Log a whole run the fluent way and say what its start and end took."""
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
    """Give this process's memory now and at its highest, in MiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return {"rss": int(sizes["VmRSS"]) / 1024, "peak": int(sizes["VmHWM"]) / 1024}


IMPORT = """
import sys, time
start = time.process_time()
import {module} as mlflow
mlflow.start_run
took = time.process_time() - start
assert ("yprov_mlflow" in sys.modules) is {ours}, "the wrong packages are installed"
print(took * 1000)
"""


def site_folder(folder: Path, *, ours: bool) -> Path:
    """Make a folder with links to all that is installed, with our package or without it."""
    import sysconfig

    import yprov_mlflow

    folder.mkdir()
    for name in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(name)).iterdir():
            if path.suffix == ".pth" or path.name in ("yprov_mlflow", "__pycache__"):
                continue
            mine = path.name.startswith("yprov_mlflow-")
            if (ours or not mine) and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    if ours:
        (folder / "yprov_mlflow").symlink_to(Path(str(yprov_mlflow.__file__)).parent)
    return folder


# -- the programs that measure, started in turns -------------------------------------------


class Bench:
    """A folder and an environment of its own, and a database that is made once."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
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
        """Run this file as one of the programs that measure."""
        return json.loads(self.python(str(Path(__file__).resolve()), *words).splitlines()[-1])

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def database(self, folder: Path) -> str:
        shutil.copy(self.template, folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    def in_turns(self, times: int, work: Callable[[str], float | dict[str, float]]) -> list[Any]:
        """Do the work plain and captured, the first time unheeded, the order reversed each time."""
        pairs = []
        for i in range(-1, times):
            took = {which: work(which) for which in (WHICH if i % 2 else WHICH[::-1])}
            if i >= 0:
                pairs.append(Pair(took["plain"], took["captured"]))
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
            give_up = time.monotonic() + BOOT_S
            while not answers(f"{uri}/health"):
                if process.poll() is not None or time.monotonic() > give_up:
                    raise SystemExit(f"the server does not start:\n{log.read_text('utf-8')}")
                time.sleep(0.2)
            yield uri
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


# -- cases ---------------------------------------------------------------------------------


def goals_of(case: str, backend: str) -> tuple[Goal | None, Goal | None]:
    """Give the goals for CPU (in microseconds) and wall time (a ratio)."""
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
    """Measure calls in several processes, each a sample: where a process has its things in
    memory, and its files on disk, moves all of its figures by several microseconds.
    """
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
            pairs = [neighbours(found[case][clock]) for found in processes]
            yield judge(f"{backend}: {case}, {clock}", "us", pairs, goal)


def neighbours(blocks: list[list[float]]) -> Pair:
    """Give what a process says of a case: plain, and that with the median of the differences."""
    plain = statistics.median(block[0] for block in blocks)
    return Pair(plain, plain + statistics.median(block[1] - block[0] for block in blocks))


def rows_of_runs(bench: Bench) -> Iterator[Row]:
    pairs = runs_in_turns(bench, POINTS_PER_RUN, 5 if bench.quick else 9)
    case = f"{PARAMS_PER_RUN} params and {POINTS_PER_RUN} points"
    for name, parts, goal in (
        ("start_run", ("start_s",), None),
        ("end_run", ("end_s",), None),
        ("start_run and end_run", ("start_s", "end_s"), Goal("difference", 0.3)),
    ):
        sums = [Pair(*(sum(side[part] for part in parts) for side in pair)) for pair in pairs]
        yield judge(f"sqlite: {name}, {case}", "s", sums, goal)


def runs_in_turns(bench: Bench, points: int, times: int) -> list[Any]:
    def work(which: str) -> dict[str, float]:
        folder = bench.new_folder()
        uri = ("yprov+" if which == "captured" else "") + bench.database(folder)
        took: dict[str, float] = bench.child("--measure-run", uri, str(points))
        shutil.rmtree(folder)
        return took

    return bench.in_turns(times, work)


def rows_of_memory(bench: Bench) -> Iterator[Row]:
    grown = {}
    for points in POINTS_IN_MEMORY:
        pairs = runs_in_turns(bench, points, 1 if bench.quick else 5)
        for name, goal in (("rss", Goal("difference", 30)), ("peak", None)):
            sizes = [Pair(*(side[name] for side in pair)) for pair in pairs]
            about = {"rss": "memory after end_run", "peak": "highest memory"}[name]
            row = judge(f"sqlite: {about}, {points} points", "MiB", sizes, goal)
            grown[name, points] = row.difference
            yield row
    few, many = POINTS_IN_MEMORY
    for name in ("rss", "peak"):
        growth = Pair(grown[name, few], grown[name, many])
        goal = Goal("difference", FLAT_MIB) if name == "rss" else None
        case = f"sqlite: what capture adds to {name}, {few} to {many} points"
        yield judge(case, "MiB", [growth], goal)


def rows_of_imports(bench: Bench) -> Iterator[Row]:
    times = 7 if bench.quick else 25

    def swapped(which: str) -> float:
        ours = which == "captured"
        module = "yprov_mlflow" if ours else "mlflow"
        # Plain MLflow loads the package, too, by its entry points.
        return float(bench.python("-c", IMPORT.format(module=module, ours=True)))

    pairs = bench.in_turns(times, swapped)
    yield judge("import yprov_mlflow for mlflow, cpu", "ms", pairs, Goal("ratio", 1.05))
    sites = {
        which: site_folder(bench.folder / f"site-{which}", ours=which == "captured")
        for which in WHICH
    }

    def installed(which: str) -> float:
        source = IMPORT.format(module="mlflow", ours=which == "captured")
        return float(bench.python("-S", "-c", source, PYTHONPATH=str(sites[which])))

    pairs = bench.in_turns(times, installed)
    yield judge("import mlflow, installed but unused, cpu", "ms", pairs, Goal("difference", 5))


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
    parser.add_argument("groups", nargs="*", choices=[*names, []], help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: more noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there, too")
    chosen = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="yprov-overhead-") as name:
        bench = Bench(Path(name), quick=chosen.quick)
        for group, measure in groups(bench).items():
            if not chosen.groups or group in chosen.groups:
                print(f"{group} ...", file=sys.stderr, flush=True)
                rows += measure()
    versions = {name: importlib.metadata.version(name) for name in ("mlflow", "yprov-mlflow")}
    print(f"Python {sys.version.split()[0]}, {versions}")
    print(table(rows))
    if chosen.json:
        result = {"versions": versions, "rows": [row._asdict() for row in rows]}
        chosen.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
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
