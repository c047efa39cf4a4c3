"""The metric series of a run: from the files that documents name, and those that none names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError
from yprov_mlflow.prov.formats.metric_files import yprov4ml_files
from yprov_mlflow.prov.formats.metric_files.yprov4ml_files import Columns
from yprov_mlflow.prov.sources.yprov4ml.rank_content import (
    RankContent,
    context_name,
    source_name,
)
from yprov_mlflow.prov.sources.yprov4ml.rank_events import Series
from yprov_mlflow.prov.sources.yprov4ml.run_folders import RunFolder

Report = Callable[[str, str, str], None]
"""Reports place, reason and loss of a problem."""

# Sources and contexts may have underscores; names without any are the usual case.
_STEM = re.compile(r"(?P<name>.+)_(?P<context>[^_]+)_(?P<source>[^_]+)_GR\d+\Z")
_RANK = re.compile(r"_GR\d+\Z")


class _Origin(NamedTuple):
    """A series before its key is known, and the points of version 1, which are in the document."""

    name: str
    context: str
    source: str | None
    path: Path | None
    points: Columns | None


class SeriesReader:
    """Reads the metric series of a run.

    Attributes:
        sources: The sources of each metric that has one, by the metric's key.

    Args:
        folder: The folder of the run.
        contents: The content of each rank's document.
        report: Called with each problem.
    """

    def __init__(
        self, folder: RunFolder, contents: Mapping[int, RankContent], report: Report
    ) -> None:
        self._folder = folder
        self._report = report
        self._origins = {
            rank: list(self._of_rank(rank, content)) for rank, content in contents.items()
        }
        # MLflow has one series for a name: where several contexts have it, each gets a name.
        every = {o[:3] for origins in self._origins.values() for o in origins}
        self._counts = Counter(name for name, _, _ in every)
        self.sources: dict[str, list[str]] = {}
        for rank, origins in self._origins.items():
            for origin in origins:
                if origin.source is not None:
                    names = self.sources.setdefault(self._key(rank, origin), [])
                    if origin.source not in names:
                        names.append(origin.source)

    def read(self, rank: int) -> Iterator[Series]:
        """Yield the series of a rank with their points."""
        for origin in self._origins[rank]:
            columns = origin.points
            if columns is None and origin.path is not None:
                columns = self._points(origin.path)
            if columns is not None and len(columns.values):
                yield Series(self._key(rank, origin), origin.context, columns)

    def _key(self, rank: int, origin: _Origin) -> str:
        key = origin.name
        if self._counts[origin.name] > 1 and origin.context:
            key = f"{origin.context}/{key}"
        # Ranks log the same names; rank 0 is the one that most programs let log alone.
        return key if rank == min(self._origins) else f"rank_{rank}/{key}"

    def _of_rank(self, rank: int, content: RankContent) -> Iterator[_Origin]:
        files = {path.resolve(): path for path in self._folder.metrics.get(rank, [])}
        for metric in content.metrics:
            path = None
            if metric.path is not None:
                path = self._folder.resolve(metric.path) or self._by_name(rank, metric.path)
                if path is None:
                    place = str(self._folder.path)
                    reason = f"the metric file {Path(metric.path).name!r} is missing"
                    self._report(place, reason, f"the points of {metric.name!r}")
                    continue
                files.pop(path.resolve(), None)
            points = Columns(*metric.points) if metric.points is not None else None
            if points is not None:
                # Version 1 has the points in the document and in a file.
                stem = f"{metric.name}_"
                for resolved in [r for r in files if r.name.startswith(stem)]:
                    if context_name(resolved.name.removeprefix(stem)).startswith(metric.context):
                        del files[resolved]
            yield _Origin(metric.name, metric.context, metric.source, path, points)
        for path in files.values():
            if (origin := self._unnamed(rank, path, content)) is not None:
                yield origin

    def _by_name(self, rank: int, path: str) -> Path | None:
        name = Path(path).name
        return next((p for p in self._folder.metrics.get(rank, []) if p.name == name), None)

    def _unnamed(self, rank: int, path: Path, content: RankContent) -> _Origin | None:
        """Return a series whose file is in the folder, although the document does not name it."""
        try:
            inside = yprov4ml_files.read(path).name
        except (DocumentError, MissingExtraError, OSError):
            inside = None  # reported when its points are read
        if inside is not None:
            name, context, source = inside
        else:
            main = f"{self._folder.experiment}_GR{rank}_{self._folder.number}"
            stem = _RANK.sub("", path.stem)
            start, found_main, end = stem.partition(f"_{main}_")
            match = _STEM.match(path.stem)
            if found_main:
                name, context, source = start, main, end
            elif match is not None:
                name, context, source = match["name"], match["context"], match["source"]
            else:
                name, context, source = stem, "", ""
        context = context_name(context)
        is_run = context == f"{self._folder.experiment}_GR{rank}_{self._folder.number}"
        if content.fields:  # else the missing document is reported already
            self._report(str(path), "no document names it; its file name tells the metric", "")
        return _Origin(name, "" if is_run else context, source_name(source), path, None)

    def _points(self, path: Path) -> Columns | None:
        try:
            columns, faults, _, empty = yprov4ml_files.read(path)
        except MissingExtraError as error:
            self._report(str(path), error.what, f"its points. {error.cure}")
            return None
        except (DocumentError, OSError) as error:
            self._report(str(path), str(error), "its points")
            return None
        if faults:
            self._report(str(path), f"{len(faults)} lines are damaged: {faults[0]}", "these points")
        if empty:
            self._report(str(path), f"{empty} points lack a value: nothing was measured", "")
        return columns
