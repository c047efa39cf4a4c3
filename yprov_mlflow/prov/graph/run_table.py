"""Many runs as a table: filtered, sorted, and the Pareto front of loss against energy."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from yprov_mlflow.prov.errors import GraphError, ThingError, UsageError
from yprov_mlflow.prov.graph.lookup import about, first, iri, text, values
from yprov_mlflow.prov.graph.run_filter import Value, conditions, number_of, plain
from yprov_mlflow.prov.graph.run_rows import DIGEST, FACTS, QUANTITIES, ROWS
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.thing_names import resolve
from yprov_mlflow.prov.graph.things import current_value
from yprov_mlflow.prov.model.identifiers import segment

_ALL = (*FACTS, "duration", *QUANTITIES)
UNITS: Mapping[str, str] = {
    "duration": "s",
    "energy": "kWh",
    "energy_node": "kWh",
    "emissions": "g CO2e",
    "emissions_own": "g CO2e",
}
"""The units of columns."""

DEFAULT_COLUMNS = ("name", "run_id", "experiment", "status", "start", "duration", "energy")
_FEW = 200  # up to so many runs, asking about each is faster than asking about all
_STATISTIC = re.compile(r"(min|max|first|last)\((.*)\)\Z")


class Question(NamedTuple):
    """A question about many runs.

    Attributes:
        where: A filter, such as ``metrics.loss < 0.3 and params.lr = 0.1``.
        columns: Further columns: ``metrics.KEY``, ``min(KEY)``, ``params.KEY``, ``tags.KEY``,
            ``energy`` (kWh of the run itself), ``energy_node`` (of the node meanwhile),
            ``emissions`` (g), ``emissions_own`` (g of the run itself), ``duration`` (s) and so on;
            another name is that of a metric.
        sort: A column; a minus sign in front of it sorts descending.
        experiment: Name of an experiment.
        since: The earliest start, as ISO 8601.
        after_commit: Only runs of code that was committed after this commit.
        pareto: Columns separated by commas; only runs are kept that no other run equals or betters
            in all of them. Smaller is better, larger after ``max:``.
    """

    where: str = ""
    columns: Sequence[str] = ()
    sort: str = ""
    experiment: str = ""
    since: str = ""
    after_commit: str = ""
    pareto: str = ""


class RunTable:
    """Runs with their columns.

    Attributes:
        columns: The names of the columns.
        rows: For each run the values of all columns; None where a run lacks one.
        left_out: Number of runs without a value to compare for the Pareto front.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Mapping[str, Value]], left_out: int = 0
    ) -> None:
        self.columns = tuple(columns)
        self.rows = [{column: row.get(column) for column in columns} for row in rows]
        self.left_out = left_out

    def __len__(self) -> int:
        return len(self.rows)

    def to_dict(self) -> list[dict[str, Value]]:
        """Return the rows as JSON objects; numbers that JSON lacks become text."""
        return [{key: _json(value) for key, value in row.items()} for row in self.rows]

    def to_csv(self) -> str:
        """Return the rows as CSV, with a header."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return stream.getvalue()

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``."""
        import pandas  # type: ignore[import-untyped] # MLflow's dependency; it takes a second to load

        return pandas.DataFrame(self.rows, columns=list(self.columns))


