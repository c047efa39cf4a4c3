"""What capture costs: plain MLflow and captured MLflow, in turns, on the same machine.

Every figure is a ratio or a difference of two things measured in the same minute. Calls are
timed in one process that holds a plain and a captured store of the same kind: blocks of calls
go to one and to the other in turns (which of the two is first changes as well), and the median
of the blocks counts. Imports and memory are measured in fresh processes, in turns.

    python benchmarks/overhead.py [--quick] [--backends sqlite,file,http] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
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

PLAIN, CAPTURED = "plain", "captured"
MS = 1_700_000_000_000


class Sample(NamedTuple):
    """Seconds of processor and of wall clock for one call."""

    cpu: float
    wall: float


class Row(NamedTuple):
    """One line of the table; times in seconds for one call."""

    what: str
    backend: str
    plain: Sample
    captured: Sample
    goal: str
    met: bool | None
    shown: str


def main() -> None:
    options = _options()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="yprov-overhead-") as name:
        folder = Path(name)
        _prepare(folder)
        for backend in options.backends.split(","):
            rows += _measure_backend(backend, folder, options.quick)
        rows += _measure_imports(folder, options.quick)
        rows += _measure_memory(folder, options.quick)
    print(_table(rows, options.quick))
    if options.json:
        Path(options.json).write_text(json.dumps([row._asdict() for row in rows], indent=1))
    sys.exit(1 if any(row.met is False for row in rows) and options.strict else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, in a minute")
    parser.add_argument("--backends", default="sqlite,file,http")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is missed")
    return parser.parse_args()


def _prepare(folder: Path) -> None:
    """Keep this process, and those that it starts, to the folder."""
    for name in [n for n in os.environ if n.startswith(("MLFLOW_", "YPROV_MLFLOW"))]:
        del os.environ[name]
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_ALLOW_FILE_STORE="true",
        MLFLOW_ENABLE_PROGRESS_BAR="false",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        YPROV_MLFLOW_DIR=str(folder / "state"),
    )
    os.chdir(folder)


# -- calls in one process -------------------------------------------------------------------------


def _measure_backend(backend: str, folder: Path, quick: bool) -> list[Row]:
    with contextlib.ExitStack() as stack:
        if backend == "http":
            plain, captured = (stack.enter_context(_server(folder, n)) for n in ("a", "b"))
        elif backend == "sqlite":
            plain, captured = (f"sqlite:///{folder}/{n}.db" for n in ("a", "b"))
        else:
            plain, captured = (f"file://{folder}/{n}" for n in ("a", "b"))
        uris = {PLAIN: plain, CAPTURED: f"yprov+{captured}"}
        return [
            *_log_metric(backend, uris, quick),
            *_log_batch(backend, uris, quick),
            *_enqueue(backend, uris, quick),
            *_whole_run(backend, uris, quick),
        ]


def _clients(uris: dict[str, str]) -> dict[str, Any]:
    from mlflow import MlflowClient

    clients = {name: MlflowClient(tracking_uri=uri) for name, uri in uris.items()}
    kinds = {name: type(c._tracking_client.store) for name, c in clients.items()}
    if kinds[PLAIN] is kinds[CAPTURED]:
        sys.exit("both stores are of the same class: nothing is captured, or everything is")
    return clients


def _time(call: Callable[[int], None], calls: int, start: int) -> Sample:
    """Time a block of calls; the processor time is that of this thread alone.

    What other threads do (the queue, the writer of documents) is in the wall clock.
    """
    gc.collect()
    gc.disable()
    try:
        cpu, wall = time.thread_time(), time.perf_counter()
        for number in range(start, start + calls):
            call(number)
        return Sample((time.thread_time() - cpu) / calls, (time.perf_counter() - wall) / calls)
    finally:
        gc.enable()


def _in_turns(
    calls: dict[str, Callable[[int], None]], blocks: int, calls_per_block: int
) -> tuple[dict[str, Sample], Sample]:
    """Give medians of the blocks, and the medians of the ratios of neighbouring blocks."""
    found: dict[str, list[Sample]] = {PLAIN: [], CAPTURED: []}
    for name in calls:
        _time(calls[name], calls_per_block, 0)  # warm
    for block in range(blocks):
        order = (PLAIN, CAPTURED) if block % 2 else (CAPTURED, PLAIN)
        for name in order:
            start = (block + 1) * calls_per_block
            found[name].append(_time(calls[name], calls_per_block, start))
    pairs = list(zip(found[CAPTURED], found[PLAIN], strict=True))
    ratio = Sample(
        statistics.median(c.cpu / p.cpu for c, p in pairs if p.cpu),
        statistics.median(c.wall / p.wall for c, p in pairs),
    )
    return {name: _median(samples) for name, samples in found.items()}, ratio


def _median(samples: list[Sample]) -> Sample:
    return Sample(
        statistics.median(s.cpu for s in samples), statistics.median(s.wall for s in samples)
    )


def _log_metric(backend: str, uris: dict[str, str], quick: bool) -> list[Row]:
    clients = _clients(uris)
    runs = {name: client.create_run("0").info.run_id for name, client in clients.items()}
    calls = {
        name: (lambda i, c=client, r=runs[name]: c.log_metric(r, "loss", i / 7, MS + i, i))
        for name, client in clients.items()
    }
    blocks, size = (10, 20) if quick else (60, 50)
    times, ratio = _in_turns(calls, blocks, size)
    _end(clients, runs)
    limit = 1.05 if backend == "file" else 1.03
    more_us = (times[CAPTURED].cpu - times[PLAIN].cpu) * 1e6
    return [
        Row(
            "log_metric",
            backend,
            times[PLAIN],
            times[CAPTURED],
            f"CPU +10 µs at most and ≤ {limit}x",
            more_us <= 10 and ratio.cpu <= limit,
            f"CPU {more_us:+.1f} µs, {ratio.cpu:.3f}x; wall {ratio.wall:.3f}x",
        )
    ]


def _log_batch(backend: str, uris: dict[str, str], quick: bool) -> list[Row]:
    from mlflow.entities import Metric

    clients = _clients(uris)
    runs = {name: client.create_run("0").info.run_id for name, client in clients.items()}

    def call(client: Any, run_id: str) -> Callable[[int], None]:
        def log(number: int) -> None:
            points = [Metric("loss", i / 7, MS + i, number * 1000 + i) for i in range(1000)]
            client.log_batch(run_id, metrics=points)

        return log

    calls = {name: call(client, runs[name]) for name, client in clients.items()}
    blocks, size = (6, 1) if quick else (30, 2)
    times, ratio = _in_turns(calls, blocks, size)
    _end(clients, runs)
    more_us = (times[CAPTURED].cpu - times[PLAIN].cpu) * 1e6
    return [
        Row(
            "log_batch of 1,000",
            backend,
            times[PLAIN],
            times[CAPTURED],
            "CPU ≤ 1.03x",
            ratio.cpu <= 1.03,
            f"CPU {more_us:+.0f} µs, {ratio.cpu:.3f}x; wall {ratio.wall:.3f}x",
        )
    ]


def _enqueue(backend: str, uris: dict[str, str], quick: bool) -> list[Row]:
    clients = _clients(uris)
    runs = {name: client.create_run("0").info.run_id for name, client in clients.items()}
    queued: list[Any] = []

    def call(client: Any, run_id: str) -> Callable[[int], None]:
        def log(number: int) -> None:
            queued.append(
                client.log_metric(run_id, "loss", 1.0, MS + number, number, synchronous=False)
            )

        return log

    calls = {name: call(client, runs[name]) for name, client in clients.items()}
    blocks, size = (6, 20) if quick else (20, 50)
    found: dict[str, list[Sample]] = {PLAIN: [], CAPTURED: []}
    for block in range(blocks + 1):
        for name in (PLAIN, CAPTURED) if block % 2 else (CAPTURED, PLAIN):
            sample = _time(calls[name], size, block * size)
            # The other's turn begins with empty queues.
            for operation in queued:
                operation.wait()
            queued.clear()
            if block:
                found[name].append(sample)
    _end(clients, runs)
    times = {name: _median(samples) for name, samples in found.items()}
    more_us = (times[CAPTURED].cpu - times[PLAIN].cpu) * 1e6
    return [
        Row(
            "log_metric, asynchronous: to enqueue",
            backend,
            times[PLAIN],
            times[CAPTURED],
            "CPU +20 µs at most",
            more_us <= 20,
            f"CPU {more_us:+.1f} µs, {times[CAPTURED].cpu / times[PLAIN].cpu:.3f}x",
        )
    ]


def _whole_run(backend: str, uris: dict[str, str], quick: bool) -> list[Row]:
    """Time start_run + end_run around 50 params and 20,000 points, which are not counted."""
    import mlflow
    from mlflow.entities import Metric

    points = 2_000 if quick else 20_000
    rounds = 2 if quick else 3

    def one(uri: str, number: int) -> Sample:
        mlflow.set_tracking_uri(uri)
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        run = mlflow.start_run(run_name=f"whole {number}")
        spent = [time.process_time() - cpu, time.perf_counter() - wall]
        client = mlflow.MlflowClient()
        mlflow.log_params({f"p{i}": i for i in range(50)})
        for chunk in range(0, points, 1000):
            batch = [Metric(f"m{i % 10}", i / 7, MS + i, i) for i in range(chunk, chunk + 1000)]
            client.log_batch(run.info.run_id, metrics=batch)
        cpu, wall = time.process_time(), time.perf_counter()
        mlflow.end_run()
        return Sample(spent[0] + time.process_time() - cpu, spent[1] + time.perf_counter() - wall)

    found: dict[str, list[Sample]] = {PLAIN: [], CAPTURED: []}
    first: float | None = None
    for number in range(rounds + 1):
        for name in (PLAIN, CAPTURED) if number % 2 else (CAPTURED, PLAIN):
            sample = one(uris[name], number)
            if number:
                found[name].append(sample)
            elif name == CAPTURED:
                first = sample.wall
    times = {name: _median(samples) for name, samples in found.items()}
    more = times[CAPTURED].wall - times[PLAIN].wall
    goal = "wall +0.3 s at most"
    return [
        Row(
            f"start_run + end_run ({points:,} points)",
            backend,
            times[PLAIN],
            times[CAPTURED],
            goal,
            more <= 0.3,
            f"wall {more:+.3f} s, CPU {times[CAPTURED].cpu - times[PLAIN].cpu:+.3f} s; "
            f"the first one took {first:.2f} s",
        )
    ]


def _end(clients: dict[str, Any], runs: dict[str, str]) -> None:
    for name, client in clients.items():
        client.set_terminated(runs[name])


# -- fresh processes ------------------------------------------------------------------------------

IMPORTS = {
    "import mlflow": "import mlflow",
    "import yprov_mlflow": "import yprov_mlflow as mlflow; mlflow.log_metric",
}

WITHOUT = """
import importlib.metadata as metadata
found = metadata.entry_points
def entry_points(**given):
    return metadata.EntryPoints(e for e in found(**given) if not e.value.startswith("yprov_mlflow")
                                and not e.value.startswith("_yprov"))
