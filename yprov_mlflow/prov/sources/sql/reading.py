"""What all readers of a database share: a transaction, ids by run, and values as JSON."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.serialize import integer
from yprov_mlflow.prov.sources.artifact_finder import ArtifactFinder
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Record, Unreadable
from yprov_mlflow.prov.sources.state_events import SOURCE_RUN, EventFactory

_LONGEST_NUMBER = 40

MODELS = "logged models that the run created"
MEASURED_MODELS = "logged models that have metrics from the run"
TRACES = "traces that the run created"
LINKED_TRACES = "traces that were linked to the run later"
# By kind: the table, its columns with the run and the id, and the values of other columns.
_TABLES: dict[str, tuple[str, tuple[str, str], dict[str, str]]] = {
    MODELS: ("logged_models", ("source_run_id", "model_id"), {}),
    MEASURED_MODELS: ("logged_model_metrics", ("run_id", "model_id"), {}),
    TRACES: ("trace_request_metadata", ("value", "request_id"), {"key": SOURCE_RUN}),
    LINKED_TRACES: (
        "entity_associations",
        ("destination_id", "source_id"),
        {"source_type": "trace", "destination_type": "run"},
    ),
}


class Index:
    """Ids by run, each kind read from the database on first use.

    MLflow's tables lack an index from a run to its models and traces. Reading them for each run
    would take quadratic time.
    """

    def __init__(self) -> None:
        self._experiments: dict[object, str | None] | None = None
        self._ids: dict[str, dict[str, list[str]]] = {}

    def experiment_name(self, reader: Reader, experiment_id: object) -> str | None:
        """Return the name of an experiment, None if it does not exist."""
        if self._experiments is None:
            self._experiments = dict(reader.rows("experiments", ("experiment_id", "name")))
        name = self._experiments.get(experiment_id)
        return None if name is None else str(name)

    def ids(self, reader: Reader, kind: str, run_id: str) -> list[str]:
        """Return the ids of a kind (see ``_TABLES``) that belong to a run, sorted."""
        if kind not in self._ids:
            table, columns, where = _TABLES[kind]
            ids: dict[str, list[str]] = defaultdict(list)
            # A run has many points of one model.
            rows = reader.rows(table, columns, where, distinct=kind == MEASURED_MODELS)
            for owner, item in rows:
                if owner is not None and item is not None:
                    ids[str(owner)].append(str(item))
            self._ids[kind] = {owner: sorted(items) for owner, items in ids.items()}
        return self._ids[kind].get(run_id, [])


@dataclasses.dataclass
class Reading:
    """Everything that is needed to read one run, or the contents that belong to no run."""

    reader: Reader
    events: EventFactory
    index: Index
    artifacts: ArtifactFinder
    report: Callable[[Problem], None]

    def associated(self, source: str, source_id: str, destination: str) -> list[str]:
        """Return the ids of one kind that are associated with an object, sorted."""
        where = {"source_type": source, "source_id": source_id, "destination_type": destination}
        rows = self.reader.rows("entity_associations", ("destination_id",), where)
        return sorted(str(destination_id) for (destination_id,) in rows)

    def whole(self, value: Any, name: str, where: str) -> int | None:
        """Return a time or step as an integer; report a value that is anything else.

        SQLite keeps numbers with a fraction, and text, in columns of integers.
        """
        whole = whole_part(value)
        if isinstance(value, float) and whole is not None:
            reason = f"{name} has a fraction, which is cut off: {value!r}"
            self.report(Problem(where, reason, "the fraction"))
        elif value is not None and whole is None:
            self.report(Problem(where, f"{name} is not a number: {value!r}", name))
        return whole

    def whole_times(self, record: Record, columns: Iterable[str], where: str) -> None:
        """Replace times of a record that are not integers, and report them."""
        record |= {column: self.whole(record.get(column), column, where) for column in columns}

    def guard(self, where: str, lost: str, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events for as long as the database can be read; then report a problem."""
        try:
            yield from events
        except Unreadable as error:
            self.report(Problem(where, f"cannot be read: {error}", lost))


# -- values ------------------------------------------------------------------------------


def json_value(value: Any) -> Json:
    """Return a database value as JSON: times as ISO 8601, bytes as Base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if value is None or isinstance(value, str | bool | int | float | list | dict):
        return value
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if callable(isoformat) else str(value)


def extra_fields(record: Record, columns: Iterable[str]) -> dict[str, Any]:
    """Return the values of columns other than these, such as those of a later schema."""
    extra = {name: record[name] for name in record if name not in columns}
    return {name: json_value(value) for name, value in extra.items() if value is not None}


def whole_part(value: Any) -> int | None:
    """Return a time or step without its fraction; None if it is not a number."""
    value = integer(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    return value if isinstance(value, int) else None


def text_or_none(value: object) -> str | None:
    """Return a value, of any type in a damaged table, as text; None for NULL."""
    return str(value) if value is not None else None


def number_key(value: object) -> tuple[bool, int, str]:
    """Return a sort key for ids and times: NULL first, then numbers, then anything else."""
    text = str(value or 0)
    if text.isdecimal() and len(text) < _LONGEST_NUMBER:
        return False, int(text), ""
    return True, 0, text
