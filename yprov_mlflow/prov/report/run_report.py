"""The report of a run: one self-contained HTML page, or Markdown."""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.ids import unquote_key
from yprov_mlflow.prov.report import charts
from yprov_mlflow.prov.report.pages import Chart, Links, markup, page_table, render
from yprov_mlflow.prov.report.picture_formats import to_mermaid, to_svg
from yprov_mlflow.prov.report.prov_picture import picture
from yprov_mlflow.prov.translate import PointBatch
from yprov_mlflow.prov.views import energy, summary
from yprov_mlflow.prov.views.document_reader import (
    DocumentReader,
    Source,
    key,
    seconds_between,
    value,
)
from yprov_mlflow.prov.views.energy_report import EnergyReport
from yprov_mlflow.prov.views.summary_report import Metric, Summary
from yprov_mlflow.prov.views.view import (
    Table,
    cell_text,
    markdown_table,
    mermaid_block,
    plain,
    visible,
)

_MOST_CHARTS = 36
_MOST_LINES = len(charts.COLORS)
_LONGEST_PATCH = 30_000
_FOLDED = frozenset({"Tags", "Sessions", "Ran on", "Contexts"})
_IN_HEADING = frozenset({"Run"})
_SYSTEM = "system/"
_EPOCH = re.compile(r"epoch (\d+)")