def runs(graph: Graph, question: Question = Question()) -> RunTable:  # noqa: B008 - immutable
    """Return the runs of a graph that a question asks for.

    Raises:
        UsageError: The filter, date or a column is not valid.
        ThingError: The commit is not in the graph.
    """
    filters = conditions(question.where)
    objectives = [_objective(part) for part in question.pareto.split(",") if part.strip()]
    sort = plain(question.sort.removeprefix("-").strip())
    asked = [c.column for c in filters] + [o.column for o in objectives] + ([sort] if sort else [])
    shown = dict.fromkeys([*DEFAULT_COLUMNS, *map(plain, question.columns), *asked])
    columns = _Columns(graph)
    columns.check(dict.fromkeys([*map(plain, question.columns), *asked]))
    if question.experiment:
        columns.keep("experiment", lambda value: value == question.experiment)
    if question.since:
        since = _instant(question.since)
        columns.keep("start", lambda value: value is not None and _instant(str(value)) >= since)
    if question.after_commit:
        later = _commits_after(graph, question.after_commit)
        columns.keep("commit", lambda value: value in later)
    for condition in filters:
        columns.keep(condition.column, condition.holds)
    left_out = columns.keep_front(objectives)
    candidates = columns.rows(shown)
    key = sort or (objectives[0].column if objectives else "start")
    ordered = sorted(candidates, key=lambda row: _order(row.get(key)))
    if question.sort.startswith("-") or not (sort or objectives):
        ordered = [r for r in ordered if r.get(key) is not None][::-1] + [
            r for r in ordered if r.get(key) is None
        ]
    return RunTable(list(shown), ordered, left_out)


# -- columns ---------------------------------------------------------------------------


