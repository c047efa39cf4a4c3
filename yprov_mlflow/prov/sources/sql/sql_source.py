"""An MLflow database as a source: SQLite, PostgreSQL or MySQL, of any schema revision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.artifact_finder import ArtifactFinder
from yprov_mlflow.prov.sources.source import Problem, RemoteSource, RunRef
from yprov_mlflow.prov.sources.sql import models, other_tables, registry, traces
from yprov_mlflow.prov.sources.sql.connection import Database
from yprov_mlflow.prov.sources.sql.fingerprints import fingerprint
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Row, Unreadable
from yprov_mlflow.prov.sources.sql.reading import Index, Reading, whole_part
from yprov_mlflow.prov.sources.sql.run_reader import RunReader
from yprov_mlflow.prov.sources.state_events import EventFactory

_PAGE = 5000
_RUN_COLUMNS = ("run_uuid", "status", "start_time", "lifecycle_stage")

Part = tuple[str, str, Callable[[Reading], Iterable[Event]]]


class DatabaseSource(RemoteSource):
    """Reads an MLflow database as it is, without writing to it or migrating it.

    Each run is read in one transaction, so that its events are of one moment. Between runs
    nothing is locked, so that writers are never blocked for long.
    """

    _database: Database | None = None

    def _reset(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None
        self._index = Index()
        self._artifacts: ArtifactFinder | None = None

    def runs(self) -> Iterator[RunRef]:
        """Yield all runs by experiment and id."""
        database = self._open()
        columns = ("experiment_id", "name", "lifecycle_stage")
        try:
            with database.transaction() as reader:
                used = {key: (None, None) for (key,) in reader.rows("runs", columns[:1])}
                existing = {row[0]: row[1:] for row in reader.rows("experiments", columns)}
        except Unreadable as error:
            raise database.failure(error) from error
        # Runs of an experiment that is not in its table are yielded as well.
        for experiment_id, (name, _) in sorted(
            (used | existing).items(),
            key=lambda item: registry.experiment_order(item[0], item[1][1]),
        ):
            # Pages by id, each in its own transaction: a slow consumer must not keep one open.
            last: object = ""
            while rows := self._page(database, experiment_id, last):
                last = rows[-1][0]
                yield from (_ref(row, experiment_id, name) for row in rows)

    def fingerprint(self, ref: RunRef) -> str:
        """Return a digest of the run's rows, of aggregates of its points, and of file times."""
        with self._open().transaction() as reader:
            return fingerprint(reader, self._index, self._finder(), ref.run_id)

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield the events of one run."""
        store, database = self.store(), self._open()
        with database.transaction() as reader:
            yield from RunReader(self._reading(reader, ref.run_id), ref.run_id, store).events()
            self._check(database, f"run {ref.run_id}")

    def artifact_folder(self, ref: RunRef) -> str | None:
        """Return the local folder of the run's artifacts, None if they are not on this machine."""
        with self._open().transaction() as reader:
            rows = reader.rows("runs", ("artifact_uri",), {"run_uuid": ref.run_id})
            uri = next(iter(rows), (None,))[0]
        return self._finder().find(str(uri), ref.run_id)[0] if uri else None

    def store_events(self) -> Iterator[Event]:
        """Yield the events of everything that belongs to no run."""
        store_id, database = ids.store_id(self.store()["uuid"]), self._open()
        parts: tuple[Part, ...] = (
            ("experiments", "experiments", registry.experiments),
            ("logged_models", "logged models without a run", models.logged),
            ("registered_models", "the registry from there on", registry.registered_models),
            ("logged_models", "artifacts of these models", models.artifacts),
            ("trace_info", "traces without a run", traces.without_run),
            ("evaluation_datasets", "evaluation datasets", other_tables.evaluation_datasets),
            ("scorers", "scorers", other_tables.scorers),
            ("webhooks", "webhooks", other_tables.webhooks),
            ("others", "other tables", other_tables.recorded),
            ("others", "", other_tables.report_missing),
            ("others", "", other_tables.report_other_experiments),
            ("others", "", other_tables.report_orphans),
        )
        with database.transaction() as reader:
            reading = self._reading(reader, store_id)
            for table, lost, read in parts:
                yield from reading.guard(f"table {table}", lost, read(reading))
            self._check(database, "content that belongs to no run")

    # -- internals ---------------------------------------------------------------------

    def _open(self) -> Database:
        if self._database is None:
            self._database = Database(self._location)
        return self._database

    def _finder(self) -> ArtifactFinder:
        if self._artifacts is None:
            file = self._open().file
            home = os.path.dirname(os.path.abspath(file.path)) if file is not None else None
            self._artifacts = ArtifactFinder(self._artifacts_folder, home, self._report)
        return self._artifacts

    def _reading(self, reader: Reader, run_id: str) -> Reading:
        events = EventFactory(run_id)
        return Reading(reader, events, self._index, self._finder(), self._report)

    def _first_experiment(self) -> tuple[int | None, str | None, str]:
        database = self._open()
        columns = ("creation_time", "artifact_location")
        try:
            with database.transaction() as reader:
                rows = reader.rows("experiments", columns, {"experiment_id": 0})
                created, artifact_location = next(rows, (None, None))
        except Unreadable as error:
            raise database.failure(error) from error
        return created, artifact_location, database.location

    def _page(self, database: Database, experiment_id: Any, last: object) -> list[Row]:
        """Return the next runs of an experiment; each page has a transaction of its own."""
        with database.transaction() as reader:
            table = reader.schema.tables["runs"]
            statement = (
                sqlalchemy.select(*reader.columns("runs", _RUN_COLUMNS))
                .select_from(table)
                .where(table.c.experiment_id == experiment_id, table.c.run_uuid > last)
                .order_by(table.c.run_uuid)
                .limit(_PAGE)
            )
            try:
                return list(reader.select(statement, streamed=False))
            except Unreadable as error:
                where = f"table runs, experiment {experiment_id}"
                self._report(Problem(where, f"cannot be read: {error}", "runs from there on"))
                return []

    def _check(self, database: Database, where: str) -> None:
        """Report what may make the events since the start of the transaction wrong."""
        if not database.unchanged():
            reason = "another program wrote to the database while this was read"
            self._report(Problem(where, reason, "its changes, until the next conversion"))
        file = database.file
        if file is not None and file.has_invalid_text:
            file.has_invalid_text = False
            self._report(Problem(where, "has text that is not UTF-8, read as Latin-1", ""))


def _ref(row: Row, experiment_id: Any, name: Any) -> RunRef:
    run_id, status, start, lifecycle = row
    return RunRef(
        str(run_id),
        str(experiment_id),
        None if name is None else str(name),
        None if status is None else str(status),
        whole_part(start),
        "deleted" if lifecycle == "deleted" else "active",
        str(run_id),
    )
