"""Measure logging calls that are written later, beside plain MLflow on the same store.

Blocks of plain and of deferred calls alternate in one process. After each deferred block, the
thread writes what waits, so that it does not slow the next plain block.

    python benchmarks/delivery.py sqlite file http
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from overhead import BACKENDS, Bench, Goal, Pair, Row, summarize, table

POINTS_PER_BATCH = 1000
POINTS_PER_RUN = 10_000
GOALS = {
    ("sqlite", "log_metric"): 0.1,
    ("http", "log_metric"): 0.05,
    ("file", "log_metric"): 1 / 3,
    ("sqlite", "log_batch of 1000 metrics"): 0.1,
    ("http", "log_batch of 1000 metrics"): 0.1,
}
"""The largest part of plain MLflow's time that a deferred call may take."""


def cases() -> dict[str, tuple[Callable[[Any, str, int], None], int, int]]:
    """Return for each case its call, and the calls of a plain and of a deferred block."""
    from mlflow.entities import Metric

    def log_batch(client: Any, run_id: str, i: int) -> None:
        points = [Metric(f"b{n % 10}", n / 7, i, n // 10) for n in range(POINTS_PER_BATCH)]
        client.log_batch(run_id, metrics=points)

    return {
        "log_metric": (lambda c, r, i: c.log_metric(r, "m", i / 7, step=i), 5, 200),
        "log_param": (lambda c, r, i: c.log_param(r, f"p{i}", i), 5, 20),
        "log_batch of 1000 metrics": (log_batch, 1, 2),
    }


def measure(uri: str, blocks: int) -> dict[str, Any]:
    """Return for each case pairs of plain and deferred microseconds per call; and of a run."""
    import mlflow
    from mlflow.tracking._tracking_service import utils

    from yprov_mlflow.prov.capture import session
    from yprov_mlflow.prov.capture.switch import switch

    client = mlflow.MlflowClient(uri)
    run_id = client.create_run(client.create_experiment("delivery")).info.run_id
    store = client._tracking_client.store
    deferred, plain = type(store), type(store).captured_from
    capture = session.get()
    results: dict[str, Any] = {}
    number = 0
    for case, (call, few, many) in cases().items():
        pairs = []
        for block in range(-1, blocks):
            times = {}
            for mode, cls, calls in (("plain", plain, few), ("deferred", deferred, many)):
                # Otherwise MLflow's look-up of the store would wrap it again.
                store.__class__, switch.on = cls, mode == "deferred"
                start = time.perf_counter()
                for i in range(number, number + calls):
                    call(client, run_id, i)
                times[mode] = (time.perf_counter() - start) / calls * 1e6
                number += calls
                if mode == "deferred":
                    capture.queues[store].flush(None, 60.0)
            if block >= 0:
                pairs.append([times["plain"], times["deferred"]])
        results[case] = pairs
    assert utils._get_store(uri) is store
    store.__class__, switch.on = deferred, True
    results["run"] = [measure_run(client, capture, store)]
    return results


def measure_run(client: Any, capture: Any, store: Any) -> dict[str, float]:
    """Log 10,000 points; return seconds of calls, of the end, and of the processor elsewhere."""
    run_id = client.create_run("0").info.run_id
    process, thread, start = time.process_time(), time.thread_time(), time.perf_counter()
    for i in range(POINTS_PER_RUN):
        client.log_metric(run_id, "m", i / 7, step=i)
    last = time.perf_counter()
    client.set_terminated(run_id)
    end = time.perf_counter()
    own = time.thread_time() - thread
    elsewhere = time.process_time() - process - own
    points = len(client.get_metric_history(run_id, "m"))
    if points != POINTS_PER_RUN:
        raise SystemExit(f"the store has {points} of {POINTS_PER_RUN} points")
    return {"calls_s": last - start, "end_s": end - last, "own_s": own, "elsewhere_s": elsewhere}


def rows(bench: Bench, backend: str, blocks: int, processes: int) -> Iterator[Row]:
    """Yield the rows of a backend."""
    results = []
    for _ in range(processes):
        folder = bench.new_folder()
        with bench.uri(backend, folder) as uri:
            words = ("--measure", f"yprov+{uri}?yprov-delivery=deferred", str(blocks))
            output = bench.python(str(Path(__file__).resolve()), *words)
            results.append(json.loads(output.splitlines()[-1]))
    for case in results[0]:
        if case == "run":
            continue
        pairs = [Pair(*pair) for result in results for pair in result[case]]
        limit = GOALS.get((backend, case))
        goal = Goal("ratio", limit) if limit is not None else None
        yield summarize(f"{backend}: {case}", "us", pairs, goal)
    for part in ("calls_s", "end_s", "own_s", "elsewhere_s"):
        median = statistics.median(result["run"][0][part] for result in results)
        print(f"{backend}: run of {POINTS_PER_RUN} points, {part}: {median:.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backends", nargs="*", default=list(BACKENDS))
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--processes", type=int, default=3)
    options = parser.parse_args()
    lines: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="yprov-delivery-") as name:
        bench = Bench(Path(name), quick=True)
        bench.environment["YPROV_MLFLOW_COLLECTORS"] = "none"
        for backend in options.backends:
            lines += rows(bench, backend, options.blocks, options.processes)
    print(table(lines, ("plain", "deferred")))
    return 1 if any(row.verdict == "missed" for row in lines) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        sys.exit(main())
