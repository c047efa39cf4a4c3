"""Contexts, metric points and artifacts of one rank as timed events, as capture has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov import events, ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats.metric_files.yprov4ml_files import Columns
from yprov_mlflow.prov.redaction import redact_event
from yprov_mlflow.prov.sources.yprov4ml.rank_content import Context, RankContent

_SLACK_NS = 2_000_000_000
"""How far a point may lie outside the run: yProv4ML writes some times in ms and some later."""


class Series(NamedTuple):
    """A metric series: its key in MLflow, its context and its points."""

    key: str
    context: str
    columns: Columns


class RankEvents:
    """Makes the events of one rank; its process is a session.

    Args:
        run_id: MLflow's id of the run.
        rank: Number of the rank.
        ranks: Number of ranks.
        content: The content of the rank's document.
        span_ns: Start and end of the run in ns, 0 if unknown.
    """

    def __init__(
        self, run_id: str, rank: int, ranks: int, content: RankContent, span_ns: tuple[int, int]
    ) -> None:
        self._run_id = run_id
        self._rank, self._ranks = rank, ranks
        self._content = content
        self._start_ns, self._end_ns = span_ns
        self._session = ids.session_token(run_id, rank, self._start_ns)
        self._timed: list[tuple[int, type[Event], tuple[Any, ...]]] = []
        self._untimed: list[tuple[type[Event], tuple[Any, ...]]] = []

    def add_contexts(self, starts_ns: Mapping[str, int]) -> None:
        """Add the contexts whose start is known, outer ones first."""
        paths = {name: path_of(name, self._content.contexts) for name in self._content.contexts}
        for name, path in sorted(paths.items(), key=lambda item: len(item[1])):
            if time_ns := self._valid(starts_ns.get(name, 0)):
                # An inner context cannot start before an outer one, although files may say so.
                outer = [starts_ns.get(part, 0) for part in path[:-1]]
                self._timed.append((max(time_ns, *outer, 0), events.ContextEntered, (path,)))

    def add_points(self, series: Iterable[Series]) -> None:
        """Add metric points, those logged at one time in one context as one event."""
        groups: dict[tuple[int, str], list[tuple[str, float, int, int]]] = {}
        for item in series:
            for epoch, value, time_ms in zip(*item.columns, strict=True):
                time_ns = self._valid(time_ms * 1_000_000)
                row = (item.key, value, time_ms, epoch)
                groups.setdefault((time_ns, item.context), []).append(row)
        for (time_ns, context), rows in groups.items():
            path = path_of(context, self._content.contexts) if context else ()
            columns = [list(column) for column in zip(*rows, strict=True)]
            fields = (*columns, [path] if path else ())
            if time_ns:
                self._timed.append((time_ns, events.MetricsLogged, fields))
            else:
                self._untimed.append((events.MetricsLogged, fields))

    def add_file(self, file: Mapping[str, Any], context: str, time_ns: int) -> None:
        """Add an artifact."""
        path = path_of(context, self._content.contexts) if context else ()
        if time_ns := self._valid(time_ns):
            self._timed.append((time_ns, events.ArtifactsLogged, ([file], None, path)))
        else:
            self._untimed.append((events.ArtifactsLogged, ([file], None, path)))

    def timed(self) -> Iterator[Event]:
        """Yield the events of the rank's session in order of time, the session first."""
        if not self._timed and not self._start_ns:
            return
        times = [time_ns for time_ns, _, _ in self._timed]
        start_ns = min([*times, *([self._start_ns] if self._start_ns else [])])
        rows: list[tuple[int, type[Event], tuple[Any, ...]]] = []
        rows.append((start_ns, events.SessionStarted, (self._facts(),)))
        if host := self._host():
            rows.append((start_ns, events.FactsCollected, ("host", host)))
        rows += sorted(self._timed, key=lambda row: row[0])
        for sequence, (time_ns, cls, fields) in enumerate(rows):
            redacted = redact_event(cls.kind, fields)
            yield cls(self._run_id, self._session, sequence, time_ns, *redacted)

    def untimed(self) -> Iterator[tuple[type[Event], tuple[Any, ...]]]:
        """Yield classes and fields of the events whose time is unknown."""
        yield from self._untimed

    def _valid(self, time_ns: int) -> int:
        """Return a time if it can be one of the run, else 0: users may pass any timestamp."""
        end_ns = self._end_ns or time_ns
        is_inside = self._start_ns - _SLACK_NS <= time_ns <= end_ns + _SLACK_NS
        return time_ns if self._start_ns and is_inside else 0

    def _facts(self) -> dict[str, Any]:
        fields = self._content.fields
        facts: dict[str, Any] = {
            "host": fields.get("host_name"),
            "user": self._content.user,
            "python": fields.get("python_version", "").partition(" ")[0] or None,
        }
        if self._ranks > 1:
            facts |= {"rank": self._rank, "world_size": self._ranks}
        return {name: value for name, value in facts.items() if value is not None}

    def _host(self) -> dict[str, Any]:
        fields = self._content.fields
        names = {
            "hostname": "host_name",
            "os": "operating_system",
            "release": "release",
            "machine": "machine",
            "cpu_model": "processor",
        }
        return {name: fields[field] for name, field in names.items() if fields.get(field)}


def path_of(name: str, contexts: Mapping[str, Context]) -> tuple[str, ...]:
    """Return the names of nested contexts, outermost first; a cycle of contexts is cut."""
    path = [name]
    while (context := contexts.get(path[0])) is not None and context.parent is not None:
        if context.parent in path:
            break
        path.insert(0, context.parent)
    return tuple(path)
