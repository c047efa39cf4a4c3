"""What all readers of a database share: a transaction, ids by run, and values as JSON."""

from __future__ import annotations

import base64
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.redaction import redact, redact_field
from yprov_mlflow.prov.sources.artifact_finder import ArtifactFinder
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Record, Unreadable
from yprov_mlflow.prov.sources.state_events import SOURCE_RUN, EventFactory

_LONGEST_NUMBER = 40

Ids = dict[str, list[str]]


class Index:
    """Ids by run, each kind read from the database on first use.

    MLflow's tables lack an index from a run to its models and traces. Reading them for each run
    would take quadratic time.
    """

    def __init__(self) -> None:
        self._experiments: dict[object, str | None] | None = None
        self._ids: dict[str, Ids] = {}

    def experiment_name(self, reader: Reader, experiment_id: object) -> str | None:
        """Return the name of an experiment, None if it does not exist."""
        if self._experiments is None:
            self._experiments = dict(reader.rows("experiments", ("experiment_id", "name")))
        name = self._experiments.get(experiment_id)
        return None if name is None else str(name)

    def models(self, reader: Reader, run_id: str) -> list[str]:
        """Return the ids of the logged models that the run created."""
        columns = ("source_run_id", "model_id")
        return self._of_run("models", run_id, lambda: reader.rows("logged_models", columns))

    def measured_models(self, reader: Reader, run_id: str) -> list[str]:
        """Return the ids of the logged models that have metrics from the run."""

        def pairs() -> Iterator[tuple[Any, ...]]:
            if reader.schema.has("logged_model_metrics", "run_id", "model_id"):
                table = reader.schema.tables["logged_model_metrics"]
                statement = sqlalchemy.select(table.c.run_id, table.c.model_id).distinct()
                for chunk in reader.chunks(statement):
                    yield from chunk

        return self._of_run("measured models", run_id, pairs)

    def traces(self, reader: Reader, run_id: str) -> list[str]:
        """Return the ids of the traces that the run created."""
        columns, where = ("value", "request_id"), {"key": SOURCE_RUN}
        return self._of_run(
            "traces", run_id, lambda: reader.rows("trace_request_metadata", columns, where)
        )

    def linked_traces(self, reader: Reader, run_id: str) -> list[str]:
        """Return the ids of the traces that were linked to the run later."""
        columns = ("destination_id", "source_id")
        where = {"source_type": "trace", "destination_type": "run"}
        return self._of_run(
            "linked traces", run_id, lambda: reader.rows("entity_associations", columns, where)
        )

    def _of_run(
        self, kind: str, run_id: str, pairs: Callable[[], Iterable[tuple[Any, ...]]]
    ) -> list[str]:
        if kind not in self._ids:
            ids: Ids = defaultdict(list)
            for owner, item in pairs():
                if owner is not None:
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


def text_pairs(pairs: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """Return keys and values as text; NULL, which MLflow never writes, becomes empty text."""
    return {str(key): "" if value is None else str(value) for key, value in pairs}


def extra_fields(record: Record, columns: Iterable[str]) -> dict[str, Any]:
    """Return the values of columns other than these, such as those of a later schema."""
    extra = {name: redact_field(name, record[name]) for name in record if name not in columns}
    return {name: json_value(value) for name, value in extra.items() if value is not None}


def present(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of the fields that are not NULL."""
    return {name: record[name] for name in names if record.get(name) is not None}


def redacted(uri: object) -> str | None:
    """Return a URI without its password."""
    return redact(str(uri)) if uri is not None else None


def number_key(value: object) -> tuple[bool, int, str]:
    """Return a sort key for ids and times: NULL first, then numbers, then anything else."""
    text = str(value or 0)
    if text.isdecimal() and len(text) < _LONGEST_NUMBER:
        return False, int(text), ""
    return True, 0, text
