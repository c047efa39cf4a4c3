"""Measure the cost of collectors: CPU time of sampling, slowdown of a loop, time of ``start_run``.

Each figure compares two measurements, one right after the other, in separate processes. README.md
explains how to read the table, which has the format of overhead.py.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from overhead import Bench, Goal, Pair, Row, summarize, table

SETTLE_S = 6.0
"""Seconds that a process waits until its collectors have probed the machine."""

PAUSE_S = 0.3
MODES = ("without", "with")


class Case:
    """A name and the environment variables for settings of the collectors."""

    def __init__(self, collectors: str, interval_s: str = "1", country: str = "") -> None:
        self.name = f"{collectors} at {interval_s} s" if collectors != "none" else collectors
        self.environment = {
            "YPROV_MLFLOW_COLLECTORS": collectors,
            "YPROV_MLFLOW_INTERVAL": interval_s,
            "YPROV_MLFLOW_COUNTRY": country,
        }


NONE = Case("none")
SLOW, FAST = Case("default"), Case("default", "0.1")
CARBON = Case("default,codecarbon", "1", "ITA")


# -- measurements, each in a new process ---------------------------------------------------


def captured_mlflow(uri: str) -> Any:
    """Return the drop-in module after connecting to the store."""
    import yprov_mlflow as mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.MlflowClient().search_experiments(max_results=1)
    return mlflow


def measure_idle(uri: str, seconds: float) -> dict[str, float]:
    """Return the CPU usage of a process that sleeps within a run, in percent of a core.

    ``process`` is measured here; ``accounted`` is the sum that the collectors report in the run's
    document; ``samples`` is the number of their samples.
    """
    from yprov_mlflow.prov.capture import recovery

    mlflow = captured_mlflow(uri)
    with mlflow.start_run() as run:
        time.sleep(SETTLE_S)
        cpu_0, wall_0 = time.process_time(), time.perf_counter()
        time.sleep(seconds)
        cpu_s, wall_s = time.process_time() - cpu_0, time.perf_counter() - wall_0
    document = json.loads(recovery.fetch_document(run.info.run_id))
    accounted = 0.0
    samples = 0
    for record in document["activity"].values():
        if "mlf:samples" in record:
            start, end = (datetime.fromisoformat(record[f"prov:{t}Time"]) for t in ("start", "end"))
            measured_s = (end - start).total_seconds()
            samples += int(record["mlf:samples"]["$"])
            if measured_s and "mlf:cpuSeconds" in record:
                accounted += float(record["mlf:cpuSeconds"]["$"]) / measured_s
    return {"process": 100 * cpu_s / wall_s, "accounted": 100 * accounted, "samples": samples}


def sgd(steps: int) -> None:
    """Fit a line by stochastic gradient descent in pure Python."""
    weight = bias = 0.0
    for step in range(steps):
        x = (step % 97) / 97
        error = weight * x + bias - (3 * x + 1)
        weight -= 0.01 * error * x
        bias -= 0.01 * error


def matmul(steps: int) -> None:
    """Multiply matrices that fit into the cache of a core."""
    import numpy as np

    a = np.full((128, 128), 1e-3)
    for _ in range(steps):
        a = a @ a + 1e-3
        a /= a.max()


LOOPS: dict[str, Callable[[int], None]] = {"sgd": sgd, "matmul": matmul}


def measure_loop(uri: str, loop: str, seconds: float, blocks: int) -> list[Pair]:
    """Time a loop alternately without a run and within a run, during which collectors sample."""
    mlflow = captured_mlflow(uri)
    work = LOOPS[loop]
    with mlflow.start_run():
        time.sleep(SETTLE_S)
    steps = calibrated(work, seconds)
    pairs = []
    for block in range(blocks):
        times = {}
        for mode in MODES if block % 2 else MODES[::-1]:
            if mode == "with":
                mlflow.start_run()
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            work(steps)
            times[mode] = time.perf_counter() - start
            if mode == "with":
                mlflow.end_run()
        pairs.append(Pair(times["without"], times["with"]))
    return pairs


def calibrated(work: Callable[[int], None], seconds: float) -> int:
    """Return the number of steps that take this many seconds."""
    steps, duration_s = 100, 0.0
    while duration_s < seconds / 10:
        steps *= 2
        start = time.perf_counter()
        work(steps)
        duration_s = time.perf_counter() - start
    return int(steps * seconds / duration_s)


def measure_start(uri: str) -> dict[str, float]:
    """Return the time of a process's first ``start_run`` and of its ``end_run``, in ms."""
    mlflow = captured_mlflow(uri)
    start_0 = time.perf_counter()
    mlflow.start_run()
    start_s = time.perf_counter() - start_0
    time.sleep(SETTLE_S)
    end_0 = time.perf_counter()
    mlflow.end_run()
    return {"start_run": 1000 * start_s, "end_run": 1000 * (time.perf_counter() - end_0)}


