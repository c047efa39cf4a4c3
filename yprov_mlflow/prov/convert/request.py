"""What a user asks of a conversion."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.sources.source import RunRef
from yprov_mlflow.prov.translate import Options

LAYOUTS = ("per-run", "per-experiment", "single")
"""A document for each run, for each experiment, or one for all."""

POINTS = ("auto", "all", "none")
"""Metric points: records up to a threshold and else a side file, always records, left out."""

_OUTPUT = 1
"""Raised when the same events come to be written otherwise: then all is converted again."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One conversion, as asked for; travels to every worker.

    Args:
        source: Folder, database URI or server URI of the store.
        out: Folder that gets the documents; made if it is not there.
        formats: Names of ``formats.FORMATS``, each written.
        layout: One of ``LAYOUTS``.
        experiments: Ids or names of experiments; empty means all.
        runs: Ids of runs; empty means all.
        since_ms: Only runs that started then or later, in ms since the epoch.
        statuses: Only runs with one of these statuses; empty means all.
        points: One of ``POINTS``.
        series: Kind of side file, of ``formats.series.SERIES``.
        artifacts: Root that has the artifacts, where it is not the one that the store names.
        uri: Where a tree really is, if ``source`` is a copy of it.
        options: How to translate.
    """

    source: str
    out: Path
    formats: tuple[str, ...] = ("prov-json",)
    layout: str = "per-run"
    experiments: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    since_ms: int | None = None
    statuses: tuple[str, ...] = ()
    points: str = "auto"
    series: str = "parquet"
    artifacts: str | None = None
    uri: str | None = None
    options: Options = dataclasses.field(default_factory=Options)

    def check(self) -> None:
        """Raise ``UsageError`` for what cannot be had."""
        _one_of("layout", self.layout, LAYOUTS)
        _one_of("points", self.points, POINTS)
        _one_of("series", self.series, SERIES)
        if not self.formats:
            raise UsageError("no format is asked for", None, f"Name one of {_listed(FORMATS)}")
        for name in self.formats:
            _one_of("format", name, FORMATS)
            if self.layout != "per-run" and not FORMATS[name].many:
                raise UsageError(
                    f"{name} holds one run in a document and not many",
                    f"layout {self.layout}",
                    "Use the layout per-run, or a format with named graphs such as trig",
                )

    @property
    def selective(self) -> bool:
        """Whether only some of the runs are asked for."""
        chosen = self.experiments or self.runs or self.statuses
        return bool(chosen) or self.since_ms is not None

    def wants(self, ref: RunRef) -> bool:
        """Tell whether a run is asked for."""
        if self.experiments and not {ref.experiment_id, ref.experiment_name} & {*self.experiments}:
            return False
        if self.runs and ref.run_id not in self.runs:
            return False
        if self.statuses and ref.status not in self.statuses:
            return False
        return self.since_ms is None or (ref.start_time_ms or 0) >= self.since_ms

    def digest(self) -> str:
        """Name what governs the bytes of a unit; a unit done otherwise is not done."""
        said = [
            _OUTPUT,
            sorted(set(self.formats)) if self.layout == "per-run" else None,
            self.layout,
            self.points,
            self.series,
            self.artifacts,
            dataclasses.asdict(self.options),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def _one_of(what: str, given: str, allowed: Collection[str]) -> None:
    if given not in allowed:
        raise UsageError(f"there is no {what} {given!r}", None, f"Use one of {_listed(allowed)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
