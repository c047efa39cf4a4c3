"""What a conversion would do, seen without writing anything."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Any

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.engine import Conversion
from yprov_mlflow.prov.convert.ledger import Ledger
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.source import Problem


@dataclasses.dataclass
class Share:
    """The runs of one experiment that are asked for; ``unchanged`` ones are done already."""

    experiment_id: str
    name: str | None
    runs: int = 0
    deleted: int = 0
    unchanged: int = 0


@dataclasses.dataclass
class Preview:
    """What there is to do; ``records``, ``points`` and ``bytes`` are those of unchanged runs."""

    source: str
    out: str
    experiments: list[Share]
    records: int
    points: int
    bytes: int
    problems: list[Problem]

    @property
    def runs(self) -> int:
        """Runs that are asked for."""
        return sum(share.runs for share in self.experiments)

    @property
    def unchanged(self) -> int:
        """Runs that are done already, and as they were then."""
        return sum(share.unchanged for share in self.experiments)

    @property
    def losses(self) -> list[Problem]:
        """The problems for which something would not be in the output."""
        return [problem for problem in self.problems if problem.lost]

    def to_json_object(self) -> dict[str, Any]:
        """Give the preview as a JSON object."""
        return {"runs": self.runs, "unchanged": self.unchanged, **dataclasses.asdict(self)}


def preview(conversion: Conversion) -> Preview:
    """Look at what a conversion has to do; nothing is written.

    Of a run that was converted before the store is asked whether it has changed; of no other
    is more read than which experiment it is of.

    Raises:
        OutputError: What was done before cannot be read.
        StoreError: The store cannot be read any more.
    """
    request = conversion.request
    ledger = Ledger(request.out, request.digest())
    with output.writing(request.out):
        ledger.read()
    shares: dict[str, Share] = {}
    done = []
    opened = open_source(request.source, artifacts=request.artifacts, uri=request.uri)
    with closing(opened) as source:
        for unit in conversion.units:
            if unit.ref is None:
                continue
            experiment = unit.ref.experiment_id
            share = shares.setdefault(experiment, Share(experiment, unit.ref.experiment_name))
            share.runs += 1
            share.deleted += unit.ref.lifecycle == "deleted"
            known = ledger.known(unit.key)
            if known is not None and known == source.fingerprint(unit.ref):
                share.unchanged += 1
                done.append(ledger.done[unit.key])
        problems = [*conversion.report.problems, *source.problems()]
    return Preview(
        conversion.report.source,
        conversion.report.out,
        list(shares.values()),
        records=sum(result.records for result in done),
        points=sum(result.points for result in done),
        bytes=sum(sum(result.sizes.values()) for result in done),
        problems=[*problems, *(problem for result in done for problem in result.problems)],
    )
