"""What every part of a database's reader needs: whom to ask, what to make, whom to tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.artifacts import Artifacts
from yprov_mlflow.prov.sources.sql.event_factory import Entries
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Unreadable
from yprov_mlflow.prov.sources.sql.run_index import Index


@dataclasses.dataclass
class Reading:
    """One reading of a run, or of what belongs to none: what to ask, and whom to tell."""

    reader: Reader
    entries: Entries
    index: Index
    artifacts: Artifacts
    report: Callable[[Problem], None]

    def saved(self, place: str, lost: str, found: Iterable[Event]) -> Iterator[Event]:
        """Give events for as long as the database can; the rest becomes a problem."""
        try:
            yield from found
        except Unreadable as error:
            self.report(Problem(place, f"cannot be read: {error}", lost))