# -- cases ---------------------------------------------------------------------------------


class Measurements:
    """Starts measuring processes, each with a new database and journal folder."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def child(self, case: Case, *words: str) -> Any:
        folder = self.bench.new_folder()
        env = {**case.environment, "YPROV_MLFLOW_DIR": str(folder / "state")}
        if "PYTHONPATH" in os.environ:
            env["PYTHONPATH"] = os.environ["PYTHONPATH"]
        name, *arguments = words
        words = (f"--measure-{name}", self.bench.database(folder), *arguments)
        output = self.bench.python(str(Path(__file__).resolve()), *words, **env)
        return json.loads(output.splitlines()[-1])

    def alternate(self, case: Case, times: int, *words: str) -> list[Pair]:
        """Return pairs of results without and with the collectors of the case."""

        def work(mode: str) -> Any:
            return self.child(case if mode == "captured" else NONE, *words)

        pairs: list[Pair] = self.bench.alternate(times, work)
        return pairs


def rows_of_sampling(measurements: Measurements, *, quick: bool) -> Iterator[Row]:
    seconds, times = ("10", 2) if quick else ("30", 7)
    for case, limit in ((SLOW, 0.5), (FAST, 3.0)):
        pairs = measurements.alternate(case, times, "idle", seconds)
        if not all(pair.captured["samples"] for pair in pairs):
            print(f"{case.name}: no samples", file=sys.stderr)
        for name, label in (("process", "sleeping process"), ("accounted", "collectors' report")):
            numbers = [Pair(pair.plain[name], pair.captured[name]) for pair in pairs]
            goal = Goal("difference", limit)
            yield summarize(f"{case.name}: {label}", "% of a core", numbers, goal)


def rows_of_loops(measurements: Measurements, *, quick: bool) -> Iterator[Row]:
    seconds, blocks, processes = ("1.5", "5", 1) if quick else ("1.5", "15", 5)
    for loop in LOOPS:
        if loop == "matmul" and importlib.util.find_spec("numpy") is None:
            continue
        cases = ((NONE, None), (SLOW, 1.01), (FAST, 1.03))
        pairs: dict[str, list[Pair]] = {case.name: [] for case, _ in cases}
        for turn in range(processes):
            for case, _ in cases if turn % 2 else cases[::-1]:
                result = measurements.child(case, "loop", loop, seconds, blocks)
                pairs[case.name] += [Pair(*pair) for pair in result]
        for case, limit in cases:
            goal = Goal("ratio", limit) if limit else None
            yield summarize(f"{case.name}: {loop} within a run", "s", pairs[case.name], goal)


def rows_of_starts(measurements: Measurements, *, quick: bool) -> Iterator[Row]:
    for case in (SLOW, CARBON):
        pairs = measurements.alternate(case, 3 if quick else 11, "start")
        for call, goal in (("start_run", Goal("difference", 20)), ("end_run", None)):
            numbers = [Pair(pair.plain[call], pair.captured[call]) for pair in pairs]
            yield summarize(f"{case.name}: {call}", "ms", numbers, goal)


GROUPS: dict[str, Callable[..., Iterator[Row]]] = {
    "sampling": rows_of_sampling,
    "loop": rows_of_loops,
    "start": rows_of_starts,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "groups", nargs="*", choices=[*GROUPS, []], help=f"any of {', '.join(GROUPS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="use fewer repetitions: more noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table to FILE")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="yprov-collectors-") as name:
        measurements = Measurements(Bench(Path(name), quick=options.quick))
        for group, measure in GROUPS.items():
            if not options.groups or group in options.groups:
                print(f"{group} ...", file=sys.stderr, flush=True)
                rows += measure(measurements, quick=options.quick)
    versions = {name: importlib.metadata.version(name) for name in ("mlflow", "yprov-mlflow")}
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, {versions}")
    print(table(rows, MODES))
    if options.json:
        result = {"versions": versions, "rows": [row._asdict() for row in rows]}
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 1 if any(row.verdict == "missed" for row in rows) else 0


def measure(words: list[str]) -> Any:
    match words:
        case ["--measure-idle", uri, seconds]:
            return measure_idle(f"yprov+{uri}", float(seconds))
        case ["--measure-loop", uri, loop, seconds, blocks]:
            return measure_loop(f"yprov+{uri}", loop, float(seconds), int(blocks))
        case ["--measure-start", uri]:
            return measure_start(f"yprov+{uri}")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--measure-"):
        print(json.dumps(measure(sys.argv[1:])))
    else:
        sys.exit(main())
