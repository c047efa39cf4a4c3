"""A log of a run's events, one second apart."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    Event,
    MetricsLogged,
    RunCreated,
    SessionStarted,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import Options, translate

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
START_S = 1_767_322_800
A, B = "a" * 16, "b" * 16


class Log:
    """Events of a run, one second apart by default."""

    def __init__(self, tags: dict[str, str] | None = None, **facts: Any) -> None:
        self.events: list[Event] = []
        self.second: float = -1
        self.add(SessionStarted, {"pid": 1, "host": "node01", "user": "alice", **facts})
        tags = tags or {}
        self.add(RunCreated, "1", "exp", "fox", "alice", START_S * 1000, "file:///a", tags, STORE)

    def add(self, cls: type[Event], *fields: Any, session: str = A, after: float = 1) -> None:
        self.second += after
        seq = sum(event.session == session for event in self.events)
        time_ns = 0 if session == STORE_SESSION else int((START_S + self.second) * 10**9)
        self.events.append(cls(RUN_ID, session, seq, time_ns, *fields))

    def metric(
        self, key: str, value: float, *path: str | int, session: str = A, second: int = 5
    ) -> None:
        at = (START_S + second) * 1000
        self.add(MetricsLogged, [key], [value], [at], [0], [path] if path else (), session=session)

    def document(self, **options: Any) -> Document:
        return translate(self.events, Options(**options))
