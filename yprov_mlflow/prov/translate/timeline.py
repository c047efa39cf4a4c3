"""Sessions and contexts of a run as time spans; the activity that an event belongs to.

A run is open from its start until the last of its ends, and again from each resume on. A process
that writes while the run is open is a session; what it writes in between is a session after the
end.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from yprov_mlflow.prov import events
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment

AFTER_END = f"{RUN}:session/post-"
"""Start of the ids of sessions that write to a run after its end."""

Path = tuple[str | int, ...]
"""Names of contexts and numbers of epochs, outermost first."""

Gaps = Sequence[Sequence[int]]
"""First and last number of the events of a session that are lost."""

NO_GAPS: Mapping[str, Gaps] = MappingProxyType({})


class Ending(NamedTuple):
    """The end of a session that did not end its run, and attributes with how it is known."""

    time_ns: int
    attributes: Attributes


NO_ENDINGS: Mapping[str, Ending] = MappingProxyType({})


def event_time(event: events.Event) -> int:
    """Return the time of an event in ns; 0 for events that were read from a store later."""
    return 0 if event.session == events.STORE_SESSION else event.time_ns


@dataclasses.dataclass
class Span:
    """The time span of a session, context or epoch.

    Attributes:
        token: Token of the session.
        end_ns: None while unknown.
        last_ns: Time of its last event.
        phase: Phase of the run that a session is in, as numbered by ``RunPhases``; the last
            one, if others ended and resumed the run meanwhile.
        after_end: Whether a session writes to a run that has ended.
        status: Status that the session gave the run when ending it.
        path: Path of a context; empty for a session.
        parent: Id of the activity around a context.
        failed: Whether an exception ended a context.
        informant: Id of the session before a session, or of the session of a context.
        resumed: Whether a session continues the work of ``informant``.
        ending: How the end of a session is known, if it did not end the run itself.
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
    ending: Ending | None = None


class RunPhases:
    """The intervals in which a run was open (even index) and closed (odd index)."""

    def __init__(self, changes: Iterable[events.RunUpdated]) -> None:
        # The last change of each phase: ends of the run and resumes in turn.
        self._turns: list[events.RunUpdated] = []
        for change in changes:
            terminal, closed = change.status in events.TERMINAL, len(self._turns) % 2 == 1
            if terminal and closed:  # ranks each end the run; the last of these ends counts
                self._turns[-1] = change
            elif terminal or (closed and change.time_ns > self._turns[-1].time_ns):
                self._turns.append(change)
        # The update that ends a phase is part of it; the one that resumes starts the next.
        self._bounds = [turn.time_ns + 1 - i % 2 for i, turn in enumerate(self._turns)]

    def at(self, time_ns: int) -> int:
        """Return the phase at a time."""
        return bisect.bisect_right(self._bounds, time_ns)

    def is_last(self, phase: int) -> bool:
        """Return whether the run stayed in a phase."""
        return phase == len(self._turns)

    def last_change(self, phase: int) -> events.RunUpdated | None:
        """Return the end of an open phase, or the resume after a closed one."""
        return self._turns[phase] if phase < len(self._turns) else None


