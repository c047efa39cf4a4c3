"""Measure what capture adds to the end of a run, to the exit of a process and to a sweep.

Each figure is the median over processes that alternate between plain MLflow and capture; README.md
says how to read it. ``--before`` measures another checkout of this package as well, in turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from overhead import Bench, Goal, Pair, Row, summarize, table

POINTS = (0, 1_000, 100_000)
BATCH = 1_000
RUNS_IN_SWEEP = 500
TRAINING_S = 3.0
"""How long the first run of a process goes on; imports are made meanwhile."""


# -- in measured processes ---------------------------------------------------------------------


def measure_ends(uri: str, points: int) -> dict[str, float]:
    """End two runs, and return the seconds of both calls and the time after the last one."""
    import mlflow
    from mlflow.entities import Metric

    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    times = {}
    for name in ("first", "later"):
        run_id = mlflow.start_run().info.run_id
        start = time.perf_counter()
        for first in range(0, points, BATCH):
            numbers = range(first, first + BATCH)
            metrics = [Metric(f"m{n % 10}", n / 7, 1_700_000_000_000 + n, n) for n in numbers]
            client.log_batch(run_id, metrics=metrics)
        time.sleep(max(0.0, TRAINING_S - (time.perf_counter() - start)))
        start = time.perf_counter()
        mlflow.end_run()
        times[name] = time.perf_counter() - start
    return {**times, "ended": time.time()}


def measure_sweep(uri: str, runs: int) -> dict[str, float]:
    """Log a parent with many short children; return the seconds, and the time after the end."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.MlflowClient().search_experiments(max_results=1)
    start = time.perf_counter()
    with mlflow.start_run():
        for number in range(runs):
            with mlflow.start_run(nested=True):
                mlflow.log_params({"rate": number, "depth": number % 7, "seed": 1})
                for step in range(5):
                    mlflow.log_metric("loss", 1 / (step + 1), step=step)
    return {"sweep": time.perf_counter() - start, "ended": time.time()}


# -- the benchmark -----------------------------------------------------------------------------


class Ends:
    """Runs the cases for plain MLflow, for capture, and for another checkout if there is one."""

    def __init__(self, bench: Bench, before: Path | None) -> None:
        self.bench = bench
        self.before = before
        self.modes = ["plain", "captured", *(["before"] if before else [])]

    def process(self, mode: str, *words: str) -> dict[str, float]:
        """Return what a process of a mode measured, and ``exit``, the seconds of its exit."""
        folder = self.bench.new_folder()
        uri = ("" if mode == "plain" else "yprov+") + self.bench.database(folder)
        # The default where a run is not in a temporary folder, as it is here.
        env = {"YPROV_MLFLOW_DIR": str(folder / "state"), "YPROV_MLFLOW_END_WAIT": "0.04"}
        if mode == "before":
            env["PYTHONPATH"] = str(self.before)
        start = time.time()
        out = self.bench.python(str(Path(__file__).resolve()), words[0], uri, *words[1:], **env)
        end = time.time()
        result: dict[str, float] = json.loads(out.splitlines()[-1])
        result["exit"] = end - result.pop("ended")
        result["process"] = end - start
        files = [path for path in (folder / "state").rglob("*") if path.is_file()]
        result["files"] = float(len(files))
        shutil.rmtree(folder)
        return result

    def rounds(self, times: int, *words: str) -> dict[str, list[dict[str, float]]]:
        """Return the results of each mode, measured in turns; the first round does not count."""
        results: dict[str, list[dict[str, float]]] = {mode: [] for mode in self.modes}
        for number in range(-1, times):
            for mode in self.modes if number % 2 else self.modes[::-1]:
                result = self.process(mode, *words)
                if number >= 0:
                    results[mode].append(result)
        return results

    def rows(self, case: str, results: Any, key: str, goal: Goal | None) -> list[Row]:
        """Return a row for capture, and one for the other checkout."""
        plain = [result[key] for result in results["plain"]]
        rows = []
        for mode in self.modes[1:]:
            pairs = [Pair(p, r[key]) for p, r in zip(plain, results[mode], strict=True)]
            label = f"{case} (before)" if mode == "before" else case
            rows.append(summarize(label, "s", pairs, goal))
        return rows


def measure(ends: Ends, *, quick: bool) -> tuple[list[Row], dict[str, float]]:
    """Return the rows of all cases, and the files that a sweep leaves in the state folder."""
    rows: list[Row] = []
    for points in POINTS[:2] if quick else POINTS:
        print(f"{points} points ...", file=sys.stderr, flush=True)
        results = ends.rounds(2 if quick else 7, "--ends", str(points))
        for key in ("first", "later"):
            case = f"end_run, {key} of a process, {points} points"
            rows += ends.rows(case, results, key, Goal("difference", 0.05))
        rows += ends.rows(f"exit after it, {points} points", results, "exit", None)
    runs = 50 if quick else RUNS_IN_SWEEP
    print(f"sweep of {runs} runs ...", file=sys.stderr, flush=True)
    results = ends.rounds(1 if quick else 5, "--sweep", str(runs))
    rows += ends.rows(f"sweep of {runs} runs", results, "sweep", Goal("ratio", 1.2))
    rows += ends.rows(f"sweep of {runs} runs, exit", results, "exit", None)
    rows += ends.rows(f"sweep of {runs} runs, whole process", results, "process", None)
    files = {
        mode: statistics.median(result["files"] for result in results[mode])
        for mode in ends.modes[1:]
    }
    return rows, files


def main() -> int:
    """Print the table; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="use fewer repetitions: more noise")
    parser.add_argument("--before", type=Path, help="another checkout of this package")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table to FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yprov-ends-") as name:
        ends = Ends(Bench(Path(name), quick=options.quick), options.before)
        rows, files = measure(ends, quick=options.quick)
    print(table(rows))
    print(f"files in the state folder after the sweep: {files}")
    if options.json:
        result = {"rows": [row._asdict() for row in rows], "files": files}
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 1 if any(row.verdict == "missed" for row in rows if "(before)" not in row.case) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ends"]:
        print(json.dumps(measure_ends(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1:2] == ["--sweep"]:
        print(json.dumps(measure_sweep(sys.argv[2], int(sys.argv[3]))))
    else:
        sys.exit(main())
