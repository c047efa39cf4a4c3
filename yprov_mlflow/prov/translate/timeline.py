"""Sessions and contexts of a run as time spans; the activity that an event belongs to.

A run is open from its start until the last of its ends, and again from each resume on. A process
that writes while the run is open is a session; what it writes in between is a session after the
end.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from yprov_mlflow.prov.events import STORE_SESSION, TERMINAL, ContextEntered, ContextLeft, Event
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment

Path = tuple[str | int, ...]
"""Names of contexts and numbers of epochs, outermost first."""


def event_time(event: Event) -> int:
    """Return the time of an event in ns; 0 for events that were read from a store later."""
    return 0 if event.session == STORE_SESSION else event.time_ns


@dataclasses.dataclass
class Span:
    """The time span of a session, context or epoch.

    Attributes:
        identifier: Id of its activity.
        token: Token of the session.
        start_ns: Time of its first event.
        end_ns: None while unknown.
        last_ns: Time of its last event.
        rank: Rank of the process in a distributed run.
        phase: Phase of the run that a session is in, as numbered by ``RunPhases``.
        after_end: Whether a session writes to a run that has ended.
        status: Status that the session gave the run when ending it.
        path: Path of a context; empty for a session.
        parent: Id of the activity around a context.
        failed: Whether an exception ended a context.
        informant: Id of the session before a session, or of the session of a context.
        resumed: Whether a session continues the work of ``informant``.
    """

    identifier: str
    token: str
    start_ns: int
    end_ns: int | None
    last_ns: int
    rank: int = 0
    phase: int = 0
    after_end: bool = False
    status: str | None = None
    path: Path = ()
    parent: str = ""
    failed: bool = False
    informant: str | None = None
    resumed: bool = False


@dataclasses.dataclass(frozen=True)
class StatusChange:
    """A change of the run's status by the session ``token``."""

    time_ns: int
    token: str
    status: str
    end_time_ms: int | None = None

    @property
    def terminal(self) -> bool:
        """Whether it ended the run."""
        return self.status in TERMINAL


class RunPhases:
    """The intervals in which a run was open (even index) and closed (odd index)."""

    def __init__(self, changes: Iterable[StatusChange]) -> None:
        self._ends: list[StatusChange] = []
        self._resumes: list[StatusChange] = []
        for change in changes:
            if change.terminal:
                # Ranks each end the run; the last of these ends counts.
                if len(self._ends) > len(self._resumes):
                    self._ends[-1] = change
                else:
                    self._ends.append(change)
            elif len(self._resumes) < len(self._ends) and change.time_ns > self._ends[-1].time_ns:
                self._resumes.append(change)
        self._bounds: list[int] = []
        for i, end in enumerate(self._ends):
            # The update that ends a phase is part of it; the one that resumes starts the next.
            self._bounds.append(end.time_ns + 1)
            if i < len(self._resumes):
                self._bounds.append(self._resumes[i].time_ns)

    def at(self, time_ns: int) -> int:
        """Return the phase at a time."""
        return bisect.bisect_right(self._bounds, time_ns)

    def end_of(self, phase: int) -> StatusChange | None:
        """Return the change that ended an open phase."""
        index = phase // 2
        return self._ends[index] if phase % 2 == 0 and index < len(self._ends) else None

    def resumed_by(self, phase: int) -> str | None:
        """Return the token of the session that resumed the run after a closed phase."""
        index = phase // 2
        return self._resumes[index].token if phase % 2 and index < len(self._resumes) else None


