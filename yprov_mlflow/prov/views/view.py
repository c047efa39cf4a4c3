"""Base class of the views: frozen dataclasses as JSON, as tables, and as HTML in a notebook."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Literal, NamedTuple, dataclass_transform

_TERM = "term"
_LEFT = 'style="text-align: left; padding: 2px 12px 2px 0"'  # notebooks align text on the right
_LONGEST_CELL = 1000  # a tag may have megabytes, too many for a table; JSON has all
_MOST_ROWS = 100  # of a table in Markdown
_LONGEST_LABEL = 34  # letters in a picture
_MARKDOWN = frozenset("\\`*_{}[]<>#|")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Table(NamedTuple):
    """A titled table; without columns, each row is a name and a value."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def filled(self) -> Table:
        """Return the table without the columns that are empty in every row."""
        if not self.columns:
            return self
        empty = (None, "")
        kept = [
            number
            for number in range(len(self.columns))
            if any(row[number] not in empty for row in self.rows)
        ]
        rows = [[row[number] for number in kept] for row in self.rows]
        return Table(self.title, [self.columns[number] for number in kept], rows)


class Note(NamedTuple):
    """A line of text below the tables."""

    text: str
    level: Literal["warning", "hint", "detail"]


def term(name: str | None = None) -> Any:
    """Return a dataclass field read from the PROV attribute ``name``.

    The field is None where the document lacks the attribute, and then not part of the JSON.
    """
    return dataclasses.field(default=None, metadata={_TERM: name})


def terms(view: type[View]) -> dict[str, str]:
    """Return the PROV attributes that the fields of a view are read from."""
    names = {field.name: field.metadata.get(_TERM) for field in dataclasses.fields(view)}
    return {field: name for field, name in names.items() if name is not None}


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Part of a document as typed attributes; each subclass becomes a dataclass.

    ``record_id`` is the id of the record that it was read from, for links; it is not shown.
    """

    record_id: str | None = dataclasses.field(default=None, repr=False, compare=False)

    def __init_subclass__(cls) -> None:
        # Here, and not as a decorator of each view: a frozen class may only inherit frozen ones.
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    def to_dict(self) -> dict[str, Any]:
        """Return the view as a JSON object; numbers JSON lacks (NaN, INF, -INF) become text."""
        fields = (field for field in dataclasses.fields(self) if field.name != "record_id")
        values = {field: getattr(self, field.name) for field in fields}
        return {
            field.name: _to_json(value)
            for field, value in values.items()
            if value is not None or _TERM not in field.metadata
        }

    def tables(self) -> Iterable[Table]:
        """Return the view as tables for people."""
        return [Table(type(self).__name__, (), list(self.to_dict().items()))]

    def notes(self) -> Iterable[Note]:
        """Return the lines to show below the tables."""
        return ()

    def _repr_html_(self) -> str:
        """Return the tables as HTML, as Jupyter shows them."""
        notes = (f"<p>{escape(note.text)}</p>" for note in self.notes())
        return "\n".join(
            [*(_html(table.filled()) for table in self.tables() if table.rows), *notes]
        )

    def _repr_markdown_(self) -> str:
        """Return the tables as Markdown, into which notebooks are exported."""
        tables = (markdown_table(table.filled()) for table in self.tables() if table.rows)
        notes = [f"- {plain(note.text)}" for note in self.notes()]
        return "\n".join([*(line for table in tables for line in table), "", *notes]).strip()


def cell_text(cell: object) -> str:
    """Return the text of a table's cell: long text cut, floats with six significant digits."""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    text = "" if cell is None else str(cell)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def visible(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Return a text in one line, cut, without characters that control terminals or direction."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def plain(text: str) -> str:
    """Return a text in one line with Markdown's characters escaped."""
    text = visible(text, 600)
    return "".join(f"\\{c}" if c in _MARKDOWN else c for c in text)


def markdown_table(table: Table) -> Iterator[str]:
    """Yield the lines of a table in Markdown, below its title."""
    columns = table.columns or ("", "")
    yield from ("", f"## {plain(table.title)}", "")
    yield f"| {' | '.join(map(plain, columns))} |"
    yield f"|{'---|' * len(columns)}"
    for row in table.rows[:_MOST_ROWS]:
        yield f"| {' | '.join(plain(cell_text(cell)) for cell in row)} |"
    if len(table.rows) > _MOST_ROWS:
        yield f"\nand {len(table.rows) - _MOST_ROWS} more"


def mermaid_block(drawing: str) -> str:
    """Return a drawing for Mermaid as a block of Markdown, which GitHub and JupyterLab draw."""
    return f"```mermaid\n{drawing}\n```"


def _html(table: Table) -> str:
    # Document text comes from users and other programs: nothing goes into HTML unescaped.
    lines = ["<table>", f"<caption {_LEFT}><b>{escape(table.title)}</b></caption>"]
    if table.columns:
        lines.append(_html_row(table.columns, "th"))
    lines += [_html_row(row, "td") for row in table.rows]
    return "\n".join([*lines, "</table>"])


def _html_row(cells: Sequence[object], tag: str) -> str:
    parts = (f"<{tag} {_LEFT}>{escape(cell_text(cell))}</{tag}>" for cell in cells)
    return f"<tr>{''.join(parts)}</tr>"


def _to_json(value: Any) -> Any:
    if isinstance(value, View):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"
    return value


class Run(View):
    """The run itself; times are ISO 8601 in UTC, as in the document."""

    id: str | None = term("mlf:runId")
    status: str | None = term("mlf:status")
    name: str | None = term("prov:label")
    start: str | None
    end: str | None

    def tables(self) -> Iterator[Table]:
        """Yield the attributes that the document has."""
        keys = ("name", "id", "status", "start", "end", "experiment", "user")
        rows = ((key, getattr(self, key, None)) for key in keys)
        yield Table("Run", (), [row for row in rows if row[1] is not None])
