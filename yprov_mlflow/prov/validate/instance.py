"""An instance: the statements that PROV-CONSTRAINTS checks together, and the sequence of checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from yprov_mlflow.prov.validate import (
    chronology,
    cycles,
    graph,
    roles,
    statements,
    uniqueness,
    xsd_datetime,
)
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.order import EventOrder
from yprov_mlflow.prov.validate.rules import Finding
from yprov_mlflow.prov.validate.statements import Statement


@dataclass
class Instance:
    """One bundle, or everything outside bundles.

    Args:
        statements: Statements with names that ``names`` has resolved; iterated once.
        names: The namespaces of the instance.
        bundle: The bundle's id; None outside bundles.
        findings: Findings of the reader, complete once the statements are consumed.
        count: Number of statements, once they are checked.
    """

    statements: Iterable[Statement]
    names: Names
    bundle: str | None = None
    findings: list[Finding] = field(default_factory=list)
    count: int = 0

    def check(self, now: datetime | None = None) -> Iterator[Finding]:
        """Check the statements by all rules.

        Args:
            now: Times more than a day later are odd; None: times from the year 2100 on.
        """
        for finding in self._check(now):
            yield finding if self.bundle is None else replace(finding, bundle=self.bundle)

    def _check(self, now: datetime | None) -> Iterator[Finding]:
        # Consumes the reader: only now its own findings are complete.
        groups, self.count = statements.group(self.statements, self.findings)
        yield from self.findings
        yield from self.names.findings()
        # Merging comes first: it completes statements, and later checks need the result.
        yield from uniqueness.unify_shared_ids(groups)
        yield from uniqueness.merge(groups)
        typed = roles.roles(groups)
        yield from roles.contradictions(groups, typed, self.names)
        yield from cycles.repetitions(groups)
        order = EventOrder(groups, typed)
        components = graph.components(order.edges)
        yield from cycles.contradictions(order, components)
        yield from chronology.contradictions(order, components)
        limit = xsd_datetime.DISTANT if now is None else xsd_datetime.day_after(now)
        yield from chronology.oddities(order, limit)
