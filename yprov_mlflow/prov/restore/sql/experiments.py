"""Experiments: their ids and names in the target, and their rows.

Runs refer to an experiment by id, and the documents of runs come before or after the document that
describes it. So each experiment first gets a row with a temporary name; ``finish`` completes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.exc import IntegrityError

from yprov_mlflow.prov.events import INT64_MAX
from yprov_mlflow.prov.restore.artifact_files import is_anywhere
from yprov_mlflow.prov.restore.restore_report import REPLACED, RESTORED, RESTORED_FROM, UNCHANGED
from yprov_mlflow.prov.restore.sql.extension import Earlier, Row
from yprov_mlflow.prov.restore.sql.tables import Part, Record, Tables
from yprov_mlflow.prov.state import Experiment, Run, StoreState, was

ORIGINAL_NAME = "yprov.original_name"
"""Tag of an experiment whose name was not unique."""

_TEMPORARY = "yprov-mlflow is restoring experiment "
"""Start of temporary names; final names must not clash before all are known."""

# Other databases count on from ids that were inserted; PostgreSQL's sequence must be advanced.
_ADVANCE_SEQUENCE = (
    "SELECT setval(pg_get_serial_sequence('experiments', 'experiment_id'),"
    " GREATEST((SELECT max(experiment_id) FROM experiments), 1))"
)
# The column is a 32-bit integer there; SQLite's integers have 64 bits.
_MAX_IDS = {"postgresql": 2**31 - 1, "mysql": 2**31 - 1}


class Experiments:
    """Assigns each experiment its row in the target.

    Args:
        tables: Tables of the target.
        root: Artifact root of the target.
        same_ids: Whether the target is the store that the runs were logged to.
    """

    def __init__(self, tables: Tables, root: str, *, same_ids: bool = False) -> None:
        self._tables = tables
        self._root = root.rstrip("/")
        self._same_ids = same_ids
        self._locations: dict[int, str] = {}
        self._ids: dict[str, int | None] = {}
        self._created: set[int] = set()
        self._mentioned: dict[str, Experiment] = {}

    def of_run(self, run: Run) -> int | None:
        """Return the id of a run's experiment in the target, or None if it was refused."""
        self.mention(run.experiment_id)
        experiment = self._mentioned[run.experiment_id]
        experiment.name = experiment.name or run.experiment_name
        location, separator, _ = (run.artifact_uri or "").rpartition(f"/{run.run_id}/artifacts")
        # The store's document may be missing, and runs below a location show what it was.
        if separator:
            experiment.artifact_location = experiment.artifact_location or location
        return self.id_of(experiment)

    def id_of(self, experiment: Experiment) -> int | None:
        """Return the id of an experiment in the target, or None if it was refused.

        The target has a row with this id afterwards.
        """
        original = experiment.experiment_id
        if original not in self._ids:
            # Another client may create it at the same time.
            with suppress(IntegrityError), self._tables.engine.begin() as connection:
                self._ids[original] = self._reserve(connection, experiment)
        if original not in self._ids:
            with self._tables.engine.begin() as connection:
                self._ids[original] = self._reserve(connection, experiment)
        return self._ids[original]

    def mention(self, experiment_id: str) -> None:
        """Restore an experiment of which nothing but its id may be known."""
        self._mentioned.setdefault(experiment_id, Experiment(experiment_id))

    def expect(self, experiments: Iterable[Experiment]) -> None:
        """Note experiments, with their present and earlier names, before their runs come."""
        self._mentioned.update({e.experiment_id: e for e in experiments})

    def location(self, experiment_id: int) -> str:
        """Return the artifact location of an experiment in the target."""
        if self._tables.extends and experiment_id not in self._locations:
            row = self._tables.find("experiments", {"experiment_id": experiment_id}) or {}
            self._locations[experiment_id] = str(row.get("artifact_location") or "").rstrip("/")
        return self._locations.get(experiment_id) or f"{self._root}/{experiment_id}"

    def _reserve(self, connection: Connection, experiment: Experiment) -> int | None:
        """Return the id of a row for an experiment; report an experiment that is refused."""
        original = experiment.experiment_id
        number = self._as_number(original)
        name = None
        if self._tables.extends:
            existing = self._existing(connection, experiment, number)
            if existing is not None:
                return existing
            name = experiment.name
            if self._tables.first(connection, "experiments", {"experiment_id": number}):
                number = None  # another experiment of the target has the id
        if number is None:
            number = self._new_number(connection, original)
        row = self._tables.first(connection, "experiments", {"experiment_id": number})
        if row is None:
            row = {
                "experiment_id": number,
                "name": name if name is not None else f"{_TEMPORARY}{number}",
                "artifact_location": self.location(number),
                "lifecycle_stage": "active",
            }
            self._tables.insert(connection, "experiments", [row])
            if original != str(number):
                # At once: an interrupted restoration must find the number again.
                tag = {"experiment_id": number, "key": RESTORED_FROM, "value": original}
                self._tables.insert(connection, "experiment_tags", [tag])
            self._created.add(number)
        # A temporary name is from a restoration that was interrupted.
        elif str(row["name"]).startswith(_TEMPORARY) or self._is_untouched(connection, row):
            self._created.add(number)
        elif not self._tables.overwrite and not self._has_same_name(connection, row, experiment):
            self._tables.report.refuse(
                "experiment",
                f"experiment {original}",
                f"the target has another experiment with this id, named {row['name']!r}: restore"
                " into a new store, or use --overwrite",
            )
            return None
        return number

    def _existing(
        self, connection: Connection, experiment: Experiment, number: int | None
    ) -> int | None:
        """Return the experiment of the target that a synchronization continues, or None.

        Many processes and nodes may have created it: experiments meet by name.
        """
        first = self._tables.first
        row = first(connection, "experiments", {"experiment_id": number})
        if row is not None and self._same_ids:
            return number
        names = [experiment.name] if experiment.name is not None else []
        for name in [*names, *sorted(experiment.earlier_names)]:
            if named := first(connection, "experiments", {"name": name}):
                return int(named["experiment_id"])
        tag = {"key": RESTORED_FROM, "value": experiment.experiment_id}
        if tagged := first(connection, "experiment_tags", tag):
            return int(tagged["experiment_id"])
        is_temporary = row is not None and str(row["name"]).startswith(_TEMPORARY)
        return number if row is not None and (is_temporary or not names) else None

    def _as_number(self, experiment_id: str) -> int | None:
        """Return the id as a number, or None if no row can have exactly this id."""
        if not (experiment_id.isascii() and experiment_id.isdecimal()):
            return None
        number = int(experiment_id)
        fits = number <= _MAX_IDS.get(self._tables.dialect, INT64_MAX)
        return number if fits and str(number) == experiment_id else None

    def _new_number(self, connection: Connection, original: str) -> int:
        """Return a new id, which is the same if the restoration is repeated."""
        tag = {"key": RESTORED_FROM, "value": original}
        tagged = self._tables.first(connection, "experiment_tags", tag)
        if tagged is not None:
            return int(tagged["experiment_id"])
        column = self._tables.all["experiments"].c.experiment_id
        number = int(connection.execute(select(func.max(column))).scalar() or 0) + 1
        self._tables.report.ids[f"experiment {original}"] = str(number)
        reason = f"the target cannot hold its id: it is experiment {number}"
        self._tables.report.add_change(f"experiment {original}", reason)
        return number

    def _is_untouched(self, connection: Connection, row: Row) -> bool:
        """Return whether this is the empty default experiment of a new store."""
        # MLflow creates it in every database; the user's experiment 0 must be able to replace it.
        where = {"experiment_id": row["experiment_id"]}
        return (
            row["experiment_id"] == 0
            and row["name"] == "Default"
            and all(
                self._tables.first(connection, table, where) is None
                for table in ("runs", "experiment_tags", "trace_info", "logged_models")
                if self._tables.has(table)
            )
        )

    def _has_same_name(self, connection: Connection, row: Row, experiment: Experiment) -> bool:
        if experiment.name is None or experiment.name == row["name"]:
            return True
        # An earlier restoration may have made the name unique.
        tag = {"experiment_id": row["experiment_id"], "key": ORIGINAL_NAME}
        original = self._tables.first(connection, "experiment_tags", tag)
        return original is not None and original["value"] == experiment.name

    # -- at the end --------------------------------------------------------------------

    def finish(self, state: StoreState) -> None:
        """Write everything that is known about all experiments."""
        experiments = {**self._mentioned, **state.experiments}
        for experiment_id, mentioned in self._mentioned.items():
            experiment, location = experiments[experiment_id], mentioned.artifact_location
            if experiment.name is None:
                experiment.name = mentioned.name
            experiment.artifact_location = experiment.artifact_location or location
        # By length first: ids that are numbers get their rows in the order of the numbers.
        for experiment_id in sorted(experiments, key=lambda original: (len(original), original)):
            number = self.id_of(experiments[experiment_id])
            if number is None:
                continue
            if number in self._created:
                self._put(experiments[experiment_id], number)
            elif self._tables.extends:
                self._extend(experiments[experiment_id], number)
            elif experiment_id in state.experiments:
                self._put(experiments[experiment_id], number)
            else:
                self._tables.report.count("experiment", UNCHANGED)
        if self._tables.dialect == "postgresql":
            with self._tables.engine.begin() as connection:
                connection.execute(text(_ADVANCE_SEQUENCE))

    def _extend(self, experiment: Experiment, number: int) -> None:
        """Bring an experiment of the target up to date: name, tags and deletion."""
        owner = {"experiment_id": number}
        label = f"experiment {experiment.experiment_id}"
        old = self._tables.find("experiments", owner) or {}
        row: Row = dict(owner)
        is_temporary = str(old.get("name")).startswith(_TEMPORARY)
        names = {*experiment.earlier_names, *([old["name"]] if is_temporary else [])}
        if experiment.name is not None and old.get("name") in names:
            row["name"], _ = self._unique_name(experiment, number)
        if experiment.lifecycle == "deleted":
            row["lifecycle_stage"] = "deleted"
        tags = self._tables.pairs("experiment_tags", label, owner, experiment.tags)
        earlier: Earlier = {
            "experiments": lambda _, columns: columns <= {"name", "lifecycle_stage"},
            "experiment_tags": lambda tag, _: was(experiment.tags, tag["key"], tag["value"]),
        }
        parts = [Part("experiments", owner, [row]), Part("experiment_tags", owner, tags)]
        self._tables.put(Record("experiment", label, parts, earlier))

    def _put(self, experiment: Experiment, number: int) -> None:
        label = f"experiment {experiment.experiment_id}"
        owner = {"experiment_id": number}
        name, tags = self._unique_name(experiment, number)
        if experiment.experiment_id != str(number):
            tags[RESTORED_FROM] = experiment.experiment_id
        row = {
            **owner,
            "name": name,
            "artifact_location": self._location_of(experiment, number),
            "lifecycle_stage": "deleted" if experiment.lifecycle == "deleted" else "active",
            "creation_time": experiment.creation_time_ms,
            "last_update_time": experiment.last_update_time_ms,
        }
        row = self._tables.fit("experiments", label, row)
        rows = self._tables.pairs("experiment_tags", label, owner, tags)
        created = number in self._created
        if created or self._tables.overwrite:
            equal = self._update(number, row, rows)
            outcome = UNCHANGED if equal else RESTORED if created else REPLACED
            self._tables.report.count("experiment", outcome)
            return
        parts = [Part("experiments", owner, [row]), Part("experiment_tags", owner, rows)]
        self._tables.put(Record("experiment", label, parts))

    def _location_of(self, experiment: Experiment, number: int) -> str:
        location = experiment.artifact_location
        if location is None or (self._tables.extends and not is_anywhere(location)):
            return self.location(number)
        return location

    def _update(self, number: int, row: Row, tags: list[Row]) -> bool:
        """Update a row, unless it is equal; return whether it is.

        Runs refer to the row, so that it cannot be deleted and inserted like others.
        """
        table = self._tables.all["experiments"]
        owner = {"experiment_id": number}
        with self._tables.engine.begin() as connection:
            old = self._tables.first(connection, "experiments", owner) or {}
            old_tags = self._tables.rows(connection, "experiment_tags", owner)
            if row.items() <= old.items() and _values(old_tags) == _values(tags):
                return True
            connection.execute(update(table).where(table.c.experiment_id == number).values(**row))
            self._tables.delete(connection, "experiment_tags", owner)
            self._tables.insert(connection, "experiment_tags", tags)
        return False

    def _unique_name(self, experiment: Experiment, number: int) -> tuple[str, dict[str, str]]:
        """Return a name that no other experiment has, and the tags."""
        table = self._tables.all["experiments"]
        query = select(table.c.name).where(table.c.experiment_id != number)
        with self._tables.engine.connect() as connection:
            names = {row.name for row in connection.execute(query)}
        original = experiment.experiment_id
        wanted = experiment.name if experiment.name is not None else original
        name, count = wanted, 1
        while name in names:
            suffix = original if count == 1 else f"{original}.{count}"
            name, count = f"{wanted} ({suffix})", count + 1
        tags = dict(experiment.tags)
        if name != wanted:
            tags[ORIGINAL_NAME] = wanted
            self._tables.report.add_change(
                f"experiment {original}",
                f"names are unique in MLflow: {wanted!r} is {name!r}, with a tag {ORIGINAL_NAME}",
            )
        return name, tags


def _values(tags: Iterable[Row]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in tags}
