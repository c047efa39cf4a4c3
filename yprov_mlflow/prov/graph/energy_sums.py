"""Energy and emissions of many runs, summed by day, model, user, experiment or run.

Only the runs' own shares are summed: those of the hardware contain the energy of all runs that
were measured at the same time.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.graph.run_filter import Value
from yprov_mlflow.prov.graph.run_table import RunTable
from yprov_mlflow.prov.views.assumed_costs import Assumptions
from yprov_mlflow.prov.views.view import Note, Table

GROUPS = ("day", "model", "user", "experiment", "run")
"""What runs can be grouped by."""

COLUMNS = ("user", "model", "energy", "emissions_own")
"""The columns of the table of runs, beside the default ones, that sums need."""

_DAY = len("2026-01-31")
_UNKNOWN = "(none)"


class EnergySum(NamedTuple):
    """The sum of a group; None where no run of it has the quantity.

    Attributes:
        group: Name of the group.
        runs: Number of its runs.
        measured: How many of them have an energy of their own.
        energy_kwh: Sum of the runs' own shares, estimates unless measured alone.
        emissions_g: Sum of their emissions in grams of CO2 equivalent.
    """

    group: str
    runs: int
    measured: int
    energy_kwh: float | None
    emissions_g: float | None


class EnergySums:
    """Sums of the energy of runs.

    Args:
        table: Runs with the columns ``COLUMNS``.
        by: One of ``GROUPS``.
        assumed: Assumptions of the user, which are kept apart from the sums.
    """

    def __init__(self, table: RunTable, by: str, assumed: Assumptions) -> None:
        groups: dict[str, list[Mapping[str, Value]]] = {}
        for row in table.rows:
            groups.setdefault(_group(row, by), []).append(row)
        self.by = by
        self.sums = [_sum(name, groups[name]) for name in sorted(groups)]
        self.total = _sum("all", table.rows)
        self.assumed = assumed

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as a JSON object; assumptions only if the user makes some."""
        content: dict[str, Any] = {
            "by": self.by,
            "sums": [row._asdict() for row in self.sums],
            "total": self.total._asdict(),
        }
        # In an object of its own, so that no program reads it as measured.
        if self.assumed:
            content["assumed"] = {
                **self.assumed.to_dict(self.total.energy_kwh),
                "sums": {
                    row.group: {
                        "energy_kwh": self.assumed.energy_kwh(row.energy_kwh),
                        "cost": self.assumed.cost(row.energy_kwh),
                    }
                    for row in self.sums
                },
            }
        return content

    def to_csv(self) -> str:
        """Return the sums as CSV; columns of assumptions begin with ``assumed_``."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        assumed = [f"assumed_{name}" for name in ("pue", "energy_kwh", "cost", "currency")]
        writer.writerow([self.by, *EnergySum._fields[1:], *(assumed if self.assumed else ())])
        for row in self.sums:
            kwh = row.energy_kwh
            facts = (
                self.assumed.pue,
                self.assumed.energy_kwh(kwh),
                self.assumed.cost(kwh),
                self.assumed.currency,
            )
            writer.writerow([*row, *(facts if self.assumed else ())])
        return stream.getvalue()

    def tables(self) -> Sequence[Table]:
        """Return the sums, and a table of its own for assumptions of the user."""
        rows = [*self.sums, self.total] if len(self.sums) > 1 else self.sums
        columns = (self.by, "runs", "measured", "energy (kWh)", "emissions (g CO2e)")
        tables = [Table(f"Energy of the runs themselves, by {self.by}", columns, rows)]
        if self.assumed:
            tables.append(self.assumed.table(self.by, [(r.group, r.energy_kwh) for r in rows]))
        return tables

    def notes(self) -> Sequence[Note]:
        """Return a line about runs without an energy of their own."""
        missing = self.total.runs - self.total.measured
        text = f"{missing} of {self.total.runs} runs lack a measured energy, and add nothing."
        return [Note(text, "warning")] if missing else []


def _group(row: Mapping[str, Value], by: str) -> str:
    if by == "day":
        return str(row["start"] or _UNKNOWN)[:_DAY]
    # Names of runs repeat, so that the first digits of the id are needed.
    if by == "run":
        return f"{row['name'] or ''} {str(row['run_id'])[:8]}".strip()
    return str(row[by] or _UNKNOWN)


def _sum(group: str, rows: Sequence[Mapping[str, Value]]) -> EnergySum:
    # A sum without parts is unknown: 0 would claim a measurement.
    energies = _numbers(rows, "energy")
    emissions = _numbers(rows, "emissions_own")
    return EnergySum(
        group,
        len(rows),
        len(energies),
        math.fsum(energies) if energies else None,
        math.fsum(emissions) if emissions else None,
    )


def _numbers(rows: Sequence[Mapping[str, Value]], column: str) -> list[float]:
    values = (row[column] for row in rows)
    return [float(value) for value in values if value is not None]
