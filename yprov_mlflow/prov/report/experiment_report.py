"""The report of many runs: a table, what differs, and the metric against energy or time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from yprov_mlflow.prov.report import charts
from yprov_mlflow.prov.report.pages import Chart, Links, markup, page_table, render
from yprov_mlflow.prov.translate.measurements import JOULES_PER_KWH
from yprov_mlflow.prov.views.document_reader import seconds_between
from yprov_mlflow.prov.views.summary_report import Summary
from yprov_mlflow.prov.views.view import Table, markdown_table, plain, visible

_LOSSES = ("loss", "error", "err", "rmse", "mse", "mae", "perplexity")
_SYSTEM = "system/"
_MOST_PARAMS = 8
_MOST_METRICS = 4


class _Row(NamedTuple):
    """The values of a run that are compared; energy is its own share in kWh."""

    name: str
    run_id: str
    status: str
    start: str
    seconds: float | None
    energy_kwh: float | None
    params: Mapping[str, object]
    metrics: Mapping[str, float]


class ExperimentReport:
    """A comparison of runs.

    Args:
        runs: The summaries of their documents.
        title: The name of the experiment or of where the documents are.
        metric: The metric to compare by; by default a loss, or else the most common one.
        maximize: Whether a larger value of it is better.
    """

    def __init__(
        self, runs: Sequence[Summary], title: str, metric: str | None, *, maximize: bool
    ) -> None:
        self.title = title
        self.rows = sorted(map(_row, runs), key=lambda row: row.start)
        self.metrics = self._names(metric)
        self.metric = self.metrics[0] if self.metrics else None
        self.maximize = maximize

    def to_html(self, links: Links = ()) -> str:
        """Return the page, with links to other pages if it is part of a site."""
        drawn = list(self._charts())
        sections = [page_table(table) for table in self.tables()]
        contents = [("compared", "Compared")] if drawn else []
        return render(
            "experiment.html",
            links=links,
            name=visible(self.title, 200),
            facts=self._facts(),
            contents=[*contents, *((section.id, section.title) for section in sections)],
            charts=drawn,
            notes=[self._axis_note()] if drawn else [],
            sections=sections,
        )

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        lines = [f"# {plain(self.title)}", ""]
        lines += [f"- {label}: {plain(text)}" for label, text in self._facts()]
        return "\n".join([*lines, *(x for t in self.tables() for x in markdown_table(t))]) + "\n"

    # -- content -----------------------------------------------------------------------

    def _names(self, first: str | None) -> list[str]:
        """Return the metrics to show: the one to compare by first, then the most common ones."""
        counts = Counter(name for row in self.rows for name in row.metrics)
        own = sorted(
            (name for name in counts if not name.startswith(_SYSTEM)),
            key=lambda name: (-counts[name], not _is_loss(name), name),
        )
        # People who compare runs look for a loss first, even if other metrics are more common.
        losses = [name for name in own if _is_loss(name)]
        ordered = dict.fromkeys([*([first] if first else []), *losses[:1], *own])
        return list(ordered)[:_MOST_METRICS]

    def _facts(self) -> list[tuple[str, str]]:
        statuses = Counter(row.status for row in self.rows)
        energies = [row.energy_kwh for row in self.rows if row.energy_kwh is not None]
        facts = [("runs", ", ".join(f"{count} {name}" for name, count in statuses.items()))]
        if energies:
            facts.append(("energy, own shares", f"{sum(energies):.3g} kWh of {len(energies)} runs"))
        if (best := self._best()) is not None:
            facts.append(
                (f"best {self.metric}", f"{best.metrics[str(self.metric)]:.6g} ({best.name})")
            )
        return [(visible(label), visible(text, 200)) for label, text in facts]

    def _value(self, row: _Row) -> float:
        """Return a run's value of the metric, the smaller the better."""
        number = row.metrics.get(str(self.metric), math.nan)
        return -number if self.maximize else number

    def _best(self) -> _Row | None:
        rows = [row for row in self.rows if math.isfinite(self._value(row))]
        return min(rows, key=self._value, default=None)

    def tables(self) -> Iterator[Table]:
        """Yield the runs, and the values of params that differ."""
        differing = self._differing()
        columns = [
            *("run", "id", "status", "start (UTC)", "seconds"),
            *self.metrics,
            "kWh",
            *differing,
        ]
        rows = [
            [
                *(row.name, row.run_id[:8], row.status, row.start, row.seconds),
                *(row.metrics.get(name) for name in self.metrics),
                row.energy_kwh,
                *(row.params.get(name) for name in differing),
            ]
            for row in self.rows
        ]
        kept = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in rows)]
        yield Table("Runs", [columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
        values = [
            (name, len(options := self._options(name)), ", ".join(options)) for name in differing
        ]
        if values:
            yield Table("Params that differ", ("param", "values", "which"), values)

    def _options(self, name: str) -> list[str]:
        values = (str(row.params[name]) for row in self.rows if name in row.params)
        return list(dict.fromkeys(values))

    def _differing(self) -> list[str]:
        names = dict.fromkeys(name for row in self.rows for name in row.params)
        several = [
            name for name in names if len({str(row.params.get(name)) for row in self.rows}) > 1
        ]
        return several[:_MOST_PARAMS]

    # -- charts ------------------------------------------------------------------------

    def _charts(self) -> Iterator[Chart]:
        if self.metric is None or len(self.rows) < 2:
            return
        unit, factor = _unit(row.energy_kwh for row in self.rows)
        energies = [None if r.energy_kwh is None else r.energy_kwh * factor for r in self.rows]
        for label, costs in (
            (f"energy ({unit})", energies),
            ("time (s)", [row.seconds for row in self.rows]),
        ):
            pairs = [
                (row, cost)
                for row, cost in zip(self.rows, costs, strict=True)
                if cost is not None and math.isfinite(self._value(row))
            ]
            if len(pairs) > 1:
                yield self._against(label, pairs)

    def _against(self, label: str, pairs: Sequence[tuple[_Row, float]]) -> Chart:
        """Return the metric against a cost, with the front of runs that no other betters."""
        metric = str(self.metric)
        front = _front([(cost, self._value(row)) for row, cost in pairs])
        spots = [
            charts.Spot(row.name, cost, row.metrics[metric], (cost, self._value(row)) in front)
            for row, cost in pairs
        ]
        title = f"{metric} against {label}"
        svg = markup(charts.spot_chart(title, spots, label, metric))
        best = sum(spot.is_best for spot in spots)
        legend = [(f"Pareto front: {best}", charts.COLORS[1]), ("other runs", charts.COLORS[0])]
        return Chart(visible(title, 80), svg, legend)

    def _axis_note(self) -> str:
        way = "larger" if self.maximize else "smaller"
        return (
            f"A run is on the front if no other has both less on the horizontal axis and a {way} "
            f"{visible(str(self.metric))}, or as much of one and less of the other."
        )


def _row(run: Summary) -> _Row:
    details = run.run
    own = run.own_energy
    # The series of the whole run come first; those of contexts fill in what it lacks.
    metrics: dict[str, float] = {}
    for metric in sorted(run.metrics, key=lambda metric: len(metric.context)):
        if isinstance(metric.last, (int, float)):
            metrics.setdefault(metric.key, float(metric.last))
    return _Row(
        str(details.name or details.id or ""),
        str(details.id or ""),
        str(details.status or ""),
        str(details.start or "")[: len("2026-01-31T12:00:00")].replace("T", " "),
        seconds_between(details.start, details.end),
        own.energy_kwh if own is not None else None,
        run.params,
        metrics,
    )


def _unit(energies: Iterable[float | None]) -> tuple[str, float]:
    """Return the unit for energies in kWh that needs the fewest zeros, and its size."""
    most = max((energy for energy in energies if energy is not None), default=0.0)
    units = (("kWh", 1.0), ("Wh", 1e3), ("J", JOULES_PER_KWH))
    return next((unit for unit in units if most * unit[1] >= 1), units[-1])


def _is_loss(name: str) -> bool:
    words = name.lower().replace("/", "_").replace("-", "_").split("_")
    return any(word in _LOSSES for word in words)


def _front(points: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """Return the points that no other point equals or betters in both numbers."""
    front: set[tuple[float, float]] = set()
    least = math.inf
    # In this order, no later point is better in the first number.
    for x, y in sorted(set(points)):
        if y < least:
            front.add((x, y))
            least = y
    return front
