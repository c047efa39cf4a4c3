"""Cost of conversion, compared with a minimal reader, mlflow2rdf and MLflow's own client.

Each contender converts or reads the same generated file store in its own process, in turns.
Figures are medians over the rounds, and comparisons use medians of the same rounds. README.md
explains how to read them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PARAMS, METRICS, POINTS, TAGS = 20, 20, 100, 5
SAMPLED = 250
"""Maximum number of runs that MLflow's client reads; the time for more is extrapolated."""

PAGE = 1000
"""Runs per page of search results of MLflow's client."""

SLOW = {"client", "mlflow2rdf"}
"""Contenders that need minutes or hours for many runs and then have only one round."""

MANY = 1000
"""Largest number of runs for which slow contenders have all rounds."""

GOALS = (
    # contender, compared with, number of runs (0: any), minimum ratio of speeds
    ("prov-json", "mlflow2rdf", 1_000, 12.0),
    ("prov-json", "client", 1_000, 12.0),
    ("prov-json", "mlflow2rdf", 10_000, 50.0),
    ("prov-json", "client", 10_000, 50.0),
    ("n-quads", "mlflow2rdf", 1_000, 8.0),
    ("n-quads", "client", 1_000, 8.0),
    ("n-quads", "mlflow2rdf", 10_000, 35.0),
    ("n-quads", "client", 10_000, 35.0),
    ("prov-json-1", "bare", 0, 0.5),
)


# -- file stores ---------------------------------------------------------------------------------


def make_store(folder: Path, runs: int) -> None:
    """Write a file store in the format of MLflow 2."""
    generator = random.Random(7)
    experiment = folder / "0"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text(
        f"artifact_location: file://{experiment}\ncreation_time: 1700000000000\n"
        "experiment_id: '0'\nlast_update_time: 1700000000000\nlifecycle_stage: active\n"
        "name: Default\n"
    )
    for number in range(runs):
        run_id = f"{generator.getrandbits(128):032x}"
        start = 1_700_000_000_000 + number * 60_000
        run = experiment / run_id
        for part in ("params", "metrics", "tags", "artifacts"):
            (run / part).mkdir(parents=True)
        (run / "meta.yaml").write_text(
            f"artifact_uri: file://{run}/artifacts\nend_time: {start + 50_000}\n"
            f"entry_point_name: ''\nexperiment_id: '0'\nlifecycle_stage: active\n"
            f"run_id: {run_id}\nrun_name: run-{number}\nrun_uuid: {run_id}\nsource_name: ''\n"
            f"source_type: 4\nsource_version: ''\nstart_time: {start}\nstatus: 3\ntags: []\n"
            "user_id: someone\n"
        )
        for i in range(PARAMS):
            (run / "params" / f"param_{i:02}").write_text(f"{generator.random():.6f}")
        for i in range(METRICS):
            lines = (f"{start + s} {generator.random()} {s}\n" for s in range(POINTS))
            (run / "metrics" / f"metric_{i:02}").write_text("".join(lines))
        tags = {f"tag_{i}": f"value {i}" for i in range(TAGS - 2)}
        tags |= {"mlflow.runName": f"run-{number}", "mlflow.user": "someone"}
        for key, value in tags.items():
            (run / "tags" / key).write_text(value)
        (run / "artifacts" / "notes.txt").write_text(f"run {number}\n")
        (run / "artifacts" / "data.json").write_text(json.dumps({"run": number}))


def read_bare(store: Path) -> int:
    """Read and parse every file of a store without producing anything: the lower bound."""
    import yaml

    def files(folder: str) -> list[os.DirEntry[str]]:
        return list(os.scandir(folder))

    def content(path: str) -> str:
        with open(path, encoding="utf-8") as file:
            return file.read()

    runs = 0
    for run in files(str(store / "0")):
        if not run.is_dir():
            continue
        meta = yaml.load(content(f"{run.path}/meta.yaml"), Loader=yaml.CSafeLoader)
        params = {f.name: content(f.path) for f in files(f"{run.path}/params")}
        tags = {f.name: content(f.path) for f in files(f"{run.path}/tags")}
        metrics = {}
        for f in files(f"{run.path}/metrics"):
            points = metrics[f.name] = []
            for line in content(f.path).splitlines():
                timestamp, value, step = line.split(" ")
                points.append((int(timestamp), float(value), int(step)))
        artifacts = [(f.name, f.stat().st_size) for f in files(f"{run.path}/artifacts")]
        assert meta["run_id"] and params and tags and metrics and artifacts
        runs += 1
    return runs


