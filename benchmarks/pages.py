"""Cost of pages: the report of a run with many points, and the first page of the view.

    python benchmarks/pages.py [--points 1000000] [--runs 10000]

README.md explains how to read the figures.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lineage import documents  # type: ignore[import-not-found] # - beside this file

from yprov_mlflow.prov import events
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES, read_points
from yprov_mlflow.prov.graph.index_folder import IndexFolder
from yprov_mlflow.prov.layout import METRICS_PARQUET
from yprov_mlflow.prov.report import run_report
from yprov_mlflow.prov.translate import Options, Translator
from yprov_mlflow.prov.ui import local_server, shown_runs

START_S = 1_767_225_600
BATCH, KEYS, REPETITIONS = 1000, 4, 5


def write_run(folder: Path, points: int) -> Path:
    """Write the document and the metric file of a run."""
    translator = Translator(Options(max_samples=100), SERIES["parquet"].sink(folder))
    seq = 0

    def add(kind: type[events.Event], *fields: Any) -> None:
        nonlocal seq
        at = (START_S + seq) * 10**9
        translator.feed(kind("a" * 32, "0" * 16, seq, at, *fields))
        seq += 1

    add(events.SessionStarted, {"pid": 1, "host": "node01", "user": "alice"})
    store = {"uuid": "5bd3f7c4-6c1e-5d0c-9a57-0e1f6a3d9b11", "uri": "sqlite:///m.db"}
    add(events.RunCreated, "1", "e", "n", "alice", START_S * 1000, "file:///a", {}, store)
    for start in range(0, points // KEYS, BATCH // KEYS):
        steps = [step for step in range(start, start + BATCH // KEYS) for _ in range(KEYS)]
        keys = [f"metric {number}" for number in range(KEYS)] * (BATCH // KEYS)
        values = [math.sin(step / 1000) + step % 7 / 20 for step in steps]
        at = [(START_S + seq) * 1000] * BATCH
        add(events.MetricsLogged, keys, values, at, steps, [("training",)], [0] * BATCH)
    add(events.RunUpdated, "FINISHED", (START_S + seq) * 1000)
    path = folder / "prov.json"
    path.write_bytes(prov_json.dumps(translator.finish()))
    return path


def median_s(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the median of some repetitions in seconds."""
    times = []
    for _ in range(REPETITIONS):
        started = clock()
        work()
        times.append(clock() - started)
    return statistics.median(times)


def report(folder: Path, points: int) -> dict[str, float]:
    """Return the seconds of each part of a report, and its size."""
    path = write_run(folder, points)
    file = folder / METRICS_PARQUET

    def page() -> str:
        document = prov_json.loads(path.read_bytes())
        return run_report.of_document(document, read_points(file)).to_html()

    content = run_report.of_document(prov_json.loads(path.read_bytes()), read_points(file))
    assert len(content.lines) == KEYS, content.lines.keys()
    return {
        "report_s": median_s(page),
        # Of this process alone, on a machine that others use.
        "report_cpu_s": median_s(page, time.process_time),
        "of that, reading the file_s": median_s(lambda: sum(1 for _ in read_points(file))),
        "of that, writing the page_s": median_s(content.to_html),
        "report_kB": len(page().encode()) / 1000,
    }


def view(folder: Path, runs: int) -> dict[str, float]:
    """Return the seconds of pages of the view over an index of so many runs."""
    IndexFolder(folder).add(documents(runs))
    catalog = shown_runs.Catalog(IndexFolder(folder).graph(), {})
    client = local_server.application(catalog, "token").test_client()
    client.get("/?token=token")
    pages = {
        "first page_s": "/",
        "last page_s": "/?page=1000000",
        "sorted by loss_s": "/?sort=loss",
        "filtered_s": "/?where=metrics.loss < 0.3&columns=loss",
    }
    for address in pages.values():
        answer = client.get(address)
        assert answer.status_code == 200 and "runs" in answer.text, answer.text
    return {name: median_s(lambda at=at: client.get(at)) for name, at in pages.items()}  # type: ignore[misc] # - bound now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    for part, size in ((report, options.points), (view, options.runs)):
        with tempfile.TemporaryDirectory(prefix="yprov-pages-") as folder:
            figures = part(Path(folder), size)
        for name, value in (figures | {"load": os.getloadavg()[0]}).items():
            print(f"| {name} | {value:.3f} |", flush=True)


if __name__ == "__main__":
    main()
