"""Experiments: their ids and names in the target, and their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yprov_mlflow.prov.restore.restore_report import REFUSED, REPLACED, RESTORED, UNCHANGED
from yprov_mlflow.prov.restore.sql.runs import RESTORED_FROM
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables, Thing
from yprov_mlflow.prov.restore.state import Experiment, Run, StoreState

if TYPE_CHECKING:
    from sqlalchemy import Connection

ORIGINAL_NAME = "yprov.original_name"
_WAITING = "yprov-mlflow is restoring experiment "
"""Start of the name of an experiment until all are known: names must not clash meanwhile."""

_DEFAULT = "Default"
_MOST = {"postgresql": 2**31 - 1, "mysql": 2**31 - 1}


class Experiments:
    """Gives each experiment its place in the target."""

    def __init__(self, tables: Tables, root: str, *, overwrite: bool) -> None:
        """Name the target's tables and its root of artifacts."""
        self._tables = tables
        self._root = root.rstrip("/")
        self._overwrite = overwrite
        self._ids: dict[str, int | None] = {}
        self._ours: set[int] = set()
        self._told: dict[str, Experiment] = {}

    def of_run(self, run: Run) -> int | None:
        """Give the id in the target of a run's experiment, made if need be; None if refused."""
        known = self._told.setdefault(run.experiment_id, Experiment(run.experiment_id))
        known.name = known.name or run.experiment_name
        place, found, _ = (run.artifact_uri or "").rpartition(f"/{run.run_id}/artifacts")
        if found:
            known.artifact_location = known.artifact_location or place
        return self.id_of(known)

    def id_of(self, experiment: Experiment) -> int | None:
        """Give the id in the target, with a row that has it; None where another has its place."""
        given = experiment.experiment_id
        if given not in self._ids:
            with self._tables.engine.begin() as connection:
                self._ids[given] = self._reserve(connection, experiment)
            if self._ids[given] is None:
                self._tables.report.count("experiment", REFUSED)
                self._tables.report.lose(
                    f"experiment {given}",
                    f"the target has another experiment of this id, called"
                    f" {self._name_of(given)!r}: restore into a fresh store, or with --overwrite",
                )
        return self._ids[given]

    def mention(self, given: str) -> None:
        """Say that there is an experiment, of which this tells no more."""
        self._told.setdefault(given, Experiment(given))

    def location(self, experiment_id: int) -> str:
        """Give the default place of an experiment's artifacts in the target."""
        return f"{self._root}/{experiment_id}"

    def _name_of(self, given: str) -> str | None:
        with self._tables.engine.connect() as connection:
            row = self._tables.first(connection, "experiments", {"experiment_id": int(given)})
        return str(row["name"]) if row is not None else None

    def _reserve(self, connection: Connection, experiment: Experiment) -> int | None:
        given = experiment.experiment_id
        number = self._fitting(given)
        if number is None:
            number = self._renumbered(connection, given)
        row = self._tables.first(connection, "experiments", {"experiment_id": number})
        if row is None:
            self._tables.insert(
                connection,
                "experiments",
                [
                    {
                        "experiment_id": number,
                        "name": f"{_WAITING}{number}",
                        "artifact_location": self.location(number),
                        "lifecycle_stage": "active",
                    }
                ],
            )
            if given != str(number):
                tag = {"experiment_id": number, "key": RESTORED_FROM, "value": given}
                self._tables.insert(connection, "experiment_tags", [tag])
            self._ours.add(number)
        elif str(row["name"]).startswith(_WAITING) or self._pristine(connection, row):
            self._ours.add(number)
        elif not self._overwrite and not self._same_name(connection, row, experiment):
            return None
        return number

    def _fitting(self, given: str) -> int | None:
        if not given.isascii() or not given.isdecimal() or str(int(given)) != given:
            return None
        number = int(given)
        return number if number <= _MOST.get(self._tables.dialect, 2**63 - 1) else None

    def _renumbered(self, connection: Connection, given: str) -> int:
        """Give an id to an experiment whose own no column holds; the same one every time."""
        from sqlalchemy import func, select

        tag = {"key": RESTORED_FROM, "value": given}
        known = self._tables.first(connection, "experiment_tags", tag)
        if known is not None:
            return int(known["experiment_id"])
        column = self._tables.all["experiments"].c.experiment_id
        number = int(connection.execute(select(func.max(column))).scalar() or 0) + 1
        self._tables.report.ids[f"experiment {given}"] = str(number)
        self._tables.report.change(
            f"experiment {given}", f"the target's ids are numbers: it is experiment {number}"
        )
        return number

    def _pristine(self, connection: Connection, row: Row) -> bool:
        """Tell whether this is the experiment that a fresh store has, with nothing in it."""
        mine = {"experiment_id": row["experiment_id"]}
        return (
            row["experiment_id"] == 0
            and row["name"] == _DEFAULT
            and all(
                self._tables.first(connection, table, mine) is None
                for table in ("runs", "experiment_tags", "trace_info", "logged_models")
                if self._tables.has(table)
            )
        )

    def _same_name(self, connection: Connection, row: Row, experiment: Experiment) -> bool:
        if experiment.name is None or experiment.name == row["name"]:
            return True
        tag = {"experiment_id": row["experiment_id"], "key": ORIGINAL_NAME}
        original = self._tables.first(connection, "experiment_tags", tag)
        return original is not None and original["value"] == experiment.name

    # -- at the end --------------------------------------------------------------------

    def finish(self, estate: StoreState) -> None:
        """Write what is known of all experiments in the end."""
        found = {**self._told, **estate.experiments}
        for given, experiment in found.items():
            if given in self._told:
                told = self._told[given]
                experiment.name = told.name if experiment.name is None else experiment.name
                experiment.artifact_location = (
                    experiment.artifact_location or told.artifact_location
                )
        for given in sorted(found, key=lambda one: (len(one), one)):
            number = self.id_of(found[given])
            if number is not None:
                self._put(found[given], number, told=given in estate.experiments)
        self._advance()

    def _advance(self) -> None:
        """Let PostgreSQL count on from our ids, as the others do by themselves."""
        if self._tables.dialect != "postgresql":
            return
        from sqlalchemy import text

        with self._tables.engine.begin() as connection:
            connection.execute(
                text(
                    "SELECT setval(pg_get_serial_sequence('experiments', 'experiment_id'),"
                    " GREATEST((SELECT max(experiment_id) FROM experiments), 1))"
                )
            )

    def _put(self, experiment: Experiment, number: int, *, told: bool) -> None:
        place = f"experiment {experiment.experiment_id}"
        ours = number in self._ours
        if not told and not ours:
            self._tables.report.count("experiment", UNCHANGED)
            return
        mine = {"experiment_id": number}
        name, tags = self._named(experiment, number)
        if experiment.experiment_id != str(number):
            tags[RESTORED_FROM] = experiment.experiment_id
        row = {
            **mine,
            "name": name,
            "artifact_location": experiment.artifact_location or self.location(number),
            "lifecycle_stage": "deleted" if experiment.lifecycle == "deleted" else "active",
            "creation_time": experiment.creation_time_ms,
            "last_update_time": experiment.last_update_time_ms,
        }
        rows = [
            self._tables.fit("experiment_tags", place, {"key": key, "value": value, **mine})
            for key, value in sorted(tags.items())
        ]
        head = self._tables.fit("experiments", place, row)
        if ours or self._overwrite:
            self._write(place, number, head, rows, ours=ours)
            return
        parts = [Part("experiments", mine, [head]), Part("experiment_tags", mine, rows)]
        self._tables.put(Thing("experiment", place, parts), overwrite=False)

    def _write(self, place: str, number: int, head: Row, tags: list[Row], *, ours: bool) -> None:
        """Change the row that there is: runs refer to it, so that it cannot be made anew."""
        from sqlalchemy import update

        table = self._tables.all["experiments"]
        mine = {"experiment_id": number}
        with self._tables.engine.begin() as connection:
            known = self._tables.first(connection, "experiments", mine) or {}
            there = self._tables.rows(connection, "experiment_tags", mine)
            same = all(known.get(column) == value for column, value in head.items()) and sorted(
                (tag["key"], tag["value"]) for tag in there
            ) == sorted((tag["key"], tag["value"]) for tag in tags)
            if not same:
                connection.execute(
                    update(table).where(table.c.experiment_id == number).values(**head)
                )
                self._tables.delete(connection, "experiment_tags", mine)
                self._tables.insert(connection, "experiment_tags", tags)
        outcome = UNCHANGED if same else RESTORED if ours else REPLACED
        self._tables.report.count("experiment", outcome)

    def _named(self, experiment: Experiment, number: int) -> tuple[str, dict[str, str]]:
        """Give a name that no other experiment has, and the tags."""
        from sqlalchemy import select

        table = self._tables.all["experiments"]
        with self._tables.engine.connect() as connection:
            taken = {
                row.name
                for row in connection.execute(
                    select(table.c.name).where(table.c.experiment_id != number)
                )
            }
        wanted = experiment.name if experiment.name is not None else str(experiment.experiment_id)
        name, count = wanted, 1
        while name in taken:
            suffix = (
                experiment.experiment_id if count == 1 else f"{experiment.experiment_id}.{count}"
            )
            name, count = f"{wanted} ({suffix})", count + 1
        tags = dict(experiment.tags)
        if name != wanted:
            tags[ORIGINAL_NAME] = wanted
            self._tables.report.change(
                f"experiment {experiment.experiment_id}",
                f"MLflow has each name once: {wanted!r} is {name!r} here, with a tag"
                f" {ORIGINAL_NAME}",
            )
        return name, tags
