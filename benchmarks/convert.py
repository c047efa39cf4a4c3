"""What conversion costs, against a bare reader, mlflow2rdf and MLflow's own client.

Every contender converts, or reads, the same generated tree in a process of its own, in turns;
a figure is the median over the rounds, and comparisons are of medians from the same rounds.
README.md tells how to read it.
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
"""Most runs that MLflow's client reads; what more would take is reckoned from these."""

PAGE = 1000
"""Runs that MLflow's client finds at a time."""

SLOW = {"client", "mlflow2rdf"}
"""What takes minutes or hours with many runs: then it runs in the first round only."""

MANY = 1000
"""More runs than these are many."""

GOALS = (
    # contender, compared with, at most this many runs (0: any), at least this ratio of speeds
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


# -- trees ---------------------------------------------------------------------------------


def make_tree(folder: Path, runs: int) -> None:
    """Write a file store as MLflow 2 does; several thousand runs a minute."""
    chance = random.Random(7)
    experiment = folder / "0"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text(
        f"artifact_location: file://{experiment}\ncreation_time: 1700000000000\n"
        "experiment_id: '0'\nlast_update_time: 1700000000000\nlifecycle_stage: active\n"
        "name: Default\n"
    )
    for number in range(runs):
        run_id = f"{chance.getrandbits(128):032x}"
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
            (run / "params" / f"param_{i:02}").write_text(f"{chance.random():.6f}")
        for i in range(METRICS):
            lines = (f"{start + s} {chance.random()} {s}\n" for s in range(POINTS))
            (run / "metrics" / f"metric_{i:02}").write_text("".join(lines))
        tags = {f"tag_{i}": f"value {i}" for i in range(TAGS - 2)}
        tags |= {"mlflow.runName": f"run-{number}", "mlflow.user": "someone"}
        for key, value in tags.items():
            (run / "tags" / key).write_text(value)
        (run / "artifacts" / "notes.txt").write_text(f"run {number}\n")
        (run / "artifacts" / "data.json").write_text(json.dumps({"run": number}))


def read_bare(tree: Path) -> int:
    """Read every file of a tree and parse it, with nothing made of it: the floor."""
    import yaml

    def files(folder: str) -> list[os.DirEntry[str]]:
        return list(os.scandir(folder))

    def content(path: str) -> str:
        with open(path, encoding="utf-8") as file:
            return file.read()

    runs = 0
    for run in files(str(tree / "0")):
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


def read_client(tree: Path, runs: int) -> dict[str, float]:
    """Read some of the runs through MlflowClient: all that it has, each metric's whole history.

    Gives the seconds that all other runs would have taken, ``wall`` and ``cpu``: each page of
    runs as long as the first one, each run as long as those that were read.
    """
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow import MlflowClient

    def clocks() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    client = MlflowClient(f"file://{tree}")
    started = clocks()
    page = client.search_runs(["0"], max_results=PAGE)
    searched = clocks()
    some = page[: min(runs, SAMPLED)]
    for run in some:
        for key in run.data.metrics:
            client.get_metric_history(run.info.run_id, key)
        client.list_artifacts(run.info.run_id)
    ended = clocks()
    pages, others = -(-runs // PAGE) - 1, runs / len(some) - 1
    return {
        name: (searched[i] - started[i]) * pages + (ended[i] - searched[i]) * others
        for i, name in enumerate(("wall", "cpu"))
    }


# -- contenders ----------------------------------------------------------------------------


def ours(tree: Path, out: Path, *options: str) -> list[str]:
    """Give the command line of one conversion by this package."""
    code = "from yprov_mlflow.prov.cli import main; main()"
    return [sys.executable, "-c", code, "convert", str(tree), "-o", str(out), *options]


def commands(tree: Path, out: Path, runs: int, rival: Path | None) -> dict[str, list[str]]:
    """Give the command line of each contender; ``out`` is new, and not there yet."""
    here = [sys.executable, __file__, "--read"]
    found = {
        "prov-json": ours(tree, out, "--workers", "2"),
        "n-quads": ours(tree, out, "--workers", "2", "--to", "n-quads"),
        "prov-json-1": ours(tree, out, "--workers", "1"),
        "bare": [*here, "bare", str(tree)],
        "client": [*here, "client", str(tree), "--runs", str(runs)],
    }
    if rival is not None:
        program = rival.parent / "mlflow2rdf"
        found["mlflow2rdf"] = [
            str(program), "--uri", str(tree), "--out", str(out.with_suffix(".ttl"))
        ]  # fmt: skip
    return found


def measure(
    name: str, command: list[str], out: Path, limit: float | None = None
) -> dict[str, float]:
    """Run one contender; gives wall and CPU seconds for all runs, and bytes written.

    One that takes longer than ``limit`` seconds is ended then: its seconds are too few.
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
        more = json.loads(done.stdout)
        wall, cpu = wall + more["wall"], cpu + more["cpu"]
    written = [out.with_suffix(".ttl")] if name == "mlflow2rdf" else out.rglob("*")
    size = sum(path.stat().st_size for path in written if path.is_file())
    return {"wall": wall, "cpu": cpu, "bytes": float(size), "ended": float(done is None)}


def peak(command: list[str]) -> float:
    """Give the most memory that a command and its children held at once, in MiB."""
    import psutil

    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        total = 0
        for one in [process, *_children(process)]:
            try:
                total += one.memory_full_info().pss
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
        found: list[Any] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


# -- rounds --------------------------------------------------------------------------------


def compare(work: Path, runs: int, given: argparse.Namespace) -> dict[str, Any]:
    """Measure all contenders on one tree, in turns; leaves tree and outputs in ``work``."""
    make_tree(work / "mlruns", runs)
    outputs = (work / f"out{number}" for number in itertools.count())
    figures: dict[str, list[dict[str, float]]] = {}
    for number in range(given.rounds):
        for name in commands(work, work, runs, given.mlflow2rdf):
            if name in given.skip or (number and runs > MANY and name in SLOW):
                continue
            out = next(outputs)
            command = commands(work / "mlruns", out, runs, given.mlflow2rdf)[name]
            found = measure(name, command, out, given.limit if name in SLOW else None)
            figures.setdefault(name, []).append(found)
            print(f"  {runs} runs, round {number + 1}, {name}: {found}", file=sys.stderr)
    medians = {
        name: {key: statistics.median(one[key] for one in taken) for key in taken[0]}
        for name, taken in figures.items()
    }
    for name in ("prov-json", "n-quads"):
        if name in medians:
            command = commands(work / "mlruns", next(outputs), runs, given.mlflow2rdf)[name]
            medians[name]["peak_mib"] = peak(command)
    return medians


def one_large_run(work: Path, points: int) -> dict[str, float]:
    """Convert a single run with very many points; gives seconds and peak memory."""
    make_tree(work / "mlruns", 1)
    metrics = next((work / "mlruns" / "0").glob("*/metrics"))
    for i in range(10):
        with (metrics / f"long_{i}").open("w") as file:
            for start in range(0, points // 10, 10_000):
                steps = range(start, min(start + 10_000, points // 10))
                file.write("".join(f"{1_700_000_000_000 + s} {s / 7} {s}\n" for s in steps))
    started = time.perf_counter()
    most = peak(ours(work / "mlruns", work / "out", "--workers", "1"))
    return {"points": points, "wall": time.perf_counter() - started, "peak_mib": most}


def table(results: dict[int, dict[str, Any]]) -> list[str]:
    """Give the figures as lines of a Markdown table, then the goals."""
    lines = [
        "| runs | contender | wall s | runs/s | CPU s | output MB | peak MiB |",
        "|---" * 7 + "|",
    ]
    for runs, medians in results.items():
        for name, one in medians.items():
            lines.append(
                f"| {runs} | {name} | {one['wall']:.2f} | {runs / one['wall']:.0f} |"
                f" {one['cpu']:.2f} | {one['bytes'] / 1e6:.1f} | {one.get('peak_mib', 0):.0f} |"
            )
    lines.append("")
    for name, other, at, least in GOALS:
        for runs, medians in results.items():
            if at not in (0, runs) or name not in medians or other not in medians:
                continue
            measure_by = "cpu" if other == "bare" else "wall"
            ratio = medians[other][measure_by] / medians[name][measure_by]
            verdict = "met" if ratio >= least else "MISSED"
            least_known = "at least " if medians[other]["ended"] else ""
            lines.append(
                f"{name} against {other} at {runs} runs ({measure_by}):"
                f" {least_known}{ratio:.2f} times as fast, goal {least:g}: {verdict}"
            )
    if {1_000, 10_000} <= set(results):
        growth = results[10_000]["prov-json"]["wall"] / results[1_000]["prov-json"]["wall"]
        lines.append(f"growth from 1,000 to 10,000 runs: {growth:.1f} times the time, goal 11")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlflow2rdf", type=Path, metavar="PYTHON", help="one that has mlflow2rdf")
    parser.add_argument("--skip", nargs="*", default=[], metavar="CONTENDER")
    parser.add_argument("--limit", type=float, metavar="S", help="end a slow contender then")
    parser.add_argument("--points", type=int, help="also one run with so many points")
    parser.add_argument("--out", type=Path, help="write figures as JSON")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        what, tree = given.read
        found = read_bare(Path(tree)) if what == "bare" else read_client(Path(tree), given.runs)
        print(json.dumps(found))
        return
    # Nothing is removed before the end: ext4 searches past the inodes of what was removed
    # within the last minutes, at the cost of whoever makes files next.
    with tempfile.TemporaryDirectory(prefix="yprov-convert-") as folder:
        results = {runs: compare(Path(folder, str(runs)), runs, given) for runs in given.sizes}
        print("\n".join(table(results)))
        large = one_large_run(Path(folder, "large"), given.points) if given.points else None
    if large is not None:
        took, most = large["wall"], large["peak_mib"]
        print(f"one run with {large['points']} points: {took:.0f} s, peak {most:.0f} MiB")
    if given.out is not None:
        given.out.write_text(json.dumps({"sizes": results, "large": large}, indent=2) + "\n")


if __name__ == "__main__":
    main()
