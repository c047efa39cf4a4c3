"""A call to a store, as far as its state is concerned: what it was given, what it gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.state import StoreState


class Call:
    """Arguments and result of one call; the arguments count first."""

    def __init__(self, event: StoreCalled) -> None:
        self.method = event.method
        self.run_id = event.run_id
        self.time_ms = event.time_ns // 1_000_000 or None
        self.arguments: Mapping[str, Any] = literals.mapping(event.arguments)
        self.result: Any = event.result

    def find(self, *keys: str) -> Any:
        """Give the first of the fields that the arguments have, else the result."""
        for source in (self.arguments, literals.mapping(self.result)):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return None

    def text(self, *keys: str) -> str | None:
        """Give a field as text; None where there is none, or something that is no name."""
        value = self.find(*keys)
        return str(value) if isinstance(value, str | int) else None

    def whole(self, *keys: str) -> int | None:
        """Give a field as an integer, None where it is none."""
        return literals.number(self.find(*keys))

    def tags(self) -> dict[str, str]:
        """Give the tags that the call sets: ``tags``, ``tag``, or ``key`` and ``value``."""
        found = literals.pairs(self.arguments.get("tags")) or literals.pairs(
            self.arguments.get("tag")
        )
        if not found and isinstance(self.arguments.get("key"), str):
            found = {self.arguments["key"]: self.arguments.get("value")}
        return {key: "" if value is None else str(value) for key, value in found.items()}


Handler = Callable[[StoreState, Call], bool]
"""Changes the state; false when the call does not tell enough."""
