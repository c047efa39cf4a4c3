"""Parts that the HTML pages share: templates, the content policy, and tables that stay small."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from yprov_mlflow.prov.report.picture_formats import to_svg
from yprov_mlflow.prov.report.prov_picture import Picture
from yprov_mlflow.prov.views.view import Table, cell_text, visible

_MOST_ROWS = 300
_LONGEST_CELL = 400
_SHORT = 24  # letters of a cell that is not folded


class Cell(NamedTuple):
    """The text of a cell, and the class of its style: a number, a short or a long text."""

    text: str
    style: str


class PageTable(NamedTuple):
    """A table of a page with an id for links; ``left_out`` rows are too many for it."""

    id: str
    title: str
    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    left_out: int
    is_folded: bool


Links = Sequence[tuple[str, str]]
"""Labels and addresses of other pages."""


class Chart(NamedTuple):
    """A chart as an SVG element, with the labels and colors of its lines."""

    title: str
    svg: str
    legend: Sequence[tuple[str, str]]


def page_table(table: Table, *, is_folded: bool = False) -> PageTable:
    """Return a table with its first rows, and cells without control characters."""
    rows = [[_cell(cell) for cell in row] for row in table.rows[:_MOST_ROWS]]
    columns = [
        # The name of a column stands where its numbers do.
        Cell(visible(str(column), _LONGEST_CELL), _style_of([row[i] for row in rows]))
        for i, column in enumerate(table.columns)
    ]
    left_out = max(0, len(table.rows) - _MOST_ROWS)
    # Ids of elements stand in links, whose text comes from titles.
    name = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")
    return PageTable(name, visible(table.title, 120), columns, rows, left_out, is_folded)


def _cell(content: object) -> Cell:
    is_number = isinstance(content, (int, float)) and not isinstance(content, bool)
    text = visible(cell_text(content), _LONGEST_CELL)
    return Cell(text, "number" if is_number else "short" if len(text) <= _SHORT else "long")


def _style_of(cells: Sequence[Cell]) -> str:
    styles = {cell.style for cell in cells if cell.text}
    return "number" if styles == {"number"} else ""


@functools.cache
def _environment() -> Any:
    import jinja2  # loaded when the first report is written; MLflow requires it

    loader = jinja2.PackageLoader("yprov_mlflow.prov.report")
    return jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


@functools.cache
def _style() -> str:
    folder = files("yprov_mlflow.prov.report")
    return folder.joinpath("templates/style.css").read_text("utf-8")


@functools.cache
def policy(*, forms: bool = False) -> str:
    """Return the content policy: the style sheet, forms if they are needed, and nothing else."""
    # A hash instead of "unsafe-inline", which would allow styles in text of users.
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    target = "'self'" if forms else "'none'"
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action {target}"


def render(template: str, *, forms: bool = False, **values: Any) -> str:
    """Return a page; all values are escaped, except SVG elements, which ``markup`` marks."""
    page = _environment().get_template(template)
    return str(page.render(style=markup(_style()), policy=policy(forms=forms), **values))


def picture_html(picture: Picture, title: str = "Provenance") -> str:
    """Return a picture as HTML for notebooks, which may be dark."""
    style = "max-height: 30em; overflow: auto; background: #fff; color: #111"
    return f'<div style="{style}">{to_svg(picture, title)}</div>'


def markup(text: str) -> Any:
    """Mark text that is HTML, made of escaped parts by this package."""
    from markupsafe import Markup  # comes with jinja2

    return Markup(text)