class Timeline:
    """Sessions and contexts of a run; to be built when all events are known.

    Args:
        event_times: For each session token the times of its events.
        changes: Timed changes of status, in order of time.
        ranks: Rank of each session token, where it is not 0.
        ended: Whether the run has ended, even if the time of the end is unknown.
        store_level: Whether the document is of a store: its sessions belong to no run.
    """

    def __init__(
        self,
        event_times: Mapping[str, Iterable[int]],
        changes: Sequence[StatusChange],
        ranks: Mapping[str, int],
        *,
        ended: bool = False,
        store_level: bool = False,
    ) -> None:
        self.root_activity = f"{STORE}:session/{STORE_SESSION}" if store_level else f"{RUN}:run"
        self._phases = RunPhases(() if store_level else changes)
        self._ranks = ranks
        self._ended = ended
        self._store_level = store_level
        self._spans = {
            token: self._split_by_phase(token, sorted(set(times)))
            for token, times in event_times.items()
        }
        self._add_spans_of_changes(changes)
        self._set_ends()
        self.sessions = sorted(
            (span for spans in self._spans.values() for span in spans),
            key=lambda span: (span.start_ns, span.token, span.phase),
        )
        self._set_identifiers()
        if not store_level:
            self._set_informants()
        self.contexts: list[Span] = []
        self._context_spans: dict[tuple[str, Path], list[Span]] = {}

    # -- sessions ----------------------------------------------------------------------

    def _split_by_phase(self, token: str, times: list[int]) -> list[Span]:
        """Return one span for each phase in which a process wrote."""
        spans: dict[int, Span] = {}
        for time_ns in times:
            phase = self._phases.at(time_ns)
            # A process that resumes a run writes its first events just before the update that
            # reopens the run; they belong to the session that it starts.
            if (
                phase % 2
                and self._phases.resumed_by(phase) == token
                and (not spans or phase + 1 in spans)
            ):
                phase += 1
            span = spans.get(phase)
            if span is None:
                spans[phase] = self._new_span(token, time_ns, phase)
            else:
                span.last_ns = time_ns
        return list(spans.values())

    def _new_span(self, token: str, time_ns: int, phase: int) -> Span:
        rank = self._ranks.get(token, 0)
        return Span("", token, time_ns, None, time_ns, rank, phase, after_end=phase % 2 == 1)

    def _add_spans_of_changes(self, changes: Sequence[StatusChange]) -> None:
        """Add sessions of processes that did nothing but end the run, or resume it."""
        for change in changes:
            spans = self._spans.setdefault(change.token, [])
            phase = self._phases.at(change.time_ns)
            if not any(span.phase == phase for span in spans):
                spans.append(self._new_span(change.token, change.time_ns, phase))

    def _set_ends(self) -> None:
        for spans in self._spans.values():
            for span in spans:
                end = self._phases.end_of(span.phase)
                if end is not None and end.token == span.token:
                    span.status = end.status
                    # MLflow's end time is set by the caller and may lie in the future, or
                    # before the last event.
                    span.end_ns = max(span.last_ns, min(_ns(end.end_time_ms), end.time_ns))
                elif end is not None or span.after_end or self._ended:
                    span.end_ns = span.last_ns

    def _set_identifiers(self) -> None:
        counts: dict[tuple[bool, int], int] = defaultdict(int)
        for span in self.sessions:
            if self._store_level:
                span.identifier = f"{STORE}:session/{segment(span.token)}"
                continue
            counts[span.after_end, span.rank] += 1
            count = counts[span.after_end, span.rank]
            after, suffix = "post-" if span.after_end else "", f".r{span.rank}" if span.rank else ""
            span.identifier = f"{RUN}:session/{after}{count}{suffix}"

    def _set_informants(self) -> None:
        """Link each session to the one before it, of the same process if there is one."""
        for span in self.sessions:
            earlier = [
                other
                for other in self.sessions
                if other.last_ns <= span.start_ns
                and other is not span
                and not other.after_end
                and other.rank == span.rank
                and other.start_ns < span.start_ns
            ]
            if earlier:
                latest = max(earlier, key=lambda other: (other.token == span.token, other.last_ns))
                span.informant = latest.identifier
                span.resumed = not span.after_end

    def end_ns(self, end_time_ms: int | None) -> int | None:
        """Return the end of the run, at the earliest that of its last session; None if open.

        Args:
            end_time_ms: MLflow's end time.
        """
        if not self._ended:
            return None
        ends = (s.end_ns or s.last_ns for s in self.sessions if not s.after_end)
        return max(_ns(end_time_ms), max(ends, default=0)) or None

    def start_ns(self, start_time_ms: int | None) -> int | None:
        """Return the start of the run: MLflow's, or the first event if that is earlier."""
        starts = [span.start_ns for span in self.sessions]
        if start_time_ms:
            starts.append(_ns(start_time_ms))
        return min(starts, default=None)

    # -- contexts ----------------------------------------------------------------------

    def add_contexts(self, spans: Iterable[Span]) -> None:
        """Add the spans of contexts, and set their ids, ends and parents."""
        ordered = sorted(spans, key=lambda s: (s.start_ns, s.rank, s.token, len(s.path)))
        counts: dict[tuple[int, Path], int] = defaultdict(int)
        for span in ordered:
            counts[span.rank, span.path] += 1
            span.identifier = _context_id(span, counts[span.rank, span.path])
            session = self.session_at(span.token, span.start_ns)
            # A context that was never left ends with its session.
            if span.end_ns is None and session is not None and session.end_ns is not None:
                span.end_ns = max(session.end_ns, span.start_ns)
            self._context_spans.setdefault((span.token, span.path), []).append(span)
            self.contexts.append(span)
        for span in ordered:
            parent = self._context_at(span.token, span.start_ns, span.path[:-1])
            span.parent = parent.identifier if parent is not None else self.root_activity
            span.informant = self._session_id_at(span.token, span.start_ns)

    def _context_at(self, token: str, time_ns: int, path: Path) -> Span | None:
        """Return the span of the longest part of a path that was entered at a time."""
        while path:
            spans = self._context_spans.get((token, path), [])
            # Spans of one path may overlap, as threads enter it independently; the one that
            # was entered last wins.
            entered = bisect.bisect_right(spans, time_ns, key=lambda span: span.start_ns)
            for span in reversed(spans[:entered]):
                if span.end_ns is None or time_ns <= span.end_ns:
                    return span
            path = path[:-1]
        return None

    def series_activity(self, path: Path) -> str:
        """Return the activity that generated all points of a series under a path of names.

        A context that was entered more than once did not generate the series alone: then it is
        the run.
        """
        spans = [span for span in self.contexts if span.path == path]
        return spans[0].identifier if path and len(spans) == 1 else self.root_activity

    # -- lookup ------------------------------------------------------------------------

    def activity_at(self, token: str, time_ns: int, path: Path = ()) -> str:
        """Return the id of the innermost activity at a time: a context, a session or the run."""
        if path and time_ns:
            span = self._context_at(token, time_ns, path)
            if span is not None:
                return span.identifier
        return self._session_id_at(token, time_ns)

    def _session_id_at(self, token: str, time_ns: int) -> str:
        span = self.session_at(token, time_ns)
        return span.identifier if span is not None else self.root_activity

    def session_at(self, token: str, time_ns: int) -> Span | None:
        """Return the session of a token at a time."""
        if not time_ns:
            return None
        for span in self._spans.get(token, ()):
            if span.start_ns <= time_ns <= max(span.last_ns, span.end_ns or 0):
                return span
        return None

    def first_session(self, token: str) -> Span | None:
        """Return the first session of a token."""
        spans = self._spans.get(token)
        return min(spans, key=lambda span: span.start_ns) if spans else None


