"""Cost of the index and of questions to it, for growing numbers of runs.

    python benchmarks/lineage.py [RUNS ...]

Runs come in chains of ten, each of which reads the model file of the one before; all use one
dataset. The documents are copies of one from our translator, with ids, files and results of their
own. README.md explains how to read the figures.
"""

from __future__ import annotations

import argparse
import hashlib
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import events
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.graph import lineage_report, run_comparison, run_table
from yprov_mlflow.prov.graph.index_folder import IndexFolder
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

CHAIN = 10
POINTS = 20
START_S = 1_767_225_600
REPETITIONS = 5
GOALS = {
    "records/s": 20_000,
    "lineage": 0.5,
    "diff": 0.5,
    "pareto": 1.0,
    "list": 1.0,
    "memory_MB": 1000,
}

# Texts of the template that each copy replaces with its own.
RUN, BEFORE = "a" * 32, "b" * 32
WRITTEN, READ = "c" * 64, "d" * 64
LOSS, ENERGY = 0.123456789, 987654.5
NAME = "name-of-run"


def template(*, first: bool) -> bytes:
    """Return the document of a run as PROV-JSON; the first of a chain reads no other run."""
    log: list[events.Event] = []

    def add(kind: type[events.Event], *fields: Any) -> int:
        second = START_S + len(log)
        log.append(kind(RUN, "0" * 16, len(log), second * 10**9, *fields))
        return second * 1000

    add(events.SessionStarted, {"pid": 1, "host": "node01", "user": "alice"})
    store = {"uuid": "5bd3f7c4-6c1e-5d0c-9a57-0e1f6a3d9b11", "uri": "sqlite:///m.db"}
    add(events.RunCreated, "1", "study", NAME, "alice", START_S * 1000, "file:///a", {}, store)
    git = {"commit": "1" * 40, "commit_time": START_S - 1000, "dirty": False}
    add(events.FactsCollected, "git", git | {"entry_point": "train.py"})
    packages = {f"package-{number}": "1.0" for number in range(60)}
    facts = {"python": "3.11", "platform": "Linux", "packages": packages}
    add(events.FactsCollected, "environment", facts)
    add(events.FactsCollected, "host", {"os": "Linux", "cpu_count": 8, "hostname": "node01"})
    add(events.ParamsLogged, {f"param_{number}": str(number / 7) for number in range(8)})
    source = {"name": "raw", "digest": "aaaa1111", "schema": "{}", "source": '{"uri": "raw.csv"}'}
    add(events.InputsLogged, [source | {"tags": {"mlflow.data.context": "training"}}])
    if not first:
        read = [{"path": "out/model.bin", "sha256": READ, "size": 4}]
        uri = f"runs:/{BEFORE}/out/model.bin"
        add(events.ObjectRead, "downloaded", {"run": BEFORE}, "out/model.bin", uri, None, read)
    add(events.ContextEntered, ("training",))
    for step in range(POINTS):
        value = LOSS if step == POINTS - 1 else 1 / (step + 1)
        at = (START_S + step) * 1000
        add(events.MetricsLogged, ["loss"], [value], [at], [step], [("training",)], [0])
    add(events.ContextLeft, ("training",))
    add(events.ArtifactsLogged, [{"path": "out/model.bin", "sha256": WRITTEN, "size": 4}])
    end = add(events.TagsSet, {"stage": "done"})
    add(events.RunUpdated, "FINISHED", end)
    document = translate(log)
    document.records["entity"]["run:energy/own"] = {
        "prov:type": [
            {"$": kind, "type": "xsd:QName"} for kind in ("mlf:Quantity", "mlf:AttributedEnergy")
        ],
        "qudt:numericValue": {"$": str(ENERGY), "type": "xsd:double"},
    }
    return document.to_json_bytes()


def run_id(number: int) -> str:
    """Return the id of a run; ids are in no order, as those of MLflow."""
    return hashlib.md5(f"run {number}".encode(), usedforsecurity=False).hexdigest()


def content(number: int) -> str:
    """Return the SHA-256 of the file that a run writes."""
    return hashlib.sha256(f"file {number}".encode()).hexdigest()


def hyphenated(identifier: str) -> str:
    """Return a run id as in the namespace of its document."""
    cuts = (0, 8, 12, 16, 20, 32)
    return "-".join(identifier[a:b] for a, b in itertools.pairwise(cuts))


