"""What a conversion did, in figures."""

from __future__ import annotations

import dataclasses
from typing import Any

from yprov_mlflow.prov.convert.units import STORE, Result
from yprov_mlflow.prov.sources.source import Problem


@dataclasses.dataclass
class ConversionReport:
    """Figures of one conversion; ``unchanged`` runs were converted before and are not counted.

    ``records``, ``points`` and ``bytes`` are those of the documents written now.
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
        """Count a unit."""
        self.problems += result.problems
        if result.key != STORE:
            setattr(self, result.state, getattr(self, result.state) + 1)
        if result.state == "converted":
            self.records += result.records
            self.points += result.points
            self.bytes += sum(result.sizes.values())

    @property
    def losses(self) -> list[Problem]:
        """The problems for which something is not in the output."""
        return [problem for problem in self.problems if problem.lost]

    def to_json_object(self) -> dict[str, Any]:
        """Give the report as a JSON object."""
        return dataclasses.asdict(self)
