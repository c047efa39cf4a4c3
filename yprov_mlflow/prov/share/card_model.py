"""A card: sections of statements, each with the records that it rests on, as Markdown and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

VERSION = "v6"
"""Version of the template of workflow-provenance cards."""

_MOST_ITEMS = 25  # in Markdown; JSON has all
_MOST_LINKS = 3
_LONGEST = 500
_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")


class Item(NamedTuple):
    """A value and the IRIs of the records that state it: several for sums over runs."""

    text: str
    records: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A field of the template.

    Args:
        field: Its name in the template.
        items: Its values, empty if nothing is known.
        required: Whether the template requires it.
        cure: What fills it, for a required field.
    """

    field: str
    items: tuple[Item, ...]
    required: bool = False
    cure: str = ""

    @property
    def blank(self) -> str | None:
        """Return the text of a required field that is not known."""
        return f"not recorded; {self.cure}" if self.required and not self.items else None

    def to_dict(self) -> dict[str, Any]:
        """Return the statement as JSON; ``values`` is empty if nothing is known."""
        values = [{"value": item.text, "records": list(item.records)} for item in self.items]
        blank = {} if self.blank is None else {"blank": self.blank}
        return {"required": self.required, "values": values, **blank}


@dataclass(frozen=True)
class Section:
    """A section: a number and title of the template, with a name for repeated blocks."""

    number: str
    title: str
    statements: tuple[Statement, ...]
    name: str = ""


@dataclass(frozen=True)
class Card:
    """The workflow-provenance card of a run, or of the runs of a workflow.

    A notebook shows it as Markdown.
    """

    title: str
    sections: tuple[Section, ...]

    @property
    def blanks(self) -> list[tuple[str, str]]:
        """Return the required fields that are not known, with what fills them."""
        return [
            (f"{section.number} {statement.field}", statement.cure)
            for section in self.sections
            for statement in section.statements
            if statement.blank is not None
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the card as a JSON object."""
        return {
            "template": "workflow-provenance-card",
            "version": VERSION,
            "title": self.title,
            "sections": [
                {
                    "number": section.number,
                    "title": section.title,
                    **({"name": section.name} if section.name else {}),
                    "fields": {s.field: s.to_dict() for s in section.statements},
                }
                for section in self.sections
            ],
        }

    def to_markdown(self) -> str:
        """Return the card as Markdown; each value links to the IRI of its record."""
        lines = [f"# Workflow card: {_plain(self.title)}", "", f"Template version: {VERSION}"]
        headings: set[str] = set()
        for section in self.sections:
            lines += _headings(section, headings)
            for statement in section.statements:
                lines += _lines(statement)
        return "\n".join(lines) + "\n"

    _repr_markdown_ = to_markdown


def _headings(section: Section, written: set[str]) -> Iterator[str]:
    heading = f"{section.number} {section.title}"
    if heading not in written:
        written.add(heading)
        level = "##" if section.number.endswith(".") else "###"
        yield from ("", f"{level} {heading}")
    if section.name:
        yield from ("", f"#### {_plain(section.name)}")
    if section.statements:
        yield ""


def _lines(statement: Statement) -> Iterator[str]:
    head = f"- **{statement.field}**:"
    if len(statement.items) <= 1:
        yield f"{head} {_item(statement.items[0]) if statement.items else statement.blank or '~'}"
        return
    yield head
    yield from (f"  - {_item(item)}" for item in statement.items[:_MOST_ITEMS])
    if len(statement.items) > _MOST_ITEMS:
        yield f"  - and {len(statement.items) - _MOST_ITEMS} more"


def _item(item: Item) -> str:
    # IRIs hold no angle brackets, so that this form of a link cannot be left.
    links = [f"[record](<{record}>)" for record in item.records[:_MOST_LINKS]]
    if len(item.records) > _MOST_LINKS:
        links.append(f"and {len(item.records) - _MOST_LINKS} more")
    return f"{_plain(item.text)} ({', '.join(links)})" if links else _plain(item.text)


def _plain(text: str) -> str:
    """Return user text that Markdown shows as it is, in one line."""
    line = " ".join(text.split())
    cut = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    return _SPECIAL.sub(r"\\\1", cut)


def single(text: object, *records: str) -> tuple[Item, ...]:
    """Return a value as the items of a statement; none for None or empty text."""
    return () if text in (None, "") else (Item(str(text), records),)


def distinct(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return an item for each text, in order, with the records of all items that have it."""
    records: dict[str, dict[str, None]] = {}
    for item in items:
        records.setdefault(item.text, {}).update(dict.fromkeys(item.records))
    return tuple(Item(text, tuple(iris)) for text, iris in records.items())
