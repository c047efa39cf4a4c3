"""One unit from store to files: read, translate, write."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.request import Request
from yprov_mlflow.prov.convert.units import Result, Unit
from yprov_mlflow.prov.errors import DocumentError, YprovMlflowError
from yprov_mlflow.prov.events import Event, MetricsLogged, StoreCalled
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.source import Problem, Source
from yprov_mlflow.prov.translate import Document, PointBatch, SideFile, Translator


@functools.lru_cache(maxsize=1)
def _source(location: str, artifacts: str | None, uri: str | None) -> Source:
    return open_source(location, artifacts=artifacts, uri=uri)


def work(request: Request, units: Sequence[Unit]) -> list[Result]:
    """Convert units one after the other.

    Raises:
        OutputError: The output cannot be written, so that going on makes no sense.
        StoreError: The store cannot be read any more.
    """
    source = _source(request.source, request.artifacts, request.uri)
    return [convert(source, unit, request) for unit in units]


def convert(source: Source, unit: Unit, request: Request) -> Result:
    """Convert one unit, unless it is as it was; what is wrong with it is in the result."""
    try:
        fingerprint = source.fingerprint(unit.ref) if unit.ref is not None else None
        if fingerprint is not None and fingerprint == unit.known:
            return Result(unit.key, "unchanged", fingerprint)
        return _convert(source, unit, request, fingerprint)
    except Exception as error:  # what is wrong with a run must not stop the others
        if isinstance(error, YprovMlflowError) and not isinstance(error, DocumentError):
            raise
        reason = f"{type(error).__name__}: {error}"
        problem = Problem(_place(source, unit), reason, "all of it")
        return Result(unit.key, "failed", problems=(*source.problems(), problem))


def _place(source: Source, unit: Unit) -> str:
    return f"{source.location}, {unit.key}"


def _convert(source: Source, unit: Unit, request: Request, fingerprint: str | None) -> Result:
    with output.scratch(request.out) as folder:
        translator, points = _translator(request, unit, folder), 0
        for event in _events(source, unit, request):
            if type(event) is MetricsLogged:
                points += len(event.keys)
            translator.feed(event)
        document = translator.finish()
        problems = tuple(source.problems())
        if fingerprint is None:  # only its document tells whether anything changed
            fingerprint = hashlib.sha256(prov_json.dumps(document)).hexdigest()
            if fingerprint == unit.known:
                return Result(unit.key, "unchanged", fingerprint, problems=problems)
        with output.writing(request.out):
            problems += _write(document, folder, request, _place(source, unit))
            sizes = output.publish(folder, unit, request)
    return Result(
        unit.key, "converted", fingerprint, len(document), points, sizes, problems=problems
    )


def _events(source: Source, unit: Unit, request: Request) -> Iterator[Event]:
    if unit.ref is not None:
        yield from source.events(unit.ref)
        return
    for event in source.store_events():
        if not request.experiments or _concerns(event, request.experiments):
            yield event


def _concerns(event: Event, experiments: Collection[str]) -> bool:
    """Tell whether an event is about one of the experiments, or about none at all."""
    if not isinstance(event, StoreCalled) or "experiment" not in event.subjects:
        return True
    named = {event.subjects["experiment"], event.arguments.get("name")}
    return not named.isdisjoint(experiments)


def _write(document: Document, folder: Path, request: Request, place: str) -> tuple[Problem, ...]:
    """Write a document in all formats; gives what is wrong with those that cannot hold it.

    Raises:
        DocumentError: None of them can.
    """
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
            problems.append(Problem(place, error.what, f"its document in {name}"))
    return tuple(problems)


# -- points ------------------------------------------------------------------------------


def _translator(request: Request, unit: Unit, folder: Path) -> Translator:
    options = request.options
    if request.points == "all":
        return Translator(dataclasses.replace(options, max_samples=sys.maxsize))
    if request.points == "none":
        return Translator(dataclasses.replace(options, max_samples=0), _NoPoints())
    return Translator(options, _Points(request, unit, folder))


class _NoPoints:
    """Takes points and keeps none: the document has the figures of each series alone."""

    def write(self, batch: PointBatch) -> None:
        """Take a batch."""

    def close(self) -> None:
        """Say that there is no file."""


class _Points:
    """Takes the points of a unit; says where the file lies as seen from the document."""

    def __init__(self, request: Request, unit: Unit, folder: Path) -> None:
        self._sink = SERIES[request.series].sink(folder)
        self._place = functools.partial(output.side_place, unit, request.layout)
        self._writing = functools.partial(output.writing, request.out)

    def write(self, batch: PointBatch) -> None:
        """Take a batch."""
        with self._writing():
            self._sink.write(batch)

    def close(self) -> SideFile | None:
        """Finish the file."""
        with self._writing():
            found = self._sink.close()
        return found and found._replace(path=self._place(found.path))