class Timeline:
    """Sessions and contexts of a run; to be built when all events are known.

    Args:
        event_times: For each session token the times of its events.
        changes: Timed changes of the run's status, in order of time.
        ranks: Rank of each session token, where it is not 0.
        partial: Sessions of which events are lost, by token, and the first and last number of
            each gap: when these sessions ended, and left their contexts, may not be known.
        endings: Ends of sessions that did not end the run, by token.
        ended: Whether the run has ended, even if the time of the end is unknown.
        store_level: Whether the document is of a store: its sessions belong to no run.
    """

    def __init__(
        self,
        event_times: Mapping[str, Iterable[int]],
        changes: Sequence[events.RunUpdated],
        ranks: Mapping[str, int],
        partial: Mapping[str, Gaps] = NO_GAPS,
        endings: Mapping[str, Ending] = NO_ENDINGS,
        *,
        ended: bool = False,
        store_level: bool = False,
    ) -> None:
        store_activity = f"{STORE}:session/{events.STORE_SESSION}"
        self.root_activity = store_activity if store_level else f"{RUN}:run"
        self._phases = RunPhases(() if store_level else changes)
        self._ranks = ranks
        self._partial = partial
        self._ended = ended
        self._store_level = store_level
        # Phases that each session ended itself: what it writes later is another session.
        self._ended_phases: dict[str, set[int]] = {}
        for change in changes if not store_level else ():
            if change.status in events.TERMINAL:
                phase = self._phases.at(change.time_ns)
                self._ended_phases.setdefault(change.session, set()).add(phase)
        self._spans = {
            token: self._split_by_phase(token, sorted(set(times)))
            for token, times in event_times.items()
        }
        self._add_spans_of_changes(changes)
        spans = (span for spans in self._spans.values() for span in spans)
        self.sessions = sorted(spans, key=lambda span: (span.start_ns, span.token, span.phase))
        self._set_ends()
        for token, ending in endings.items():
            self._set_ending(token, ending)
        self._set_identifiers()
        if not store_level:
            self._set_informants()
        self.contexts: list[Span] = []
        self._context_spans: dict[tuple[str, Path], list[Span]] = {}

    def _split_by_phase(self, token: str, times: list[int]) -> list[Span]:
        """Return the sessions of a process: one for each time that it resumed the run."""
        spans: list[Span] = []
        for time_ns in times:
            phase = self._phases.at(time_ns)
            # A process that resumes a run writes its first events just before the update that
            # reopens the run; they belong to the session that it starts.
            resume = self._phases.last_change(phase) if phase % 2 else None
            resumes = resume is not None and resume.session == token
            if resumes and (not spans or spans[-1].phase == phase + 1):
                phase += 1
            if not spans or not self._continues(spans[-1], phase):
                spans.append(self._new_span(token, time_ns, phase))
            spans[-1].phase = max(spans[-1].phase, phase)
            spans[-1].after_end = spans[-1].after_end and phase % 2 == 1
            spans[-1].last_ns = time_ns
        return spans

    def _continues(self, span: Span, phase: int) -> bool:
        """Return whether a process that writes in a phase continues a session.

        Others may have ended and resumed the run meanwhile, which ends no session of this one.
        """
        if span.phase == phase:
            return True
        if self._phases.is_last(phase) and phase % 2 == 1 and not span.after_end:
            return False
        # Also what it wrote between its own end and its own resume is a session apart.
        first = 0 if span.after_end else span.phase
        return not any(first <= ended < phase for ended in self._ended_phases.get(span.token, ()))

    def _new_span(self, token: str, time_ns: int, phase: int) -> Span:
        rank = self._ranks.get(token, 0)
        return Span("", token, time_ns, None, time_ns, rank, phase, after_end=phase % 2 == 1)

    def _add_spans_of_changes(self, changes: Sequence[events.RunUpdated]) -> None:
        """Add sessions of processes that did nothing but end the run, or resume it."""
        for change in changes:
            spans = self._spans.setdefault(change.session, [])
            phase = self._phases.at(change.time_ns)
            before = [span for span in spans if span.phase <= phase and not span.after_end]
            if before and self._continues(before[-1], phase):
                before[-1].phase = phase
            elif not any(span.phase == phase for span in spans):
                spans.append(self._new_span(change.session, change.time_ns, phase))

    def _set_ends(self) -> None:
        for span in self.sessions:
            change = self._phases.last_change(span.phase)
            if change is not None and change.session == span.token and not span.after_end:
                span.status = change.status
                end_ms = change.end_time_ms if isinstance(change.end_time_ms, int) else None
                # MLflow's end time is set by the caller and may lie in the future, or before
                # the last event.
                if not self._partial.get(span.token):
                    span.end_ns = max(span.last_ns, min(_ns(end_ms), change.time_ns))
            elif self._partial:
                continue  # a change of status may be lost, in any of the journals
            elif change is not None or span.after_end or self._ended:
                span.end_ns = span.last_ns

    def _set_ending(self, token: str, ending: Ending) -> None:
        """End the last session of a process when it was seen last, and not after its run."""
        span = self.last_session(token)
        if span is None or span.after_end:
            return
        change = self._phases.last_change(span.phase)
        end_ns = ending.time_ns if change is None else min(ending.time_ns, change.time_ns)
        span.end_ns, span.ending = max(span.last_ns, end_ns), ending

    def _set_identifiers(self) -> None:
        counts: Counter[tuple[bool, int]] = Counter()
        for span in self.sessions:
            if self._store_level:
                span.identifier = f"{STORE}:session/{segment(span.token)}"
                continue
            counts[span.after_end, span.rank] += 1
            count = counts[span.after_end, span.rank]
            start = AFTER_END if span.after_end else f"{RUN}:session/"
            span.identifier = f"{start}{count}" + (f".r{span.rank}" if span.rank else "")

    def _set_informants(self) -> None:
        """Link each session to the one before it, of the same process if there is one."""
        for span in self.sessions:
            earlier = [
                other
                for other in self.sessions
                if other.start_ns < span.start_ns
                and other.last_ns <= span.start_ns
                and other.rank == span.rank
                and not other.after_end
            ]
            if earlier:
                latest = max(earlier, key=lambda other: (other.token == span.token, other.last_ns))
                span.informant = latest.identifier
                span.resumed = not span.after_end

    def end_ns(self, end_time_ms: int | None) -> int | None:
        """Return the end of the run: MLflow's, or that of a later session; None if open."""
        if not self._ended:
            return None
        ends = [span.end_ns or span.last_ns for span in self.sessions if not span.after_end]
        return max(_ns(end_time_ms), *ends, 0) or None

    def start_ns(self, start_time_ms: int | None) -> int | None:
        """Return the start of the run: MLflow's, or the first event if that is earlier."""
        starts = [span.start_ns for span in self.sessions]
        return min([*starts, _ns(start_time_ms)] if start_time_ms else starts, default=None)

    def add_contexts(self, spans: Iterable[Span]) -> None:
        """Add the spans of contexts, and set their ids, ends and parents."""
        ordered = sorted(spans, key=lambda s: (s.start_ns, s.rank, s.token, len(s.path)))
        counts: Counter[tuple[int, Path]] = Counter()
        for span in ordered:
            counts[span.rank, span.path] += 1
            span.identifier = _context_id(span, counts[span.rank, span.path])
            session = self.session_at(span.token, span.start_ns)
            # A context that was never left ends with its session.
            if span.token in self._partial:
                session = None
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

    def activity_at(self, token: str, time_ns: int, path: Path = ()) -> str:
        """Return the id of the innermost activity at a time: a context, a session or the run."""
        if path and time_ns and (span := self._context_at(token, time_ns, path)) is not None:
            return span.identifier
        return self._session_id_at(token, time_ns)

    def point_activity(
        self, token: str, time_ns: int, path: Path, timestamp_ms: int
    ) -> tuple[str, int]:
        """Return the activity that generated a metric point, and the time of generation in ns.

        Queues write points after their context has ended. Then MLflow's timestamp of the point
        counts, if it lies within the context.
        """
        span = self._context_at(token, time_ns, path) if path and time_ns else None
        if path and time_ns and (span is None or span.path != path):
            timestamp_ns = _ns(timestamp_ms)
            after_ns = timestamp_ns + 1_000_000  # the timestamp is cut to milliseconds
            for late in reversed(self._context_spans.get((token, path), [])):
                end_ns = time_ns if late.end_ns is None else late.end_ns
                if late.start_ns < after_ns and timestamp_ns <= end_ns <= time_ns:
                    return late.identifier, min(max(timestamp_ns, late.start_ns), end_ns)
        activity = self._session_id_at(token, time_ns) if span is None else span.identifier
        return activity, time_ns

    def _session_id_at(self, token: str, time_ns: int) -> str:
        span = self.session_at(token, time_ns)
        return span.identifier if span is not None else self.root_activity

    def session_at(self, token: str, time_ns: int) -> Span | None:
        """Return the session of a token at a time."""
        for span in self._spans.get(token, ()) if time_ns else ():
            if span.start_ns <= time_ns <= max(span.last_ns, span.end_ns or 0):
                return span
        return None

    def first_session(self, token: str) -> Span | None:
        """Return the first session of a token."""
        spans = self._spans.get(token)
        return min(spans, key=lambda span: span.start_ns) if spans else None

    def last_session(self, token: str) -> Span | None:
        """Return the last session of a token."""
        spans = self._spans.get(token)
        return max(spans, key=lambda span: span.start_ns) if spans else None


