"""Recorded calls of store methods, and building blocks for the handlers that replay them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.state import StoreState


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
        for source in (self.arguments, literals.mapping(self.result)):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return None

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

    def items(self, key: str) -> list[Any] | None:
        """Return an argument that is a list, or None."""
        value = self.arguments.get(key)
        return value if isinstance(value, list) else None

    def tags(self) -> dict[str, str]:
        """Return the tags that the call sets: ``tags``, ``tag``, or ``key`` and ``value``."""
        tags = literals.pairs(self.arguments.get("tags")) or literals.pairs(
            self.arguments.get("tag")
        )
        if not tags and isinstance(self.arguments.get("key"), str):
            tags = {self.arguments["key"]: self.arguments.get("value")}
        return {key: "" if value is None else str(value) for key, value in tags.items()}


Handler = Callable[[StoreState, Call], bool]
"""Applies a call to the state; returns whether the call held enough information to do so."""

Record = TypeVar("Record")


class _Tagged(Protocol):
    tags: dict[str, str]


def updates(
    find: Callable[[StoreState, Call], Record | None], change: Callable[[Record, Call], object]
) -> Handler:
    """Return a handler that applies ``change`` to the record that ``find`` returns for a call."""

    def handler(state: StoreState, call: Call) -> bool:
        record = find(state, call)
        if record is not None:
            change(record, call)
        return record is not None

    return handler


def sets_tags(find: Callable[[StoreState, Call], _Tagged | None]) -> Handler:
    """Return a handler that sets tags of a record."""
    return updates(find, lambda record, call: record.tags.update(call.tags()))


def deletes_tag(find: Callable[[StoreState, Call], _Tagged | None]) -> Handler:
    """Return a handler that deletes a tag of a record."""
    return updates(find, lambda record, call: record.tags.pop(str(call.arguments.get("key")), None))