metadata.entry_points = entry_points
"""
"""Hides our entry points: what ``import mlflow`` costs where the package is not installed."""


def _fresh(code: str, **env: str) -> tuple[Sample, dict[str, Any]]:
    wrapped = (
        "import json, resource, time\n"
        f"{code}\n"
        "print(json.dumps({'cpu': time.process_time(), 'facts': globals().get('facts')}))"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", wrapped],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"a process failed:\n{done.stderr}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return Sample(answer["cpu"], time.perf_counter() - start), answer


def _measure_imports(folder: Path, quick: bool) -> list[Row]:
    """Compare imports, to which a bare interpreter's start belongs as well."""
    rounds = 3 if quick else 12
    codes = {**IMPORTS, "without": f"{WITHOUT}\nimport mlflow"}
    for code in codes.values():
        _fresh(code)
    found: dict[str, list[Sample]] = {name: [] for name in codes}
    for number in range(rounds):
        names = list(codes)
        for name in names[number % 3 :] + names[: number % 3]:
            found[name].append(_fresh(codes[name])[0])
    times = {name: _median(samples) for name, samples in found.items()}
    plain, ours, without = (times[n] for n in (*IMPORTS, "without"))
    more_ms = (plain.cpu - without.cpu) * 1e3
    return [
        Row(
            "import yprov_mlflow against import mlflow",
            "-",
            plain,
            ours,
            "CPU ≤ 1.05x",
            ours.cpu / plain.cpu <= 1.05,
            f"CPU {ours.cpu / plain.cpu:.3f}x, wall {ours.wall / plain.wall:.3f}x",
        ),
        Row(
            "import mlflow where we are installed",
            "-",
            without,
            plain,
            "CPU +5 ms at most",
            more_ms <= 5,
            f"CPU {more_ms:+.1f} ms",
        ),
    ]


