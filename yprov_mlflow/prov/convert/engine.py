"""A conversion from its plan to its report."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.conversion_report import ConversionReport
from yprov_mlflow.prov.convert.ledger import Ledger
from yprov_mlflow.prov.convert.request import Request
from yprov_mlflow.prov.convert.units import STORE, Result, Unit, plan
from yprov_mlflow.prov.convert.workers import Executor
from yprov_mlflow.prov.errors import DocumentError, UsageError
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.source import Problem

_BATCH = 8
"""Most runs that a worker gets at a time."""


class Conversion:
    """One conversion: ``for result in conversion`` does the work, ``report`` has the figures.

    Stopped in between, by an exception, a signal or a kill, it leaves what is done, and the
    next one with the same request goes on from there.
    """

    def __init__(self, request: Request, workers: Executor) -> None:
        """Read what runs the store has.

        Raises:
            StoreError: The store cannot be read.
            UsageError: The request cannot be met, or names what is not there.
        """
        request.check()
        self.request = request
        self.workers = workers
        source = open_source(request.source, artifacts=request.artifacts, uri=request.uri)
        try:
            _keep_out(request.out, source.folder)
            refs = list(source.runs())
            self.report = ConversionReport(source.location, str(request.out))
            self.report.problems += source.problems()
        finally:
            source.close()
        self.units = [Unit(STORE, STORE, None), *plan(refs, request)]
        self.report.runs = len(self.units) - 1
        if request.selective and not self.report.runs:
            raise UsageError(
                f"none of the {len(refs)} runs is what was asked for",
                source.location,
                "Check --experiment, --run, --since and --status",
            )

    def __iter__(self) -> Iterator[Result]:
        """Convert all units; gives the result of each as it is there.

        Raises:
            OutputError: The output cannot be written.
            StoreError: The store cannot be read any more.
        """
        started = time.monotonic()
        with Ledger(self.request.out, self.request.digest()) as ledger:
            units = [dataclasses.replace(u, known=ledger.known(u.key)) for u in self.units]
            size = max(1, min(_BATCH, len(units) // (4 * self.workers.count)))
            batches = [units[i : i + size] for i in range(0, len(units), size)]
            for results in self.workers.map(self.request, batches):
                for result in results:
                    yield self._take(result, ledger)
            if self.request.layout != "per-run":
                self._assemble(ledger)
        self.report.seconds = time.monotonic() - started

    def _take(self, result: Result, ledger: Ledger) -> Result:
        if result.state == "converted":
            ledger.add(result)
        elif result.state == "unchanged":
            result = dataclasses.replace(result, problems=ledger.done[result.key].problems)
        self.report.add(result)
        return result

    def _assemble(self, ledger: Ledger) -> None:
        """Put the documents of many runs together, those of which anything changed."""
        groups: dict[str, list[Unit]] = {}
        for unit in self.units:
            if unit.key in ledger.done:
                groups.setdefault(output.group(unit, self.request.layout), []).append(unit)
        for group, units in groups.items():
            said = [(unit.key, ledger.done[unit.key].fingerprint) for unit in units]
            fingerprint = hashlib.sha256(repr(said).encode()).hexdigest()
            for name in self.request.formats:
                key = f"{group}\0{name}"
                if ledger.known(key) == fingerprint:
                    continue
                try:
                    sizes = output.assemble(units, name, self.request)
                except DocumentError as error:  # the format cannot hold what one of them has
                    place = str(self.request.out / group)
                    lost = f"the document in {name}"
                    self.report.problems.append(Problem(place, str(error), lost))
                    continue
                ledger.add(Result(key, "converted", fingerprint, sizes=sizes))
                self.report.bytes += sum(sizes.values())


def _keep_out(out: Path, folder: str | None) -> None:
    """Refuse to write among the files of a store, some of which the output would replace."""
    if folder is not None and out.resolve().is_relative_to(Path(folder).resolve()):
        raise UsageError.into_store(str(out))
