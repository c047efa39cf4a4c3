"""Measure writing and reading a document in each format, and writing with the library ``prov``.

    python benchmarks/formats.py [--samples 2000] [--repeat 5]

The document describes a run with 20 params, 20 tags and the given number of metric points. Times
are the best of several rounds; each round measures all formats in turn.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
from collections.abc import Callable

import orjson

from yprov_mlflow.prov.events import (
    Event,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    TagsSet,
)
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import Options, translate

RUN = "3f2c0a4e111142228333444455556666"
START_MS = 1_767_322_800_000
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
PROV = {
    "prov-json": ("json", {}),
    "prov-jsonld": ("jsonld", {}),
    "prov-n": ("provn", {}),
    "prov-xml": ("xml", {}),
} | {
    name: ("rdf", {"rdf_format": syntax})
    for name, syntax in (("turtle", "turtle"), ("trig", "trig"), ("n-quads", "nquads"))
}


def make_document(samples: int) -> Document:
    generator = random.Random(1)
    events: list[Event] = [
        RunCreated(RUN, "store", 0, 0, "1", "exp", "run", "ada", START_MS, "file:///a", {}, STORE),
        RunUpdated(RUN, "store", 1, 0, "FINISHED", START_MS + 10_000),
        ParamsLogged(
            RUN, "store", 2, 0, {f"param_{n}": str(generator.random()) for n in range(20)}
        ),
        TagsSet(RUN, "store", 3, 0, {f"tag.{n}": f"value {n}" for n in range(20)}),
    ]
    for key in range(20):
        count = samples // 20
        values = [generator.random() for _ in range(count)]
        times = [START_MS + n for n in range(count)]
        keys = [f"train/metric_{key}"] * count
        events.append(
            MetricsLogged(RUN, "store", 4 + key, 0, keys, values, times, list(range(count)))
        )
    return translate(events, Options(max_samples=samples))


def best_times(jobs: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(repeat):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best.get(name, 1e9), time.perf_counter() - start)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    document = make_document(options.samples)
    prov_document = prov_json.to_prov(document)

    def dump(name: str) -> bytes:
        stream = io.BytesIO()
        FORMATS[name].dump([document], stream, single=True)
        return stream.getvalue()

    contents = {name: dump(name) for name in FORMATS}
    jobs: dict[str, Callable[[], object]] = {
        "orjson": lambda: orjson.dumps(document.to_json_object())
    }
    for name in FORMATS:
        jobs[f"{name} write"] = lambda name=name: dump(name)
        jobs[f"{name} read"] = lambda name=name: list(
            FORMATS[name].load(io.BytesIO(contents[name]))
        )
        if name in PROV:
            serializer, keywords = PROV[name]
            jobs[f"{name} prov"] = lambda serializer=serializer, keywords=keywords: (
                prov_document.serialize(format=serializer, **keywords)
            )
    best = best_times(jobs, options.repeat)
    quads = contents["n-quads"].count(b"\n")
    print(f"{len(document)} records, {quads} quads; orjson alone {best['orjson'] * 1e3:.1f} ms")
    print(
        "format        write ms  records/s   quads/s   bytes     read ms  prov write ms   speedup"
    )
    for name in FORMATS:
        write, read = best[f"{name} write"], best[f"{name} read"]
        prov = best.get(f"{name} prov")
        rate = (
            f"{quads / write:9.0f}" if name in ("turtle", "trig", "n-quads", "json-ld") else " " * 9
        )
        comparison = f"{prov * 1e3:16.1f} {prov / write:6.1f}x" if prov is not None else ""
        print(
            f"{name:12} {write * 1e3:9.1f} {len(document) / write:10.0f} {rate}"
            f" {len(contents[name]):9} {read * 1e3:9.1f} {comparison}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
