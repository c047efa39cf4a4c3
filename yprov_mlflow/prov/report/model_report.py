"""The report of a model: its origins and its products, from many documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yprov_mlflow.prov.graph import lineage_report
from yprov_mlflow.prov.graph.lineage_report import LineageReport
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.things import Thing
from yprov_mlflow.prov.report.lineage_picture import left_out, picture_of
from yprov_mlflow.prov.report.pages import Links, markup, page_table, render
from yprov_mlflow.prov.report.picture_formats import to_mermaid, to_svg
from yprov_mlflow.prov.report.prov_picture import Picture
from yprov_mlflow.prov.views.view import Table, markdown_table, mermaid_block, plain, visible

_FACTS = ("version", "aliases", "former_aliases", "model_id", "status", "digest", "sha256")
_COLUMNS = ("kind", "name", "status", "start (UTC)", "people", "commits", "id")
_COMMIT_DIGITS = 12


class ModelReport(NamedTuple):
    """The lineage of a model, or of any other thing, in both directions.

    Args:
        origins: The runs, data and models that it came from.
        products: The runs, versions and files that were made with it.
    """

    origins: LineageReport
    products: LineageReport

    def to_html(self, links: Links = ()) -> str:
        """Return the page, with links to other pages if it is part of a site."""
        sections = [page_table(table) for table in self.tables()]
        return render(
            "model.html",
            links=links,
            name=visible(self.title, 200),
            facts=[(label, visible(text, 200)) for label, text in self.facts()],
            contents=[("picture", "Lineage"), *((s.id, s.title) for s in sections)],
            picture=markup(to_svg(self.picture(), f"Lineage of {visible(self.title, 80)}")),
            left_out=left_out(self.origins) + left_out(self.products),
            sections=sections,
        )

    def to_markdown(self) -> str:
        """Return the report as Markdown, with a picture that GitHub draws."""
        heading = [f"# {plain(self.title)}", ""]
        heading += [f"- {label}: {plain(text)}" for label, text in self.facts()]
        drawing = ["", mermaid_block(to_mermaid(self.picture()))]
        tables = [line for table in self.tables() for line in markdown_table(table)]
        return "\n".join([*heading, *drawing, *tables]) + "\n"

    def picture(self) -> Picture:
        """Return origins, model and products as one picture."""
        return picture_of(self.origins, self.products)

    # -- content -----------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The name of the model, as it was asked for."""
        return self.origins.match.name

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what stands below the title."""
        start = [self.origins.lineage.things[name] for name in self.origins.lineage.start]
        for fact in _FACTS:
            values = [_text(thing.details.get(fact)) for thing in start]
            if text := ", ".join(dict.fromkeys(value for value in values if value)):
                yield fact.replace("_", " "), text
        for label, several in (("people", self.origins.people), ("commits", self.origins.commits)):
            if several:
                yield label, ", ".join(several)

    def tables(self) -> Iterator[Table]:
        """Yield the origins and the products, the nearest first."""
        for title, report in (
            ("What it came from", self.origins),
            ("What came of it", self.products),
        ):
            others = [t for t in report.things if t.iri not in report.lineage.start]
            rows = [_row(thing) for thing in others]
            kept = [i for i in range(len(_COLUMNS)) if any(row[i] for row in rows)]
            columns = [_COLUMNS[i] for i in kept]
            # A heading without rows would look as if something were missing.
            empty = Table(title, (), [("the documents asked state nothing", "")])
            yield Table(title, columns, [[r[i] for i in kept] for r in rows]) if rows else empty


def of_model(graph: Graph, name: str) -> ModelReport:
    """Return the report of a model by its name, such as ``models:/clf@champion``.

    Raises:
        ThingError: Nothing in the graph has this name, or several things.
    """
    up, down = (lineage_report.of_thing(graph, name, way) for way in lineage_report.DIRECTIONS)
    return ModelReport(up, down)


def _row(thing: Thing) -> tuple[str, ...]:
    details = thing.details
    commits = details.get("commits")
    several = commits if isinstance(commits, list) else []
    ids = (details.get(key) for key in ("run_id", "model_id", "sha256", "digest"))
    return (
        thing.kind,
        thing.label,
        _text(details.get("status")),
        _text(details.get("start"))[: len("2026-01-31T12:00")].replace("T", " "),
        _text(details.get("people")),
        ", ".join(str(commit)[:_COMMIT_DIGITS] for commit in several),
        _text(next(filter(None, ids), None)),
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
