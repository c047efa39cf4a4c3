"""The folder of a run in yProv4ML's layout: its document, metric files and requirements."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from yprov_mlflow.prov.formats.metric_files import yprov4ml_files
from yprov_mlflow.prov.formats.metric_files.yprov4ml_files import Columns, SeriesName
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.profiles import yprov4ml_facts as facts
from yprov_mlflow.prov.profiles import yprov4ml_names as names
from yprov_mlflow.prov.profiles import yprov4ml_points as points
from yprov_mlflow.prov.profiles.yprov4ml_document import Series, summarize
from yprov_mlflow.prov.profiles.yprov4ml_names import RunNames
from yprov_mlflow.prov.profiles.yprov4ml_points import SeriesKey
from yprov_mlflow.prov.translate import PointBatch
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex
from yprov_mlflow.prov.translate.inverse.run_events import created

_TEMPERATURE = "gpu_temperature"
_ELAPSED = "elapsed_s"
_SOURCE = "yprov-mlflow"


def run_names(document: Document) -> RunNames | None:
    """Return the names of a run in the profile, None for the document of a store.

    Raises:
        DocumentError: The document is not from this package.
    """
    index = DocumentIndex(document)
    if index.run is None:
        return None
    fields = created(index)
    experiment, start_ms = (fields[1] or fields[0], fields[4]) if fields else (None, None)
    return RunNames(str(experiment or "experiment"), start_ms or 0)


def write(
    document: Document, batches: Iterable[PointBatch], folder: Path, address: str, kind: str
) -> list[str]:
    """Write the profile of a run's document.

    Args:
        document: The document.
        batches: The points of its metric file; none if its points are records.
        folder: An existing folder, which gets the run's files.
        address: Path or URI that the folder will have.
        kind: Kind of metric files, from ``yprov4ml_files.SUFFIXES``.

    Returns:
        Texts about records that only the full document has.

    Raises:
        DocumentError: The document is not from this package.
        MissingExtraError: The library for the metric files is not installed.
        OSError: A file cannot be written.
    """
    run = run_names(document)
    if run is None:
        return []
    writer = _SeriesWriter(folder, run, yprov4ml_files.SUFFIXES[kind])
    sources = points.sources(document)
    for item, columns in points.recorded(document):
        writer.add(item._replace(source=sources.get(item.key, item.source)), columns)
    ranks = points.ranks_of(document)
    for batch in batches:
        for item, columns in points.batched(batch, ranks):
            writer.add(item._replace(source=sources.get(item.key, item.source)), columns)
    for item, columns in points.means(document):
        writer.add(item, columns)
    writer.close()
    summary = summarize(document, run, writer.series.values(), address)
    (folder / names.METRICS).mkdir(exist_ok=True)
    _write_for_card(folder, document)
    if summary.requirements:
        path = folder / names.REQUIREMENTS
        path.parent.mkdir()
        path.write_text("".join(f"{line}\n" for line in summary.requirements), "utf-8")
    content = orjson.dumps(summary.document, option=orjson.OPT_INDENT_2)
    (folder / run.document).write_bytes(content + b"\n")
    return summary.omitted


class _SeriesWriter:
    """Writes points to one file for each series, and collects the descriptions of the files."""

    def __init__(self, folder: Path, run: RunNames, suffix: str) -> None:
        self._folder = folder
        self._run = run
        self._suffix = suffix
        self.series: dict[SeriesKey, Series] = {}
        self._paths: set[str] = set()
        self._files: dict[Path, None] = {}

    def add(self, item: SeriesKey, columns: Columns) -> None:
        """Append points to a series."""
        context = item.context or self._run.run
        series = self.series.get(item)
        if series is None:
            path = names.metric_file(item.key, context, item.source, item.rank, self._suffix)
            while path.casefold() in self._paths:  # some file systems ignore case
                path = f"{path.removesuffix(self._suffix)}'{self._suffix}"
            self._paths.add(path.casefold())
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            series = Series(item.key, context, item.source, item.rank, path, 0)
        self.series[item] = series._replace(time_ms=columns.times_ms[-1])
        name = SeriesName(item.key, context, item.source)
        files = [self._folder / series.path]
        if series.path.startswith(names.NAMED_METRICS):
            # The card reads one folder only; the getters need the name in the path.
            where = (item.key, context, item.source, item.rank, self._suffix)
            files.append(self._folder / names.flat_metric_file(*where))
            files[-1].parent.mkdir(parents=True, exist_ok=True)
        for file in files:
            yprov4ml_files.append(file, name, columns)
            self._files[file] = None

    def close(self) -> None:
        """Complete all files."""
        for file in self._files:
            yprov4ml_files.finish(file)


# -- for the card --------------------------------------------------------------------------


def _write_for_card(folder: Path, document: Document) -> None:
    """Write CSV files that yProv4ML's card needs and that are not metrics of the run."""
    for context, (start, end) in facts.contexts(document).items():
        times = [time for time in map(points.time_ms, (start, end)) if time is not None]
        if times:
            # The card takes times of a context from metric files alone.
            path = folder / names.flat_metric_file(_ELAPSED, context, _SOURCE, names.RANK, ".csv")
            values = [(time - times[0]) / 1000 for time in times]
            item = SeriesName(_ELAPSED, context, _SOURCE)
            yprov4ml_files.append(path, item, Columns([0] * len(times), values, times))
    if not any(_TEMPERATURE in path.name for path in (folder / names.METRICS).glob("*.csv")):
        # Without such a file the card fails; it shows a value that is missing as unknown.
        start = (document.records.get("activity", {}).get("run:run") or {}).get("prov:startTime")
        path = folder / names.METRICS / f"{_TEMPERATURE}_unknown_GR{names.RANK}.csv"
        path.write_text(f"epoch,value,timestep\n0,,{points.time_ms(start) or 0}\n", "utf-8")