MEMORY = """
import mlflow
from mlflow.entities import Metric
client = mlflow.MlflowClient()
run = mlflow.start_run()
def points(first, count):
    for start in range(first, first + count, 1000):
        client.log_batch(run.info.run_id, metrics=[
            Metric("loss", i / 7, 1_700_000_000_000 + i, i) for i in range(start, start + 1000)])
points(0, {points})
logged = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
mlflow.end_run()
facts = [logged, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
"""


def _measure_memory(folder: Path, quick: bool) -> list[Row]:
    """Compare the largest resident size of whole processes, end of the run included."""
    counts = (10_000, 30_000) if quick else (100_000, 300_000)
    rows: list[Row] = []
    more: list[float] = []
    for count in counts:
        sizes: dict[str, list[float]] = {}
        samples: dict[str, Sample] = {}
        for name, prefix in ((PLAIN, ""), (CAPTURED, "yprov+")):
            uri = f"{prefix}sqlite:///{folder}/memory-{name}-{count}.db"
            sample, answer = _fresh(MEMORY.format(points=count), MLFLOW_TRACKING_URI=uri)
            sizes[name], samples[name] = answer["facts"], sample
        more.append(sizes[CAPTURED][1] - sizes[PLAIN][1])
        is_first = len(more) == 1
        rows.append(
            Row(
                f"memory at {count:,} points",
                "sqlite",
                samples[PLAIN],
                samples[CAPTURED],
                "+30 MB at most" if is_first else "no more than at fewer points (+5 MB)",
                more[-1] <= 30 if is_first else more[-1] <= more[0] + 5,
                f"{sizes[PLAIN][1]:.0f} MB plain, {more[-1]:+.0f} MB "
                f"({sizes[CAPTURED][0] - sizes[PLAIN][0]:+.0f} MB before end_run)",
            )
        )
    return rows


# -- servers and tables ---------------------------------------------------------------------------


@contextlib.contextmanager
def _server(folder: Path, name: str) -> Iterator[str]:
    """Run a plain tracking server; the client is what is measured."""
    home = folder / f"server-{name}"
    home.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{home}/mlflow.db"),
            *("--artifacts-destination", str(home / "artifacts")),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        uri = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=2).close()
                break
            time.sleep(0.2)
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _table(rows: list[Row], quick: bool) -> str:
    import mlflow

    head = ("what", "backend", "plain CPU", "captured CPU", "result", "goal", "met")
    lines = [
        f"Python {platform.python_version()}, MLflow {mlflow.__version__}, {os.cpu_count()} "
        f"processors{', quick: too few repetitions to judge by' if quick else ''}",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        cells = (
            row.what,
            row.backend,
            _time_text(row.plain.cpu),
            _time_text(row.captured.cpu),
            row.shown,
            row.goal,
            met,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _time_text(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


if __name__ == "__main__":
    main()
