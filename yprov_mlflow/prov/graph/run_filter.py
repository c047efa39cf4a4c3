"""Conditions on runs, in the part of MLflow's filter syntax that a table of runs needs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.errors import UsageError

Value = str | float | None

_ALLOWED = (
    "Write conditions such as: metrics.loss < 0.3 and params.lr = 0.1 and status = 'FINISHED'"
)
_TOKENS = re.compile(
    r"""\s*(?:
      (?P<column>(?:(?:min|max|first|last)\((?:`[^`]*`|"[^"]*"|[^\s()]+)\))
         |(?:[A-Za-z_]\w*\.(?:`[^`]*`|"[^"]*"))|(?:[A-Za-z_@][\w./@-]*))
      \s*(?P<comparator><=|>=|!=|<>|==|=|<|>|\bI?LIKE\b)
      \s*(?P<value>'[^']*'|"[^"]*"|[^\s'"]+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r"\s+AND\s+", re.IGNORECASE)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition(NamedTuple):
    """A comparison of a column of a run with a value."""

    column: str
    comparator: str
    value: str

    def holds(self, value: Value) -> bool:
        """Return whether a value of the column meets it; a missing value never does."""
        if value is None:
            return False
        if self.comparator.upper() in ("LIKE", "ILIKE"):
            flags = re.DOTALL | (re.IGNORECASE if self.comparator.upper() == "ILIKE" else 0)
            pattern = re.escape(self.value).replace("%", ".*").replace("_", ".")
            return re.fullmatch(pattern, str(value), flags) is not None
        compare = _COMPARE[self.comparator]
        numbers = number_of(value), number_of(self.value)
        if None not in numbers:
            return compare(*numbers)
        # Numbers and words have no order, and are not equal.
        if isinstance(value, float):
            return self.comparator in ("!=", "<>")
        return compare(str(value), self.value)


def conditions(where: str) -> Sequence[Condition]:
    """Return the conditions of a filter; all of them must hold.

    Raises:
        UsageError: The text cannot be read; the message has the position.
    """
    parsed: list[Condition] = []
    position = 0
    while where[position:].strip():
        if parsed:
            separator = _AND.match(where, position)
            if separator is None:
                raise _error(where, position, "expected AND")
            position = separator.end()
        match = _TOKENS.match(where, position)
        if match is None:
            raise _error(where, position, "expected NAME, one of = != < <= > >= LIKE, and a value")
        parsed.append(Condition(plain(match["column"]), match["comparator"], _text(match["value"])))
        position = match.end()
    return parsed


def plain(column: str) -> str:
    """Return the name of a column without quotes around its key."""
    return re.sub(r"""[`"]""", "", column)


def number_of(value: object) -> float | None:
    """Return a value as a number, or None."""
    try:
        return float(value)  # type: ignore[arg-type] # text and numbers
    except (TypeError, ValueError):
        return None


def _text(value: str) -> str:
    return value[1:-1] if value[0] in "'\"" else value


def _error(where: str, position: int, reason: str) -> UsageError:
    at = f"{where[:position]}»{where[position:].strip()}«"
    what = f"the filter is not valid at character {position + 1}: {reason}"
    cure = _ALLOWED
    if re.match(r"\s*OR\b", where[position:], re.IGNORECASE):
        cure = "OR is not possible, as in MLflow; ask twice"
    return UsageError(what, at, cure)