def documents(runs: int) -> Iterator[Document]:
    """Yield the documents of so many runs."""
    templates = {first: template(first=first) for first in (True, False)}
    generator = random.Random(7)
    for number in range(runs):
        previous = number - 1 if number % CHAIN else number
        texts = [
            (WRITTEN, content(number)),
            (READ, content(previous)),
            (NAME, f"run-{number}"),
            (str(LOSS), f"{generator.uniform(0.1, 2):.9f}"),
            (str(ENERGY), f"{generator.uniform(1e4, 1e6):.1f}"),
        ]
        for old, new in ((RUN, run_id(number)), (BEFORE, run_id(previous))):
            texts += [(old, new), (hyphenated(old), hyphenated(new))]
        text = templates[number % CHAIN == 0]
        for old, new in texts:
            text = text.replace(old.encode(), new.encode())
        yield prov_json.loads(text)


def peak_mb() -> float:
    """Return the largest memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def index(folder: Path, runs: int) -> dict[str, float]:
    """Index the documents, and return the figures."""
    started, cpu = time.perf_counter(), time.process_time()
    update = IndexFolder(folder).add(documents(runs))
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "records": update.records,
        "seconds": seconds,
        "records/s": update.records / seconds,
        "records/cpu_s": update.records / (time.process_time() - cpu),
        "disk_MB": size / 2**20,
        "memory_MB": peak_mb(),
    }


def questions(folder: Path, runs: int) -> dict[str, float]:
    """Ask the index, check the answers, and return seconds for each question."""
    last, first = run_id(runs - 1), run_id(runs - CHAIN)
    folder_index = IndexFolder(folder)

    def median(ask: Callable[[], Any]) -> float:
        ask()  # the cache of pages is warm, as after the first question of a day
        times = []
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            ask()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    def lineage(name: str, direction: Any) -> list[str]:
        report = lineage_report.of_thing(folder_index.graph(), name, direction)
        return [thing.kind for thing in report.things]

    up, down = lineage(last, "up"), lineage(first, "down")
    assert up.count("run") == CHAIN and down.count("run") == CHAIN, (up, down)
    front = run_table.Question(pareto="loss,energy")
    assert run_table.runs(folder_index.graph(), front).rows
    result = {
        "open": median(folder_index.graph),
        "lineage": median(lambda: lineage(last, "up")),
        "lineage_down": median(lambda: lineage(first, "down")),
        "diff": median(lambda: run_comparison.compare(folder_index.graph(), last, first)),
        "pareto": median(lambda: run_table.runs(folder_index.graph(), front)),
        "list": median(lambda: run_table.runs(folder_index.graph())),
    }
    return {**result, "memory_MB": peak_mb()}


def child(part: str, folder: Path, runs: int) -> dict[str, float]:
    """Return the figures of one part, from a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), str(runs)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=int, default=[100, 1_000, 10_000])
    parser.add_argument("--part", choices=["index", "questions"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if any(runs < CHAIN or runs % CHAIN for runs in options.runs):
        parser.error(f"runs come in chains of {CHAIN}: choose a multiple of it")
    if options.part:
        work = index if options.part == "index" else questions
        print(json.dumps(work(options.folder, options.runs[0])))
        return
    rows = []
    for runs in options.runs:
        with tempfile.TemporaryDirectory(prefix="yprov-lineage-") as folder:
            written = child("index", Path(folder), runs)
            asked = child("questions", Path(folder), runs)
        memory = max(written["memory_MB"], asked["memory_MB"])
        rows.append({"runs": runs, **written, **asked, "memory_MB": memory})
        rows[-1]["load"] = os.getloadavg()[0]
        print(f"{runs} runs done", file=sys.stderr)
    print("| | " + " | ".join(f"{row['runs']:,}" for row in rows) + " | goal |")
    print("|---|" + "---:|" * (len(rows) + 1))
    for name in rows[0]:
        if name != "runs":
            cells = [
                f"{row[name]:,.0f}" if row[name] >= 100 else f"{row[name]:.3f}" for row in rows
            ]
            print(f"| {name} | {' | '.join(cells)} | {GOALS.get(name, '')} |")


if __name__ == "__main__":
    main()