class _Columns:
    """The values of runs by column, each read when it is first needed, for all runs at once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._rows = _rows_in(graph)
        self._names = list(self._rows)
        self._values: dict[str, dict[str, Value]] = {}

    def check(self, columns: Iterable[str]) -> None:
        """Raise a ``UsageError`` for a metric, param or tag that no run has."""
        for column in columns if self._names else ():
            if column not in _ALL and all(v is None for v in self._read(column).values()):
                what = f"no run has {column!r}"
                cure = f"Metrics are named by their key; other columns: {', '.join(_ALL)},"
                raise UsageError(what, None, f"{cure} params.KEY, tags.KEY, min(KEY), max(KEY)")

    def keep(self, column: str, holds: Any) -> None:
        """Keep the runs whose value of a column meets a condition."""
        of_runs = self._read(column)
        self._names = [name for name in self._names if holds(of_runs.get(name))]

    def keep_front(self, objectives: Sequence[_Objective]) -> int:
        """Keep the runs that no other run equals or betters; return how many cannot compare."""
        if not objectives:
            return 0
        tables = [self._read(objective.column) for objective in objectives]
        points = [([number_of(table.get(name)) for table in tables], name) for name in self._names]
        comparable = [
            (tuple((n or 0.0) * o.sign for n, o in zip(numbers, objectives, strict=True)), name)
            for numbers, name in points
            if all(number is not None and not math.isnan(number) for number in numbers)
        ]
        left_out = len(self._names) - len(comparable)
        self._names = _front(comparable)
        return left_out

    def rows(self, columns: Iterable[str]) -> list[dict[str, Value]]:
        """Return the columns of all runs that were kept."""
        tables = {column: self._read(column) for column in columns}
        return [{c: tables[c].get(name) for c in tables} for name in self._names]

    def _read(self, column: str) -> dict[str, Value]:
        if column not in self._values:
            self._values[column] = self._of_runs(column)
        return self._values[column]

    def _of_runs(self, column: str) -> dict[str, Value]:
        start, _, key = column.partition(".")
        statistic = _STATISTIC.match(column)
        if column == "duration":
            return {name: _duration(row) for name, row in self._rows.items()}
        if column in _ALL:
            return {name: row.get(column) for name, row in self._rows.items()}
        if start == "params" and key:
            return self._local(f"param/{segment(key)}", "mlf:text")
        if start == "tags" and key:
            return {
                n: current_value(self._graph, f"{_namespace(n)}tag/{segment(key)}")
                for n in self._names
            }
        metric = statistic[2].removeprefix("metrics.") if statistic else column
        term = f"mlf:{statistic[1]}" if statistic else "mlf:last"
        metric = metric.removeprefix("metrics.")
        of_series = self._local(f"metric/@run/{segment(metric)}", term)
        return {name: number_of(_xsd(str(value))) for name, value in of_series.items()}

    def _local(self, local: str, predicate: str) -> dict[str, Value]:
        """Return the value of a record that each run has under its own namespace."""
        records = {f"{_namespace(name)}{local}": name for name in self._names}
        if len(records) > _FEW:
            quads = self._graph.quads(None, iri(predicate))
            return {records[s]: text(q.object) for q in quads if (s := text(q.subject)) in records}
        statements = about(self._graph, list(records), predicate)
        return {
            name: value
            for record, name in records.items()
            if (value := first(statements[record], predicate)) is not None
        }


def _rows_in(graph: Graph) -> dict[str, dict[str, Value]]:
    """Return the rows of all runs in a graph by their IRIs.

    Raises:
        GraphError: The graph cannot be read, or an earlier version wrote it without rows.
    """
    rows: dict[str, dict[str, Value]] = {}
    documents = 0
    for quad in graph.quads(None, ROWS.value):
        documents += 1
        for row in orjson.loads(text(quad.object)):
            name = row.pop("run")
            known = rows.get(name, {})
            # Others may name a run, but its own document knows it best.
            is_own = _namespace(name) == _namespace(text(quad.subject))
            rows[name] = known | row if is_own else row | known
    if documents < sum(1 for _ in graph.quads(None, DIGEST.value)):
        raise GraphError.damaged("the index", "an earlier version of yprov-mlflow wrote it")
    return rows


def _namespace(iri: str) -> str:
    """Return the namespace of a run, with which the names of its records begin."""
    return iri.rpartition("#")[0] + "#"


def _duration(row: Mapping[str, Value]) -> float | None:
    start, end = row.get("start"), row.get("end")
    return (_instant(str(end)) - _instant(str(start))).total_seconds() if start and end else None


def _xsd(number: str) -> str:
    return {"INF": "inf", "-INF": "-inf"}.get(number, number)


def _commits_after(graph: Graph, name: str) -> set[str]:
    match = resolve(graph, f"commit:{name.removeprefix('commit:')}")
    times = about(graph, match.records, "mlf:gitCommitTime")
    of_commit = [v for s in times.values() for v in values(s.get("mlf:gitCommitTime", ()))]
    if not of_commit:
        raise ThingError.missing(name, "time of a commit")
    later = set()
    for quad in graph.quads(None, iri("mlf:gitCommitTime")):
        if _instant(text(quad.object)) > _instant(of_commit[0]):
            code = about(graph, [text(quad.subject)], "mlf:gitCommit")[text(quad.subject)]
            later.update(values(code.get("mlf:gitCommit", ())))
    return later


def _instant(when: str) -> datetime:
    try:
        moment = datetime.fromisoformat(when)
    except ValueError as error:
        cure = "Write a date such as 2026-01-31 or 2026-01-31T12:00"
        raise UsageError(f"{when!r} is not a date", None, cure) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# -- order -----------------------------------------------------------------------------


class _Objective(NamedTuple):
    column: str
    sign: int


def _objective(part: str) -> _Objective:
    sense, colon, column = part.strip().partition(":")
    if colon and sense in ("min", "max"):
        return _Objective(plain(column), -1 if sense == "max" else 1)
    return _Objective(plain(part.strip()), 1)


def _front(points: Iterable[tuple[tuple[float, ...], str]]) -> list[str]:
    """Return the runs that no other run equals or betters in all objectives."""
    front: list[tuple[tuple[float, ...], str]] = []
    # In this order, no later point betters an earlier one.
    for point, name in sorted(points):
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other, _ in reversed(front)
        ):
            front.append((point, name))
    return [name for _, name in front]


def _order(value: Value) -> tuple[int, float, str]:
    number = number_of(value)
    if value is None or (number is not None and math.isnan(number)):
        return (2, 0.0, "")
    return (0, number, "") if number is not None else (1, 0.0, str(value))


def _json(value: Value) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"
    return value
