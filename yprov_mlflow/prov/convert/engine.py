"""A conversion from plan to report, and its preview."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.convert import output, overview
from yprov_mlflow.prov.convert.executors import Executor
from yprov_mlflow.prov.convert.ledger import Ledger
from yprov_mlflow.prov.convert.request import Request, Result, Unit, plan
from yprov_mlflow.prov.errors import DocumentError, UsageError
from yprov_mlflow.prov.layout import STORE_FOLDER
from yprov_mlflow.prov.sources import Problem

_MAX_BATCH = 8
"""Runs per batch at most: small enough to keep all workers busy until the end."""


class _Losses:
    problems: list[Problem]

    @property
    def losses(self) -> list[Problem]:
        """The problems due to which something is missing from the output."""
        return [problem for problem in self.problems if problem.lost]

    @property
    def lacks_only_artifacts(self) -> bool:
        """Whether all that is missing is artifact files out of reach."""
        return all(problem.kind == "artifacts" for problem in self.losses)


@dataclasses.dataclass
class ConversionReport(_Losses):
    """Figures of one conversion.

    ``unchanged`` counts the runs that an earlier conversion has done. ``records``, ``points`` and
    ``bytes`` are those of the documents written now.
    """

    source: str
    out: str
    runs: int = 0
    converted: int = 0
    unchanged: int = 0
    failed: int = 0
    records: int = 0
    points: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problems: list[Problem] = dataclasses.field(default_factory=list)

    def add(self, result: Result) -> None:
        """Add the result of a unit."""
        self.problems += result.problems
        if result.key != STORE_FOLDER:
            setattr(self, result.state, getattr(self, result.state) + 1)
        if result.state == "converted":
            self.records += result.records
            self.points += result.points
            self.bytes += sum(result.sizes.values())

    def to_json_object(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return dataclasses.asdict(self)


class Conversion:
    """One conversion: iterate over it to convert, then read ``report``.

    If it stops early (an exception, a signal, a kill), completed units stay done, and the next
    conversion with the same request continues from there.

    Raises:
        StoreError: The store cannot be read.
        UsageError: The request is invalid, or selects runs that do not exist.
    """

    def __init__(self, request: Request, workers: Executor) -> None:
        request.check()
        self.request = request
        self.workers = workers
        with closing(request.open_source()) as source:
            store = source.folder and Path(source.folder).resolve()
            if store and request.out.resolve().is_relative_to(store):  # could replace its files
                raise UsageError.into_store(str(request.out))
            refs = list(source.runs())
            self.report = ConversionReport(source.location, str(request.out))
            self.report.problems += source.problems()
            of_documents = source.of_documents
        # The unit without a run comes first: it may take long.
        self.units = [*plan(refs, request)]
        self.report.runs = len(self.units)
        if not of_documents:
            self.units.insert(0, Unit(STORE_FOLDER, STORE_FOLDER, None))
        if request.selective and not self.report.runs:
            raise UsageError(
                f"none of the {len(refs)} runs matches the selection",
                source.location,
                "Check --experiment, --run, --since and --status",
            )

    def __iter__(self) -> Iterator[Result]:
        """Convert all units; yield each result when it is ready.

        Raises:
            OutputError: The output cannot be written.
            StoreError: The store can no longer be read.
        """
        started = time.monotonic()
        with Ledger(self.request.out, self.request.digest()) as ledger:
            units = [
                dataclasses.replace(unit, previous_fingerprint=ledger.fingerprint(unit.key))
                for unit in self.units
            ]
            # At least four batches per worker: some runs take far longer than others.
            size = max(1, min(_MAX_BATCH, len(units) // (4 * self.workers.count)))
            batches = [units[i : i + size] for i in range(0, len(units), size)]
            for results in self.workers.map(self.request, batches):
                for result in results:
                    yield self._add(result, ledger)
            if self.request.layout != "per-run":
                self._assemble(ledger)
            overview.write(self._done(ledger), self.request)
        self.report.seconds = time.monotonic() - started

    def _done(self, ledger: Ledger) -> Iterator[Result]:
        """Yield the results of all runs that are done, also those of earlier selections."""
        units = {unit.key: unit for unit in self.units}
        for key, result in ledger.done.items():
            unit = units.get(key)
            if not result.run and unit is not None and unit.ref is not None:
                # A line of a ledger from before the overview.
                result = dataclasses.replace(result, run=overview.of_run(unit, self.request))
            yield result

    def _add(self, result: Result, ledger: Ledger) -> Result:
        if result.state == "converted":
            # Only now: the files of the unit are in position.
            ledger.add(result)
        elif result.state == "unchanged":
            # Problems are reported each time, although the run is not read again.
            result = dataclasses.replace(result, problems=ledger.done[result.key].problems)
        self.report.add(result)
        return result

    def _assemble(self, ledger: Ledger) -> None:
        """Assemble the documents of several units where any of the units changed."""
        groups: dict[str, list[Unit]] = {}
        for unit in self.units:
            if unit.key in ledger.done:
                folder = output.document_folder(unit, self.request.layout)
                groups.setdefault(folder, []).append(unit)
        for folder, units in groups.items():
            parts = [(unit.key, ledger.done[unit.key].fingerprint) for unit in units]
            fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()
            for name in self.request.formats:
                key = f"{folder}\0{name}"
                if ledger.fingerprint(key) == fingerprint:
                    continue
                try:
                    sizes = output.assemble(units, name, self.request)
                except DocumentError as error:  # the format cannot hold one of the parts
                    path, lost = str(self.request.out / folder), f"the document in {name}"
                    self.report.problems.append(Problem(path, str(error), lost))
                else:
                    ledger.add(Result(key, "converted", fingerprint, sizes=sizes))
                    self.report.bytes += sum(sizes.values())


@dataclasses.dataclass
class ExperimentPreview:
    """Counts of the requested runs of one experiment."""

    experiment_id: str
    name: str | None
    runs: int = 0
    deleted: int = 0
    unchanged: int = 0


@dataclasses.dataclass
class Preview(_Losses):
    """A dry run; ``records``, ``points`` and ``bytes`` are those of the unchanged runs."""

    source: str
    out: str
    experiments: list[ExperimentPreview]
    records: int
    points: int
    bytes: int
    problems: list[Problem]

    @property
    def runs(self) -> int:
        """Number of requested runs."""
        return sum(experiment.runs for experiment in self.experiments)

    @property
    def unchanged(self) -> int:
        """Number of runs that are done and have not changed since."""
        return sum(experiment.unchanged for experiment in self.experiments)

    def to_json_object(self) -> dict[str, Any]:
        """Return the preview as a JSON object."""
        return {"runs": self.runs, "unchanged": self.unchanged, **dataclasses.asdict(self)}


def preview(conversion: Conversion) -> Preview:
    """Return what a conversion would do, without writing anything.

    The store is asked for fingerprints of runs that are done already; other runs are not read.

    Raises:
        OutputError: The ledger cannot be read.
        StoreError: The store can no longer be read.
    """
    request = conversion.request
    ledger = Ledger(request.out, request.digest())
    with output.output_errors(request.out):
        ledger.read()
    experiments: dict[str, ExperimentPreview] = {}
    done = []
    with closing(request.open_source()) as source:
        for unit in conversion.units:
            if unit.ref is None:
                continue
            experiment_id = unit.ref.experiment_id
            experiment = experiments.setdefault(
                experiment_id, ExperimentPreview(experiment_id, unit.ref.experiment_name)
            )
            experiment.runs += 1
            experiment.deleted += unit.ref.lifecycle == "deleted"
            fingerprint = ledger.fingerprint(unit.key)
            if fingerprint is not None and fingerprint == source.fingerprint(unit.ref):
                experiment.unchanged += 1
                done.append(ledger.done[unit.key])
        problems = [*conversion.report.problems, *source.problems()]
    return Preview(
        conversion.report.source,
        conversion.report.out,
        list(experiments.values()),
        records=sum(result.records for result in done),
        points=sum(result.points for result in done),
        bytes=sum(sum(result.sizes.values()) for result in done),
        problems=[*problems, *(problem for result in done for problem in result.problems)],
    )