class RunReport(NamedTuple):
    """The content of the report of a run.

    Args:
        summary: The summary of the document.
        energy: Its energy report.
        reader: The document itself.
        lines: The thinned points of each metric and context, by ``Metric.record_id``.
        patch: Changes of the code against its commit.
        products: The later products of the run, as text.
    """

    summary: Summary
    energy: EnergyReport
    reader: DocumentReader
    lines: Mapping[str, list[charts.Point]]
    patch: str = ""
    products: str = ""

    def to_html(self, links: Links = ()) -> str:
        """Return the page, with links to other pages if it is part of a site."""
        run = self.summary.run
        # The same tables as those of `show` and `energy`: one place decides about their content.
        sections = [page_table(table, is_folded=_is_folded(table)) for table in self.tables()]
        drawn, left_out = self._charts()
        status = str(run.status or "")
        contents = [("picture", "Provenance")]
        contents += [("curves", "Curves")] if drawn else []
        contents += [(section.id, section.title.partition(",")[0]) for section in sections]
        return render(
            "run.html",
            links=links,
            name=visible(self.title, 200),
            status=visible(status),
            status_class={"FINISHED": "good", "FAILED": "bad", "KILLED": "bad"}.get(status, ""),
            facts=[(label, visible(text, 200)) for label, text in self.facts()],
            problems=[visible(text, 600) for text in self.problems()],
            contents=contents,
            picture=markup(to_svg(picture(self.reader))),
            products=self.products,
            charts=drawn,
            charts_left_out=left_out,
            sections=sections,
            patch=self.patch[:_LONGEST_PATCH],
            notes=[visible(note.text, 600) for note in self.energy.notes()],
            size=", ".join(note.text for note in self.summary.notes()),
        )

    def to_markdown(self) -> str:
        """Return the report as Markdown, with a picture that GitHub draws."""
        heading = [f"# {plain(self.title)}", ""]
        heading += [f"- {label}: {plain(text)}" for label, text in self.facts()]
        heading += ["", *(f"> {plain(text)}" for text in self.problems())]
        drawing = ["", mermaid_block(to_mermaid(picture(self.reader)))]
        tables = [line for table in self.tables() for line in markdown_table(table)]
        notes = [f"- {plain(note.text)}" for note in self.energy.notes()]
        missing = ["", "## What is missing, and why", "", *notes] if notes else []
        return "\n".join([*heading, *drawing, *tables, *missing]) + "\n"

    # -- content -----------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The name of the run, or of the store or document."""
        run, store = self.summary.run, self.summary.store
        return str(run.name or run.id or (store and (store.uri or store.id)) or "PROV document")

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what stands below the title."""
        run = self.summary.run
        if run.status and self.summary.describes != "run":
            yield "status", str(run.status)
        for label, content in (
            ("run", run.id),
            ("experiment", run.experiment),
            ("user", run.user),
            ("start", run.start and f"{_minute(run.start)} UTC"),
            ("duration", _duration(seconds_between(run.start, run.end))),
            ("energy, own share", self.summary.own_energy and _kwh(self.summary.own_energy)),
        ):
            if content:
                yield label, str(content)

    def problems(self) -> Iterator[str]:
        """Yield what the document says about gaps in itself."""
        for section in ("entity", "activity"):
            for record in self.reader.section(section).values():
                if "mlf:partial" in record:
                    yield f"{key(record)}: {cell_text(value(record['mlf:partial']))}"

    def tables(self) -> Iterator[Table]:
        """Yield the tables of summary and energy that have rows."""
        for table in self.summary.tables():
            if table.rows and table.title not in _IN_HEADING:
                yield table
        for table in self.energy.tables() if self.energy.measured else ():
            if table.rows and table.title not in _IN_HEADING:
                yield table

    def _charts(self) -> tuple[list[Chart], int]:
        """Return a chart for each metric, those of the system last, and how many are too many."""
        by_epoch = list(self._energy_charts())
        by_key: dict[str, list[Metric]] = defaultdict(list)
        for metric in self.summary.metrics:
            if len(self.lines.get(str(metric.record_id), ())) > 1:
                by_key[metric.key].append(metric)
        # A sample of each machine may make hundreds of them, before which people look for a loss.
        names = sorted(by_key, key=lambda name: name.startswith(_SYSTEM))
        drawn = [self._chart(name, by_key[name]) for name in names[:_MOST_CHARTS]]
        return [*drawn, *by_epoch], max(0, len(names) - _MOST_CHARTS)

    def _energy_charts(self) -> Iterator[Chart]:
        """Yield the energy of the hardware by epoch, a line for each context and rank."""
        lines: dict[str, list[charts.Point]] = defaultdict(list)
        scopes = set()
        for context in self.energy.contexts:
            epoch = _EPOCH.fullmatch(context.context[-1]) if context.context else None
            if epoch is not None and context.energy_j is not None:
                rank = "" if context.rank is None else f" (rank {context.rank})"
                lines["/".join(context.context[:-1]) + rank].append(
                    (float(epoch[1]), context.energy_j)
                )
                scopes.add(f"{context.method}, {context.scope}")
        drawn = [charts.Line(label, sorted(points)) for label, points in lines.items()]
        if any(len(line.points) > 1 for line in drawn):
            title = f"energy by epoch in J ({'; '.join(sorted(scopes))})"
            yield _chart(title, drawn[:_MOST_LINES])

    def _chart(self, name: str, metrics: list[Metric]) -> Chart:
        lines = [
            charts.Line("/".join(metric.context), self.lines[str(metric.record_id)])
            for metric in metrics[:_MOST_LINES]
        ]
        return _chart(name, lines)


def _chart(title: str, lines: list[charts.Line]) -> Chart:
    labels = [visible(line.label or "outside contexts") for line in lines]
    legend = list(zip(labels, charts.COLORS, strict=False))
    shown = legend if len(lines) > 1 or lines[0].label else []
    return Chart(visible(title, 80), markup(charts.line_chart(title, lines)), shown)


def _is_folded(table: Table) -> bool:
    return table.title in _FOLDED or table.title.startswith("Contexts")


def _minute(time: str) -> str:
    return str(time)[: len("2026-01-31T12:00")].replace("T", " ")


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.3g} s"
    return str(datetime.timedelta(seconds=round(seconds)))


def _kwh(total: Any) -> str:
    return f"{total.energy_kwh:.3g} kWh ({total.method})"


# -- reading -------------------------------------------------------------------------------


def of_document(
    document: Source,
    points: Iterable[PointBatch] = (),
    *,
    patch: str = "",
    products: str = "",
) -> RunReport:
    """Return the report of a document.

    Args:
        document: The document of a run; one of a store or of another program has less to show.
        points: The metric points of the files beside it.
        patch: Changes of the code against its commit.
        products: The later products of the run, as text.
    """
    reader = DocumentReader.of(document)
    content = summary.from_document(reader)
    lines = _sampled(reader, content.metrics) | _read(points, content.metrics)
    energies = energy.from_document(reader)
    return RunReport(content, energies, reader, lines, patch, products)


def _sampled(reader: DocumentReader, metrics: Iterable[Metric]) -> dict[str, list[charts.Point]]:
    """Return the points that are records of the document, by series."""
    series = {str(metric.record_id) for metric in metrics}
    samples = dict(reader.of_type("entity", "mlf:MetricSample"))
    lines: dict[str, list[charts.Point]] = defaultdict(list)
    for record in reader.section("hadMember").values():
        sample = samples.get(str(record.get("prov:entity")))
        if sample is not None and (name := str(record.get("prov:collection"))) in series:
            lines[name].append(_point(sample))
    return {name: _by_step(points) for name, points in lines.items()}


def _point(sample: Mapping[str, Any]) -> charts.Point:
    number = value(sample.get("prov:value"))
    step = value(sample.get("mlf:step", 0))
    try:
        return float(step), float(number)
    except (TypeError, ValueError):
        return 0.0, float("nan")


def _by_step(points: list[charts.Point]) -> list[charts.Point]:
    """Return points in the order of their steps; by number if all have the same step."""
    # Many users never pass a step, and MLflow writes 0 for all points.
    if len(points) > 1 and len({step for step, _ in points}) == 1:
        return [(float(number), y) for number, (_, y) in enumerate(points)]
    return sorted(points, key=lambda point: point[0])


def _read(points: Iterable[PointBatch], metrics: Iterable[Metric]) -> dict[str, list[charts.Point]]:
    """Return the thinned points of files, by series; those of all ranks make one line."""
    series: dict[tuple[tuple[str, ...], str], list[Metric]] = defaultdict(list)
    for metric in metrics:
        series[tuple(map(str, metric.context)), metric.key].append(metric)
    lines: dict[tuple[tuple[str, ...], str], charts.ThinnedLine] = {
        name: charts.ThinnedLine(sum(metric.count or 0 for metric in same))
        for name, same in series.items()
    }
    # Points of a series that the document lacks have nowhere to be drawn.
    unknown = charts.ThinnedLine(0)
    targets: dict[tuple[str, str], charts.ThinnedLine] = {}
    for batch in points:
        for name, context, step, number in zip(
            batch.series, batch.context, batch.step, batch.value, strict=True
        ):
            # Looked up by the text of the file, as splitting it for a million points takes seconds.
            if (line := targets.get((context, name))) is None:
                line = targets[context, name] = lines.get((_names(context), name), unknown)
            line.add(step, number)
    return {
        str(series[name][0].record_id): _by_step(kept)
        for name, line in lines.items()
        if (kept := line.points())
    }


def _names(context: str) -> tuple[str, ...]:
    """Return the names of contexts in a context of ``PointBatch``, without their epochs."""
    parts = (part.partition("@")[0] for part in context.split("+") if part)
    return tuple(map(unquote_key, parts))