def context_spans(
    events: Iterable[ContextEntered | ContextLeft], ranks: Mapping[str, int]
) -> list[Span]:
    """Return the spans of contexts from their events, which come in order of time.

    Of equal contexts that are open at once, the one that was entered last is left first.
    """
    spans: list[Span] = []
    entered: dict[tuple[str, Path], list[Span]] = {}
    for event in events:
        path, time_ns = tuple(event.path), event_time(event)
        if not path or not time_ns:
            continue
        open_spans = entered.setdefault((event.session, path), [])
        if isinstance(event, ContextEntered):
            rank = ranks.get(event.session, 0)
            span = Span("", event.session, time_ns, None, time_ns, rank, path=path)
            open_spans.append(span)
            spans.append(span)
        elif open_spans:
            span = open_spans.pop()
            span.end_ns = max(time_ns, span.start_ns)
            span.failed = event.failed
    return spans


def _ns(time_ms: int | None) -> int:
    return (time_ms or 0) * 1_000_000


def _context_id(span: Span, count: int) -> str:
    pieces = [
        f"epoch/{piece}" if isinstance(piece, int) else f"context/{segment(piece)}"
        for piece in span.path
    ]
    suffixes = [] if count == 1 else [str(count)]
    if span.rank:
        suffixes.append(f"r{span.rank}")
    mark = f"@{'.'.join(suffixes)}" if suffixes else ""
    return f"{RUN}:{'/'.join(pieces)}{mark}"