def read_client(store: Path, runs: int) -> dict[str, float]:
    """Read up to ``SAMPLED`` runs through MlflowClient, with metric histories and artifact lists.

    Return the extrapolated seconds for all other runs, as ``wall`` and ``cpu``, assuming that all
    pages take as long as the first, and all runs as long as those that were read.
    """
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow import MlflowClient

    def clocks() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    client = MlflowClient(f"file://{store}")
    started = clocks()
    page = client.search_runs(["0"], max_results=PAGE)
    searched = clocks()
    sample = page[: min(runs, SAMPLED)]
    for run in sample:
        for key in run.data.metrics:
            client.get_metric_history(run.info.run_id, key)
        client.list_artifacts(run.info.run_id)
    ended = clocks()
    pages, others = -(-runs // PAGE) - 1, runs / len(sample) - 1
    return {
        name: (searched[i] - started[i]) * pages + (ended[i] - searched[i]) * others
        for i, name in enumerate(("wall", "cpu"))
    }


# -- contenders ----------------------------------------------------------------------------


def conversion(store: Path, out: Path, *options: str) -> list[str]:
    """Return the command line of a conversion by this package."""
    code = "from yprov_mlflow.prov.cli import main; main()"
    return [sys.executable, "-c", code, "convert", str(store), "-o", str(out), *options]


def commands(store: Path, out: Path, runs: int, rival: Path | None) -> dict[str, list[str]]:
    """Return the command line of each contender; ``out`` must not exist yet."""
    reader = [sys.executable, __file__, "--read"]
    result = {
        "prov-json": conversion(store, out, "--workers", "2"),
        "n-quads": conversion(store, out, "--workers", "2", "--to", "n-quads"),
        "prov-json-1": conversion(store, out, "--workers", "1"),
        "bare": [*reader, "bare", str(store)],
        "client": [*reader, "client", str(store), "--runs", str(runs)],
    }
    if rival is not None:
        program = rival.parent / "mlflow2rdf"
        result["mlflow2rdf"] = [
            str(program), "--uri", str(store), "--out", str(out.with_suffix(".ttl"))
        ]  # fmt: skip
    return result


def measure(
    name: str, command: list[str], out: Path, limit: float | None = None
) -> dict[str, float]:
    """Run a contender; return wall and CPU seconds for all runs, and the bytes written.

    A contender that needs more than ``limit`` seconds is stopped, and ``stopped`` is 1: its times
    are then lower bounds.
    """
    environment = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        done = None
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done is not None and done.returncode != 0:
        sys.exit(f"{name} failed ({done.returncode}): {done.stderr[-2000:]}")
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    if done is not None and name == "client":
        others = json.loads(done.stdout)
        wall, cpu = wall + others["wall"], cpu + others["cpu"]
    written = [out.with_suffix(".ttl")] if name == "mlflow2rdf" else out.rglob("*")
    size = sum(path.stat().st_size for path in written if path.is_file())
    return {"wall": wall, "cpu": cpu, "bytes": float(size), "stopped": float(done is None)}


def peak(command: list[str]) -> float:
    """Return the peak memory of a command and its children together, in MiB."""
    import psutil

    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        total = 0
        for member in [process, *_children(process)]:
            try:
                total += member.memory_full_info().pss
            except psutil.Error:
                continue
        most = max(most, total)
        time.sleep(0.05)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({process.returncode})")
    return most / 2**20


def _children(process: Any) -> list[Any]:
    import psutil

    try:
        children: list[Any] = process.children(recursive=True)
    except psutil.Error:
        return []
    return children


# -- rounds --------------------------------------------------------------------------------


def compare(work: Path, runs: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all contenders on one store, alternating; keep store and outputs in ``work``."""
    make_store(work / "mlruns", runs)
    outputs = (work / f"out{number}" for number in itertools.count())
    figures: dict[str, list[dict[str, float]]] = {}
    for number in range(options.rounds):
        for name in commands(work, work, runs, options.mlflow2rdf):
            if name in options.skip or (number and runs > MANY and name in SLOW):
                continue
            out = next(outputs)
            command = commands(work / "mlruns", out, runs, options.mlflow2rdf)[name]
            result = measure(name, command, out, options.limit if name in SLOW else None)
            figures.setdefault(name, []).append(result)
            print(f"  {runs} runs, round {number + 1}, {name}: {result}", file=sys.stderr)
    medians = {
        name: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for name, results in figures.items()
    }
    for name in ("prov-json", "n-quads"):
        if name in medians:
            command = commands(work / "mlruns", next(outputs), runs, options.mlflow2rdf)[name]
            medians[name]["peak_mib"] = peak(command)
    return medians


def one_large_run(work: Path, points: int) -> dict[str, float]:
    """Convert a single run with very many points; return seconds and peak memory."""
    make_store(work / "mlruns", 1)
    metrics = next((work / "mlruns" / "0").glob("*/metrics"))
    for i in range(10):
        with (metrics / f"long_{i}").open("w") as file:
            for start in range(0, points // 10, 10_000):
                steps = range(start, min(start + 10_000, points // 10))
                file.write("".join(f"{1_700_000_000_000 + s} {s / 7} {s}\n" for s in steps))
    started = time.perf_counter()
    most = peak(conversion(work / "mlruns", work / "out", "--workers", "1"))
    return {"points": points, "wall": time.perf_counter() - started, "peak_mib": most}


def table(results: dict[int, dict[str, Any]]) -> list[str]:
    """Return the figures as lines of a Markdown table, followed by the goals."""
    lines = [
        "| runs | contender | wall s | runs/s | CPU s | output MB | peak MiB |",
        "|---" * 7 + "|",
    ]
    for runs, medians in results.items():
        for name, median in medians.items():
            mebibytes = median.get("peak_mib", 0)
            lines.append(
                f"| {runs} | {name} | {median['wall']:.2f} | {runs / median['wall']:.0f} |"
                f" {median['cpu']:.2f} | {median['bytes'] / 1e6:.1f} | {mebibytes:.0f} |"
            )
    lines.append("")
    for name, other, at, least in GOALS:
        for runs, medians in results.items():
            if at not in (0, runs) or name not in medians or other not in medians:
                continue
            measure_by = "cpu" if other == "bare" else "wall"
            ratio = medians[other][measure_by] / medians[name][measure_by]
            verdict = "met" if ratio >= least else "MISSED"
            bound = "at least " if medians[other]["stopped"] else ""
            lines.append(
                f"{name} against {other} at {runs} runs ({measure_by}):"
                f" {bound}{ratio:.2f} times as fast, goal {least:g}: {verdict}"
            )
    if {1_000, 10_000} <= set(results):
        growth = results[10_000]["prov-json"]["wall"] / results[1_000]["prov-json"]["wall"]
        lines.append(f"growth from 1,000 to 10,000 runs: {growth:.1f} times the time, goal 11")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--mlflow2rdf", type=Path, metavar="PYTHON", help="interpreter with mlflow2rdf installed"
    )
    parser.add_argument("--skip", nargs="*", default=[], metavar="CONTENDER")
    parser.add_argument(
        "--limit", type=float, metavar="S", help="stop slow contenders after S seconds"
    )
    parser.add_argument("--points", type=int, help="also convert one run with this many points")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        contender, folder = options.read
        path = Path(folder)
        result = read_bare(path) if contender == "bare" else read_client(path, options.runs)
        print(json.dumps(result))
        return
    # Files are removed only at the end: for some minutes after removing many files, ext4 creates
    # files more slowly, which would affect the next contender.
    with tempfile.TemporaryDirectory(prefix="yprov-convert-") as folder:
        results = {runs: compare(Path(folder, str(runs)), runs, options) for runs in options.sizes}
        print("\n".join(table(results)))
        large = one_large_run(Path(folder, "large"), options.points) if options.points else None
    if large is not None:
        seconds, peak_mib = large["wall"], large["peak_mib"]
        print(f"one run with {large['points']} points: {seconds:.0f} s, peak {peak_mib:.0f} MiB")
    if options.out is not None:
        options.out.write_text(json.dumps({"sizes": results, "large": large}, indent=2) + "\n")


if __name__ == "__main__":
    main()
