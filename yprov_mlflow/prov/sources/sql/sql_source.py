"""An MLflow database as a source: SQLite, PostgreSQL, MySQL; read-only, of any revision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.sources.sql import models, other_tables, registry, traces
from yprov_mlflow.prov.sources.sql.artifacts import Artifacts
from yprov_mlflow.prov.sources.sql.connection import Database
from yprov_mlflow.prov.sources.sql.context import Reading
from yprov_mlflow.prov.sources.sql.event_factory import Entries
from yprov_mlflow.prov.sources.sql.fingerprints import fingerprint
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Unreadable
from yprov_mlflow.prov.sources.sql.run_index import Index
from yprov_mlflow.prov.sources.sql.run_reader import RunReading

_PAGE = 5000
_RUN = ("run_uuid", "status", "start_time", "lifecycle_stage")
_PREFIX = "yprov+"

Part = tuple[str, str, Callable[[Reading], Iterable[Event]]]


class DatabaseSource(Source):
    """Reads an MLflow database as it is; never writes to it, never migrates it.

    Each run is read in one transaction of its own, so that what is told of it was all there at
    one time; nothing is locked in between.
    """

    def __init__(self, location: str, artifacts: str | None = None) -> None:
        """Name the database; it is opened when it is first asked for something.

        Args:
            location: A SQLite file, or a URI as MLflow takes it.
            artifacts: Folder in which artifacts are looked for before anywhere else.
        """
        self._location = location.removeprefix(_PREFIX)
        self._artifacts_root = artifacts
        self.location = ids.redact(self._location)
        self._forget()

    def _forget(self) -> None:
        self._database: Database | None = None
        self._index = Index()
        self._store: dict[str, str] | None = None
        self._problems: list[Problem] = []
        self._artifacts: Artifacts | None = None

    def __reduce__(self) -> Any:
        """Travel as what it was made from; whoever gets it opens it anew."""
        return DatabaseSource, (self._location, self._artifacts_root)

    # -- the contract ------------------------------------------------------------------

    def store(self) -> Mapping[str, str]:
        """Give ``uuid`` and ``uri``, as live capture of this database names them."""
        if self._store is None:
            with self._open().transaction() as reader:
                self._store = self._reference(reader)
        return self._store

    def runs(self) -> Iterator[RunRef]:
        """Give all runs, experiment by experiment, by their ids."""
        database = self._open()
        names = ("experiment_id", "name", "lifecycle_stage")
        try:
            with database.transaction() as reader:
                of_runs = {key: (None, None) for (key,) in reader.rows("runs", names[:1])}
                known = {row[0]: row[1:] for row in reader.rows("experiments", names)}
        except Unreadable as error:
            raise database.failure(error) from error
        experiments = of_runs | known
        for experiment_id, (name, _) in sorted(
            experiments.items(), key=lambda one: registry.experiment_order(one[0], one[1][1])
        ):
            last: object = ""
            while rows := self._page(database, experiment_id, last):
                last = rows[-1][0]
                yield from (self._ref(row, experiment_id, name) for row in rows)

    def fingerprint(self, ref: RunRef) -> str:
        """Give a digest of the run's rows and files' times; of points their sums alone."""
        with self._open().transaction() as reader:
            return fingerprint(reader, self._index, self._files(), ref.run_id)

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Give the events of one run."""
        store = self.store()
        database = self._open()
        with database.transaction() as reader:
            reading = self._reading(reader, ref.run_id)
            yield from RunReading(reading, ref.run_id, store).events()
            self._check(database, f"run {ref.run_id}")

    def store_events(self) -> Iterator[Event]:
        """Give the events of what belongs to no run."""
        store_id = ids.store_id(self.store()["uuid"])
        database = self._open()
        parts: tuple[Part, ...] = (
            ("experiments", "experiments", registry.experiments),
            ("logged_models", "logged models without a run", models.without_run),
            ("registered_models", "the registry from there on", registry.registered_models),
            ("logged_models", "artifacts of these models", models.artifacts_without_run),
            ("trace_info", "traces without a run", traces.without_run),
            ("evaluation_datasets", "evaluation data sets", other_tables.evaluation_datasets),
            ("scorers", "scorers", other_tables.scorers),
            ("webhooks", "webhooks", other_tables.webhooks),
            ("others", "other tables", other_tables.recorded),
            ("others", "", other_tables.ownerless),
        )
        with database.transaction() as reader:
            reading = self._reading(reader, store_id)
            for table, lost, read in parts:
                yield from reading.saved(f"table {table}", lost, read(reading))
            self._check(database, "what belongs to no run")

    def problems(self) -> list[Problem]:
        """Give the problems met since the last call, and forget them."""
        found, self._problems = self._problems, []
        return found

    def close(self) -> None:
        """Disconnect."""
        if self._database is not None:
            self._database.close()
        problems = self._problems
        self._forget()
        self._problems = problems

    # -- how ---------------------------------------------------------------------------

    def _open(self) -> Database:
        if self._database is None:
            self._database = Database(self._location)
        return self._database

    def _files(self) -> Artifacts:
        if self._artifacts is None:
            file = self._open().file
            home = os.path.dirname(os.path.abspath(file.path)) if file is not None else None
            self._artifacts = Artifacts(self._artifacts_root, home, self._report)
        return self._artifacts

    def _report(self, problem: Problem) -> None:
        self._problems.append(problem)

    def _reading(self, reader: Reader, run_id: str) -> Reading:
        return Reading(reader, Entries(run_id), self._index, self._files(), self._report)

    def _reference(self, reader: Reader) -> dict[str, str]:
        """Name the store by its first experiment; see ``identity.store_uuid``."""
        names = ("creation_time", "artifact_location")
        uri = self._open().shown
        try:
            found = next(reader.rows("experiments", names, {"experiment_id": 0}), (None, None))
        except Unreadable as error:
            raise self._open().failure(error) from error
        created, location = found
        return {"uuid": ids.store_uuid(created, location, uri), "uri": uri}

    def _page(self, database: Database, experiment_id: Any, last: object) -> list[tuple[Any, ...]]:
        import sqlalchemy

        with database.transaction() as reader:
            table = reader.schema.tables["runs"]
            statement = sqlalchemy.select(*reader.columns("runs", _RUN)).select_from(table)
            statement = statement.where(
                table.c.experiment_id == experiment_id, table.c.run_uuid > last
            )
            statement = statement.order_by(table.c.run_uuid).limit(_PAGE)
            try:
                return [row for rows in reader.chunks(statement, streamed=False) for row in rows]
            except Unreadable as error:
                place = f"table runs, experiment {experiment_id}"
                self._report(Problem(place, f"cannot be read: {error}", "runs from there on"))
                return []

    def _ref(self, row: tuple[Any, ...], experiment_id: Any, name: Any) -> RunRef:
        run_id, status, start, lifecycle = row
        return RunRef(
            str(run_id),
            str(experiment_id),
            None if name is None else str(name),
            None if status is None else str(status),
            start if isinstance(start, int) else None,
            "deleted" if lifecycle == "deleted" else "active",
            str(run_id),
        )

    def _check(self, database: Database, place: str) -> None:
        """Tell what the reading may have got wrong."""
        if not database.undisturbed():
            reason = "another program wrote to the database while this was read"
            self._report(Problem(place, reason, "what it wrote, until converted again"))
        if database.file is not None and database.file.foreign_text:
            database.file.foreign_text = False
            self._report(Problem(place, "has text that is not UTF-8, read as Latin-1", ""))
