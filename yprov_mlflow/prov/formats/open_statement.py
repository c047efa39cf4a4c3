"""Statements of formats that hold less than PROV-JSON: they carry the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from yprov_mlflow.prov.formats.parsed import ParsedStatement
from yprov_mlflow.prov.formats.prov_json import values_of
from yprov_mlflow.prov.formats.xml_names import ILLEGAL
from yprov_mlflow.prov.model.literals import Value, plain
from yprov_mlflow.prov.model.relations import FORMAL, KINDS


def is_value(value: Any) -> bool:
    """Return whether PROV-JSON allows a value for an attribute."""
    literal = value if isinstance(value, dict) else {"$": value}
    texts = [text for key, text in literal.items() if key != "$"]
    return isinstance(literal.get("$"), str | int | float) and all(
        isinstance(text, str) for text in texts
    )


def shown(value: Any) -> str:
    """Return the text of a value; a character that XML cannot contain is replaced."""
    literal = value if isinstance(value, str | dict) else plain(value)
    text = literal.get("$", "") if isinstance(literal, dict) else literal
    return ILLEGAL.sub("\ufffd", str(text))


@dataclass
class OpenStatement:
    """A statement that is being read, with what its format cannot express.

    Args:
        section: Its kind.
        identifier: Its id, if it has one.
        form: JSON of the attributes that the format cannot express; ``@id`` is the id.
        attributes: Names and values in order.
        values: Its arguments and times by name.
        members: The members of a collection after the first one.
        implied: A type that the name of the element implies.
    """

    section: str
    identifier: str | None
    form: str | None
    attributes: list[tuple[str, Any]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    implied: tuple[str, Value] | None = None

    def statements(self) -> Iterator[ParsedStatement]:
        """Yield the statement; for a membership with several members, one for each."""
        if self.form is not None:
            self._apply(json.loads(self.form, parse_constant=_refuse_constant))
        if self.implied is not None:
            self.attributes.append(self.implied)
        kind, values = KINDS[self.section], self.values
        statement = ParsedStatement(
            self.section,
            self.identifier,
            tuple([values.get(formal) for formal in kind.formals]),
            tuple([values.get(time) for time in kind.times]),
            self.attributes or None,
        )
        yield statement
        for member in self.members:
            yield statement._replace(terms=(*statement.terms[:1], member))

    def _apply(self, form: Any) -> None:
        """Apply what the format cannot express; where the statement differs, it wins."""
        if not isinstance(form, dict):
            raise TypeError("it is not an object")
        formal = FORMAL[self.section]
        written: dict[str, list[Any]] = {}
        for key, item in self.attributes:
            written.setdefault(key, []).append(item)
        for key, value in form.items():
            if key == "@id" or key in formal:
                if not isinstance(value, str):
                    raise TypeError(f"{key} is not a string")
                if key == "@id":
                    self.identifier = value
                else:
                    self.values.setdefault(key, value)
                continue
            if not all(map(is_value, values_of(value))):
                raise TypeError(f"{key} is not a value")
            items = written.get(key, [])
            if [*map(shown, items)] == [*map(shown, values_of(value)[: len(items)])]:
                written[key] = [value]
        self.attributes = [(key, item) for key, items in written.items() for item in items]


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
