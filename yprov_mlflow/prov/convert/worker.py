"""Conversion of one unit: read it from the store, translate it, write its files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from yprov_mlflow.prov.convert import captured, output, overview
from yprov_mlflow.prov.convert.request import Request, Result, Unit
from yprov_mlflow.prov.errors import DocumentError, YprovMlflowError
from yprov_mlflow.prov.events import Event, MetricsLogged, StoreCalled
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES, read_points
from yprov_mlflow.prov.layout import PROVENANCE
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.profiles import PROFILES
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.document_source import DocumentSource
from yprov_mlflow.prov.sources.source import Problem, Source
from yprov_mlflow.prov.translate import (
    PointBatch,
    SideFile,
    Translator,
    described,
    point_count,
    side_files,
)


@functools.lru_cache(maxsize=1)
def _source(location: str, artifacts: str | None, uri: str | None) -> Source:
    # One per process, for all batches: opening a store and indexing its models is costly.
    return open_source(location, artifacts=artifacts, uri=uri)


def work(request: Request, units: Sequence[Unit]) -> list[Result]:
    """Convert units one after the other.

    Raises:
        OutputError: The output cannot be written, so that all other units would fail, too.
        StoreError: The store can no longer be read.
    """
    source = _source(request.source, request.artifacts, request.uri)
    return [convert(source, unit, request) for unit in units]


def convert(source: Source, unit: Unit, request: Request) -> Result:
    """Convert one unit unless it is unchanged; its problems are in the result."""
    try:
        fingerprint = source.fingerprint(unit.ref) if unit.ref is not None else None
        if fingerprint is not None and fingerprint == unit.previous_fingerprint:
            return Result(unit.key, "unchanged", fingerprint)
        return _convert(source, unit, request, fingerprint)
    except Exception as error:  # one broken run must not stop the others
        if isinstance(error, YprovMlflowError) and not isinstance(error, DocumentError):
            raise
        reason = f"{type(error).__name__}: {error}"
        problem = Problem(_location(source, unit), reason, "all of it")
        return Result(unit.key, "failed", problems=(*source.problems(), problem))


def _location(source: Source, unit: Unit) -> str:
    return f"{source.location}, {unit.key}"


def _convert(source: Source, unit: Unit, request: Request, fingerprint: str | None) -> Result:
    with output.scratch_folder(request.out) as folder:
        translator, points = _translator(request, unit, folder), 0
        for event in _events(source, unit, request):
            # Exact: this loop sees every event.
            if type(event) is MetricsLogged and request.points != "none":
                points += len(event.keys)
            translator.feed(event)
        document = translator.finish()
        problems = tuple(source.problems())
        if isinstance(source, DocumentSource) and unit.ref is not None:
            document, beside = source.document(unit.ref)
            captured.copy_points(document, beside, unit, request, folder)
            points = point_count(document)
            problems += captured.ignored_options(document, _location(source, unit), request)
        else:
            is_whole = not any(problem.lost for problem in problems)
            document, more = captured.completed(
                source, unit, request, document, folder, is_whole=is_whole
            )
            problems += more
        if unit.ref is not None:
            document = described(document, request.about)
        if fingerprint is None:  # the unit without a run: only its document shows a change
            fingerprint = hashlib.sha256(prov_json.dumps(document)).hexdigest()
            if fingerprint == unit.previous_fingerprint:
                return Result(unit.key, "unchanged", fingerprint, problems=problems)
        with output.output_errors(request.out):
            problems += _write(document, folder, request, _location(source, unit))
            if request.profile is not None:
                problems += _write_profile(document, folder, request, unit, _location(source, unit))
            sizes = output.publish(folder, unit, request)
    run = {} if unit.ref is None else overview.of_run(unit, request, document)
    return Result(unit.key, "converted", fingerprint, len(document), points, sizes, problems, run)


def _events(source: Source, unit: Unit, request: Request) -> Iterator[Event]:
    if unit.ref is not None:
        yield from source.events(unit.ref)
        return
    for event in source.store_events():
        if not request.experiments or _concerns(event, request.experiments):
            yield event


def _concerns(event: Event, experiments: Collection[str]) -> bool:
    """Return whether an event is about one of the experiments, or about no experiment."""
    if not isinstance(event, StoreCalled) or "experiment" not in event.subjects:
        return True
    names = {event.subjects["experiment"], event.arguments.get("name")}
    return not names.isdisjoint(experiments)


def _write(
    document: Document, folder: Path, request: Request, location: str
) -> tuple[Problem, ...]:
    """Write a document; return a problem for each format that cannot hold it, unless none can."""
    names = request.formats if request.layout == "per-run" else (output.PART,)
    problems: list[Problem] = []
    for name in names:
        path = folder / output.file_name(name)
        try:
            with path.open("wb") as file:
                FORMATS[name].dump([document], file, single=True)
        except DocumentError as error:
            if len(problems) + 1 == len(names):
                raise
            path.unlink()
            problems.append(Problem(location, error.what, f"its document in {name}"))
    return tuple(problems)


def _write_profile(
    document: Document, folder: Path, request: Request, unit: Unit, location: str
) -> tuple[Problem, ...]:
    """Write the profile of a run beside its document; return a problem for each omission."""
    assert request.profile is not None
    profile = PROFILES[request.profile]
    beside = output.make_room(folder)
    batches = (batch for name, _ in side_files(document) for batch in read_points(beside / name))
    kind = request.series if request.series in profile.kinds else profile.kinds[0]
    omitted = profile.write(document, batches, folder, output.address(unit, request), kind)
    reason = f"the profile is a summary and lacks {{}}; the document in {PROVENANCE} has them"
    return tuple(Problem(location, reason.format(text), "") for text in omitted)


def _translator(request: Request, unit: Unit, folder: Path) -> Translator:
    options = request.options
    if request.points == "all":
        return Translator(dataclasses.replace(options, max_samples=sys.maxsize))
    if request.points == "none":
        return Translator(dataclasses.replace(options, max_samples=0), _DiscardedPoints())
    return Translator(options, _SideFilePoints(request, unit, folder))


class _DiscardedPoints:
    """Discards points: the document has only the figures of each series."""

    def write(self, batch: PointBatch) -> None:
        """Ignore a batch."""

    def close(self) -> None:
        """Return None, because no side file is written."""


class _SideFilePoints:
    """Writes the points of a unit to a side file; its path is relative to the document."""

    def __init__(self, request: Request, unit: Unit, folder: Path) -> None:
        self._sink = SERIES[request.series].sink(folder)
        self._path = functools.partial(output.side_file_path, unit, request.layout)
        self._out = request.out

    def write(self, batch: PointBatch) -> None:
        with output.output_errors(self._out):
            self._sink.write(batch)

    def close(self) -> SideFile | None:
        with output.output_errors(self._out):
            side_file = self._sink.close()
        return side_file and side_file._replace(path=self._path(side_file.path))
