"""Empty stores to restore into, and the declared differences of a restored store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.oracles import comparison
from support.oracles.comparison import Difference, Store
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.restore import RestoreReport, RestoreRequest, restore
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.translate import Options, translate


class Target:
    """An empty MLflow store, and a folder of documents to restore into it."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.out = folder / "prov"
        self.database = folder / "target.db"
        self.root = folder / "target-artifacts"
        self.uri = f"sqlite:///{self.database}"
        shutil.copy(template, self.database)

    def write(
        self,
        folder_name: str,
        events: Iterable[Event],
        to: str = "prov-json",
        series: str | None = None,
    ) -> Path:
        folder = self.out / folder_name
        folder.mkdir(parents=True)
        sink = SERIES[series].sink(folder) if series else None
        document = translate(events, Options(max_samples=1 if series else 10**9), sink)
        path = folder / f"prov{FORMATS[to].suffix}"
        with path.open("wb") as stream:
            FORMATS[to].dump([document], stream, single=FORMATS[to].name == "prov-json")
        return path

    def convert(self, location: str, to: str = "prov-json") -> None:
        source = open_source(location)
        for ref in source.runs():
            self.write(f"{ref.experiment_id}/{ref.run_id}", source.events(ref), to)
        self.write("store", source.store_events(), to)
        source.close()

    def restore(self, uri: str | None = None, **options: Any) -> RestoreReport:
        return restore(
            RestoreRequest((self.out,), uri or self.uri, artifact_root=str(self.root), **options)
        )

    @property
    def store(self) -> Store:
        return comparison.read_store(self.uri)


DECLARED = {
    "MLflow's stores have an experiment 0": (
        lambda d: d.path[:2] == ("experiments", "0") and d.expected == comparison.MISSING
    ),
    "an experiment without meta.yaml gets the fields that MLflow requires": (
        lambda d: d.path[0] == "experiments" and d.expected == comparison.MISSING
    ),
    "spans that were a file are in the database, and the trace's tag says so": (
        lambda d: d.path[0] == "traces" and d.path[3:] == ("mlflow.trace.spansLocation",)
    ),
    "MLflow's databases have no column for the logged model of a version": (
        lambda d: d.path[-1] == "yprov.model_id" and d.expected == comparison.MISSING
    ),
}
"""Tests of differences by their reasons."""


def undeclared(result: comparison.Comparison) -> list[Difference]:
    return [
        difference
        for difference in result.differences
        if not any(is_declared(difference) for is_declared in DECLARED.values())
    ]


def in_order(store: Store) -> dict[tuple[str, str], list[str]]:
    """Return all points as a database holds them, in order of logging."""
    return {
        (run_id, key): [repr(point) for point in comparison.collapsed(points)]
        for run_id, run in store["runs"].items()
        for key, points in run["metrics"].items()
    }
