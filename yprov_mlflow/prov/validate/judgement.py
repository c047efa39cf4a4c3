"""All rules, applied to one instance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from yprov_mlflow.prov.validate import (
    chronology,
    cycles,
    graph,
    overlap,
    roles,
    syntax,
    uniqueness,
    xsd_datetime,
)
from yprov_mlflow.prov.validate.findings import Finding
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.order import Order
from yprov_mlflow.prov.validate.statements import Statement


@dataclass
class Instance:
    """What is judged as one: a bundle, or all that lies outside bundles.

    Args:
        statements: They have names that ``names`` resolved; read once.
        names: The namespaces that hold in it.
        bundle: The bundle's id; None outside bundles.
        findings: Those of reading the statements, put there as they are read.
    """

    statements: Iterable[Statement]
    names: Names
    bundle: str | None = None
    findings: list[Finding] = field(default_factory=list)
    count: int = 0

    def judge(self, now: datetime | None = None) -> Iterator[Finding]:
        """Hold the statements against all rules; ``count`` is how many there were.

        Args:
            now: From a day after this on times are odd; None: from the year 2100 on.
        """
        for finding in self._judge(now):
            yield finding if self.bundle is None else replace(finding, bundle=self.bundle)

    def _judge(self, now: datetime | None) -> Iterator[Finding]:
        said, self.count = syntax.sort(self.statements, self.findings)
        yield from self.findings
        yield from self.names.findings()
        yield from overlap.settle(said)
        yield from uniqueness.merge(said)
        known = roles.roles(said)
        yield from roles.contradictions(said, known, self.names)
        yield from cycles.repetitions(said)
        order = Order(said, known)
        components = graph.components(order.edges)
        yield from cycles.contradictions(order, components)
        yield from chronology.contradictions(order, components)
        limit = xsd_datetime.DISTANT if now is None else xsd_datetime.tomorrow(now)
        yield from chronology.oddities(order, limit)