def context_spans(
    log: Iterable[events.Event],
    ranks: Mapping[str, int],
    missing: Mapping[str, Gaps] = NO_GAPS,
) -> list[Span]:
    """Return the spans of contexts from all events, which come in order of time.

    Of equal contexts that are open at once, the one that was entered last is left first. If
    events are ``missing`` in between (first and last number, by session), that is not certain.
    """
    spans: list[Span] = []
    entered: dict[tuple[str, Path], list[tuple[Span, int]]] = {}
    for event in log:
        time_ns = event_time(event)
        if not time_ns or not isinstance(event, events.ContextEntered | events.ContextLeft):
            continue
        path = tuple(event.path)
        if not path:
            continue
        open_spans = entered.setdefault((event.session, path), [])
        if isinstance(event, events.ContextEntered):
            rank = ranks.get(event.session, 0)
            spans.append(Span("", event.session, time_ns, None, time_ns, rank, path=path))
            open_spans.append((spans[-1], event.seq))
        elif open_spans:
            span, seq = open_spans.pop()
            if any(
                first < event.seq and seq < last for first, last in missing.get(event.session, ())
            ):
                continue
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
    suffixes = [str(count)] if count > 1 else []
    if span.rank:
        suffixes.append(f"r{span.rank}")
    mark = f"@{'.'.join(suffixes)}" if suffixes else ""
    return f"{RUN}:{'/'.join(pieces)}{mark}"
