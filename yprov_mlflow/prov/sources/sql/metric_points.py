"""Metric points of a run, streamed: in MLflow's own order, one key after the other.

The tables keep no order of logging. MLflow reads a metric by time stamp, step and value; that,
and keys by their code points, is the order here, on every database the same.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from yprov_mlflow.prov.sources.sql.query_reader import Reader

MOST_POINTS = 8192
"""Points of one event."""

_SECONDS = (10**8, 10**11)
"""Time stamps that mean seconds where a table has no steps: from 1973 to 5138."""

_COLUMNS = ("key", "timestamp", "step", "value", "is_nan")
_ORDER = ("key", "timestamp", "step", "value", "is_nan")
_NOT = (None, 0, False, "0", b"\0")
"""What databases give for a flag that is not set."""

Row = tuple[Any, ...]
Batch = tuple[Any, ...]


class Metrics:
    """The points of one run; of which logged models they are also is told with them."""

    def __init__(self, reader: Reader, run_id: str, measured: Sequence[str]) -> None:
        """Name the run and the logged models that have metrics from it."""
        self._reader = reader
        self._run_id = run_id
        self._measured = list(measured)
        self._bad = 0
        self._first_bad = ""

    def batches(self) -> Iterator[Batch]:
        """Give the fields of ``MetricsLogged``, header left out, for each event."""
        if not self._reader.schema.has("metrics", "run_uuid", "key", "value"):
            return
        statement = self._with_models() if self._measured else self._plain()
        waiting: list[Row] = []
        for chunk in self._reader.chunks(statement):
            for key, rows in groupby(chunk, itemgetter(0)):
                if waiting and waiting[0][0] != key:
                    yield from self._batch(waiting)
                    waiting = []
                waiting += rows
                while len(waiting) > MOST_POINTS:
                    yield from self._batch(waiting[:MOST_POINTS])
                    waiting = waiting[MOST_POINTS:]
        if waiting:
            yield from self._batch(waiting)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Give what was wrong with points, and what of them is lost."""
        if self._bad:
            more = f" and {self._bad - 1} more" if self._bad > 1 else ""
            yield f"points that are no numbers: {self._first_bad}{more}", "these points"

    # -- queries -----------------------------------------------------------------------

    def _plain(self) -> Any:
        import sqlalchemy

        reader, table = self._reader, self._reader.schema.tables["metrics"]
        statement = sqlalchemy.select(*reader.columns("metrics", _COLUMNS)).select_from(table)
        order = (reader.ordered(table.c[name]) for name in _ORDER if name in table.c)
        return statement.where(reader.of_run("metrics", self._run_id)).order_by(*order)

    def _with_models(self) -> Any:
        """Ask for each point also for what logged models have of it, the least id first."""
        import sqlalchemy

        reader = self._reader
        points, measured = (
            reader.schema.tables[name] for name in ("metrics", "logged_model_metrics")
        )
        statement = (
            sqlalchemy.select(
                *reader.columns("metrics", _COLUMNS),
                measured.c.model_id,
                *reader.columns("logged_model_metrics", ("dataset_name", "dataset_digest")),
            )
            .select_from(points.outerjoin(measured, same_point(reader, self._measured)))
            .where(reader.of_run("metrics", self._run_id))
        )
        order = [reader.ordered(points.c[name]) for name in _ORDER if name in points.c]
        return statement.order_by(*order, measured.c.model_id)

    # -- events ------------------------------------------------------------------------

    def _batch(self, rows: list[Row]) -> Iterator[Batch]:
        models: list[str | None] | None = None
        datasets: list[list[str] | None] | None = None
        if self._measured:
            rows = list(told_apart(rows))
            models = [row[5] for row in rows] if any(row[5] for row in rows) else None
            datasets = [_dataset(row) for row in rows]
        columns = self._columns(rows)
        if columns is None:
            rows = [(row[0], integer(row[1]), integer(row[2]), *row[3:]) for row in rows]
            rows = [row for row in rows if self._good(row)]
            columns = self._columns(rows) if rows else None
            if models is not None:
                models = [row[5] for row in rows]
            if datasets is not None:
                datasets = [_dataset(row) for row in rows]
        if columns is None:
            return
        keys = [str(rows[0][0])] * len(rows)
        if datasets is not None and not any(datasets):
            datasets = None
        yield (keys, *columns, (), None, models, datasets)

    def _columns(self, rows: list[Row]) -> tuple[Any, Any, Any] | None:
        """Give values, time stamps and steps; None if one of them is no number."""
        _, timestamps, steps, values, nans = list(zip(*rows, strict=True))[:5]
        try:
            found = array("d", values)
            stamps = array("q", timestamps)
            whole = array("q", steps) if steps[0] is not None else None
        except (TypeError, OverflowError):
            return None
        for i, flag in enumerate(nans):
            if flag not in _NOT:
                found[i] = math.nan
        if whole is None:
            least, most = _SECONDS
            stamps = array("q", (s * 1000 if least <= s < most else s for s in stamps))
            whole = array("q", bytes(8 * len(stamps)))
        return found, stamps, whole

    def _good(self, row: Row) -> bool:
        if self._columns([row]) is not None:
            return True
        self._bad += 1
        self._first_bad = self._first_bad or ascii(row[:4])
        return False


def integer(number: Any) -> Any:
    """Give a time stamp or step: SQLite has the bytes of one that numpy made."""
    return int.from_bytes(number, "little", signed=True) if isinstance(number, bytes) else number


def in_seconds(reader: Reader, run_id: str) -> bool:
    """Tell whether time stamps of a run are in seconds, as those of MLflow before 1.0 are."""
    import sqlalchemy

    if reader.schema.has("metrics", "step") or not reader.schema.has("metrics", "timestamp"):
        return False
    table = reader.schema.tables["metrics"]
    least, most = _SECONDS
    statement = sqlalchemy.select(table.c.timestamp).where(
        reader.of_run("metrics", run_id),
        table.c.timestamp >= least,
        table.c.timestamp < most,
    )
    return any(True for _ in reader.chunks(statement.limit(1), streamed=False))


def same_point(reader: Reader, models: Sequence[str]) -> Any:
    """Give the condition under which a point of a run is one of a logged model's, too."""
    import sqlalchemy

    points, measured = (reader.schema.tables[n] for n in ("metrics", "logged_model_metrics"))
    return sqlalchemy.and_(
        measured.c.model_id.in_(models),
        measured.c.run_id == points.c.run_uuid,
        measured.c.metric_name == points.c.key,
        measured.c.metric_timestamp_ms == points.c.timestamp,
        measured.c.metric_step == points.c.step,
        measured.c.metric_value == points.c.value,
    )


def told_apart(rows: Sequence[Row]) -> Iterator[Row]:
    """Give each point once, with the first model that no point like it has.

    A point comes once for each model that has it. Not a number and zero are one value to
    models' metrics and two to those of runs.
    """
    for _, alike in groupby(rows, lambda row: row[1:4]):
        taken: set[object] = set()
        for _, same in groupby(alike, lambda row: row[4] not in _NOT):
            found = list(same)
            free = (row for row in found if row[5] is not None and row[5] not in taken)
            chosen = next(free, (*found[0][:5], None, None, None))
            taken.add(chosen[5])
            yield chosen


def _dataset(row: Row) -> list[str] | None:
    name, digest = row[6], row[7]
    return [str(name), str(digest)] if name is not None and digest is not None else None
