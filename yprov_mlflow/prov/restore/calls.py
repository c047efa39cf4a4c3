"""Recorded calls of store methods, and building blocks for the handlers that replay them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.state import StoreState

Handler = Callable[[StoreState, "Call"], object]
"""Applies a call to the state; raises ``IncompleteCallError`` if the call lacks information."""

T = TypeVar("T")


class IncompleteCallError(Exception):
    """A call lacks a field or a record without which its effect is unknown."""


def required(value: T | None) -> T:
    """Return the value; raise ``IncompleteCallError`` if it is None."""
    if value is None:
        raise IncompleteCallError
    return value


class Call:
    """One call of a store method; its arguments take precedence over its result."""

    def __init__(self, event: StoreCalled) -> None:
        self.method = event.method
        self.run_id = event.run_id
        # A call that was read from a store has the time 0; its arguments hold the times.
        self.time_ms = event.time_ns // 1_000_000 or None
        self.arguments: Mapping[str, Any] = literals.mapping(event.arguments)
        self.result: Any = event.result

    def find(self, *keys: str) -> Any:
        """Return the first of these fields that is present, or None."""
        sources = (self.arguments, literals.mapping(self.result))
        values = (source.get(key) for source in sources for key in keys)
        return next((value for value in values if value is not None), None)

    def text(self, *keys: str) -> str | None:
        """Return a field as text; None if it is absent or neither text nor a number."""
        value = self.find(*keys)
        return str(value) if isinstance(value, str | int) else None

    def integer(self, *keys: str) -> int | None:
        """Return a field as an integer; None if it is absent or not an integer."""
        return literals.number(self.find(*keys))

    def time(self, key: str) -> int | None:
        """Return a time in ms since the epoch; the time of the call if the field is absent."""
        time_ms = self.integer(key)
        return time_ms if time_ms is not None else self.time_ms

    def items(self, key: str) -> list[Any]:
        """Return an argument that is a list; raise ``IncompleteCallError`` if it is not."""
        value = self.arguments.get(key)
        return required(value if isinstance(value, list) else None)

    def extra(self, arguments: Mapping[str, Any], *known: str) -> dict[str, Any]:
        """Return the arguments with other names than these that have a value.

        They are fields of a record in a store; a live call has arguments that are not.
        """
        items = arguments.items() if self.time_ms is None else ()
        return {key: value for key, value in items if value is not None and key not in known}

    def tags(self) -> dict[str, str]:
        """Return the tags that the call sets: ``tags``, ``tag``, or ``key`` and ``value``."""
        arguments = self.arguments
        tags = literals.pairs(arguments.get("tags")) or literals.pairs(arguments.get("tag"))
        if not tags and isinstance(arguments.get("key"), str):
            tags = {arguments["key"]: arguments.get("value")}
        return texts(tags)


def texts(pairs: Mapping[str, Any]) -> dict[str, str]:
    """Return tags or params with values as text; MLflow shows a missing value as empty text."""
    return {key: "" if value is None else str(value) for key, value in pairs.items()}


class _Tagged(Protocol):
    tags: dict[str, str]


def sets_tags(find: Callable[[StoreState, Call], _Tagged]) -> Handler:
    """Return a handler that sets tags of the record that ``find`` returns for a call."""
    return lambda state, call: set_tags(find(state, call).tags, call.tags())


def deletes_tag(find: Callable[[StoreState, Call], _Tagged]) -> Handler:
    """Return a handler that deletes a tag of the record that ``find`` returns for a call."""
    return lambda state, call: delete_tag(find(state, call).tags, call.arguments.get("key"))


def set_tags(tags: dict[str, str], values: Mapping[str, str]) -> None:
    """Set tags one by one: ``Values`` remember the values that are replaced."""
    for key, value in values.items():
        tags[key] = value


def delete_tag(tags: dict[str, str], key: object) -> None:
    """Delete a tag, if it is set."""
    if isinstance(key, str) and key in tags:
        del tags[key]
