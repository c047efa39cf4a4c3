"""When who did what: sessions and contexts of a run as spans of time, and who was at it when.

A run is open until the last of its ends, and again from when it is resumed. A process that
writes while it is open is a session; what is written in between is a session after the end.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from yprov_mlflow.prov.events import STORE_SESSION, TERMINAL
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment

Path = tuple[str | int, ...]


@dataclasses.dataclass
class Span:
    """An activity's time, in ns; ``end`` is None while nobody knows it."""

    identifier: str
    token: str
    start: int
    end: int | None
    last: int
    rank: int = 0
    phase: int = 0
    after_end: bool = False
    status: str | None = None
    path: Path = ()
    parent: str = ""
    failed: bool = False
    informant: str | None = None
    resumed: bool = False

    def covers(self, time_ns: int) -> bool:
        """Tell whether the time lies in the span."""
        return self.start <= time_ns and (self.end is None or time_ns <= self.end)


@dataclasses.dataclass(frozen=True)
class Change:
    """A timed change of the run's status."""

    time_ns: int
    token: str
    status: str
    end_time_ms: int | None = None

    @property
    def terminal(self) -> bool:
        """Tell whether it ended the run."""
        return self.status in TERMINAL


class Phases:
    """The stretches of time in which a run was open (even index) and closed (odd index)."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.ends: list[Change] = []
        self.resumes: list[Change] = []
        for change in changes:
            if change.terminal:
                if len(self.ends) > len(self.resumes):
                    self.ends[-1] = change
                else:
                    self.ends.append(change)
            elif len(self.resumes) < len(self.ends) and change.time_ns > self.ends[-1].time_ns:
                self.resumes.append(change)
        self._bounds: list[int] = []
        for i, end in enumerate(self.ends):
            self._bounds.append(end.time_ns + 1)
            if i < len(self.resumes):
                self._bounds.append(self.resumes[i].time_ns)

    def at(self, time_ns: int) -> int:
        """Give the phase that a time lies in."""
        return bisect.bisect_right(self._bounds, time_ns)

    def end_of(self, phase: int) -> Change | None:
        """Give what ended an open phase."""
        index = phase // 2
        return self.ends[index] if phase % 2 == 0 and index < len(self.ends) else None

    def resumed_by(self, phase: int) -> str | None:
        """Give the session that resumed the run after a closed phase."""
        index = phase // 2
        if phase % 2 and index < len(self.resumes):
            return self.resumes[index].token
        return None


class Timeline:
    """Sessions and contexts; made when all events are known.

    Args:
        touches: For each session token the times at which it did something.
        changes: Timed changes of status, in order of time.
        ranks: Rank of each session token, where it is not 0.
        over: Whether the run has ended, whenever that was.
        store_level: Whether the document is of a store: sessions then have no run.
    """

    def __init__(
        self,
        touches: Mapping[str, Iterable[int]],
        changes: Sequence[Change],
        ranks: Mapping[str, int],
        *,
        over: bool = False,
        store_level: bool = False,
    ) -> None:
        self.phases = Phases(() if store_level else changes)
        self.whole = f"{STORE}:session/{STORE_SESSION}" if store_level else f"{RUN}:run"
        self._ranks = ranks
        self._over = over
        self._store_level = store_level
        self._spans: dict[str, list[Span]] = {}
        for token, times in touches.items():
            self._spans[token] = self._of_token(token, sorted(set(times)))
        self._complete_ends(changes)
        self.sessions = sorted(
            (span for spans in self._spans.values() for span in spans),
            key=lambda span: (span.start, span.token, span.phase),
        )
        self._number()
        self.contexts: list[Span] = []
        self._context_spans: dict[tuple[str, Path], list[Span]] = {}

    # -- sessions ----------------------------------------------------------------------

    def _of_token(self, token: str, times: list[int]) -> list[Span]:
        spans: dict[int, Span] = {}
        for time_ns in times:
            phase = self.phases.at(time_ns)
            # Who resumes a run begins to write a moment before it is open again.
            if (
                phase % 2
                and self.phases.resumed_by(phase) == token
                and (not spans or phase + 1 in spans)
            ):
                phase += 1
            span = spans.get(phase)
            if span is None:
                rank = self._ranks.get(token, 0)
                spans[phase] = Span("", token, time_ns, None, time_ns, rank, phase, phase % 2 == 1)
            else:
                span.last = time_ns
        return list(spans.values())

    def _complete_ends(self, changes: Sequence[Change]) -> None:
        for change in changes:
            spans = self._spans.setdefault(change.token, [])
            phase = self.phases.at(change.time_ns)
            if not any(span.phase == phase for span in spans):
                # A process that did nothing but end the run, or resume it.
                rank = self._ranks.get(change.token, 0)
                span = Span("", change.token, change.time_ns, None, change.time_ns, rank, phase)
                span.after_end = phase % 2 == 1
                spans.append(span)
        for spans in self._spans.values():
            for span in spans:
                end = self.phases.end_of(span.phase)
                if end is not None and end.token == span.token:
                    span.status = end.status
                    span.end = max(span.last, min(_ns(end.end_time_ms), end.time_ns))
                elif end is not None or span.after_end or self._over:
                    span.end = span.last

    def _number(self) -> None:
        counts: dict[tuple[bool, int], int] = defaultdict(int)
        for span in self.sessions:
            if self._store_level:
                span.identifier = f"{STORE}:session/{segment(span.token)}"
                continue
            counts[span.after_end, span.rank] += 1
            count = counts[span.after_end, span.rank]
            after, suffix = "post-" if span.after_end else "", f".r{span.rank}" if span.rank else ""
            span.identifier = f"{RUN}:session/{after}{count}{suffix}"
        if self._store_level:
            return
        for span in self.sessions:
            earlier = [
                other
                for other in self.sessions
                if other.last <= span.start
                and other is not span
                and not other.after_end
                and other.rank == span.rank
                and other.start < span.start
            ]
            if earlier:
                found = max(earlier, key=lambda other: (other.token == span.token, other.last))
                span.informant = found.identifier
                span.resumed = not span.after_end

    def end_ns(self, end_time_ms: int | None) -> int | None:
        """Give when the run ended, None while it has not; ``end_time_ms`` is what MLflow says."""
        if not self._over:
            return None
        latest = max((s.end or s.last for s in self.sessions if not s.after_end), default=0)
        return max(_ns(end_time_ms), latest) or None

    def start_ns(self, start_time_ms: int | None) -> int | None:
        """Give when the run started: what MLflow says, or the first event if that is earlier."""
        found = [span.start for span in self.sessions]
        if start_time_ms:
            found.append(_ns(start_time_ms))
        return min(found, default=None)

    # -- contexts ----------------------------------------------------------------------

    def add_contexts(self, spans: Iterable[Span]) -> None:
        """Add contexts as they were entered and left; gives them ids, ends and parents."""
        ordered = sorted(spans, key=lambda s: (s.start, s.rank, s.token, len(s.path)))
        counts: dict[tuple[int, Path], int] = defaultdict(int)
        for span in ordered:
            counts[span.rank, span.path] += 1
            span.identifier = _context_id(span, counts[span.rank, span.path])
            session = self.span_at(span.token, span.start)
            if span.end is None and session is not None and session.end is not None:
                span.end = max(session.end, span.start)
            self._context_spans.setdefault((span.token, span.path), []).append(span)
            self.contexts.append(span)
        for span in ordered:
            parent = self._context(span.token, span.start, span.path[:-1])
            span.parent = parent.identifier if parent is not None else self.whole
            span.informant = self.session_at(span.token, span.start)

    def _context(self, token: str, time_ns: int, path: Path) -> Span | None:
        while path:
            spans = self._context_spans.get((token, path), [])
            begun = bisect.bisect_right(spans, time_ns, key=lambda span: span.start)
            for span in reversed(spans[:begun]):
                if span.covers(time_ns):
                    return span
            path = path[:-1]
        return None

    def series_activity(self, path: Path) -> str:
        """Give the activity of all that was measured under a path of names."""
        found = [span for span in self.contexts if span.path == path]
        return found[0].identifier if path and len(found) == 1 else self.whole

    # -- look up -----------------------------------------------------------------------

    def at(self, token: str, time_ns: int, path: Path = ()) -> str:
        """Give the finest activity that was going on: the one that generates and uses."""
        if path and time_ns:
            found = self._context(token, time_ns, path)
            if found is not None:
                return found.identifier
        return self.session_at(token, time_ns)

    def session_at(self, token: str, time_ns: int) -> str:
        """Give the session of a token at a time, or what there is instead."""
        found = self.span_at(token, time_ns)
        return found.identifier if found is not None else self.whole

    def first_session(self, token: str) -> Span | None:
        """Give the first session of a token."""
        spans = self._spans.get(token)
        return min(spans, key=lambda span: span.start) if spans else None

    def span_at(self, token: str, time_ns: int) -> Span | None:
        """Give the span of a session at a time, None if it was not there."""
        if not time_ns:
            return None
        for span in self._spans.get(token, ()):
            if span.start <= time_ns <= max(span.last, span.end or 0):
                return span
        return None


def _ns(time_ms: int | None) -> int:
    return (time_ms or 0) * 1_000_000


def _context_id(span: Span, count: int) -> str:
    pieces = [
        f"epoch/{piece}" if isinstance(piece, int) else f"context/{segment(piece)}"
        for piece in span.path
    ]
    again = "" if count == 1 else str(count)
    rank = f"r{span.rank}" if span.rank else ""
    mark = f"@{again}{'.' if again and rank else ''}{rank}" if again or rank else ""
    return f"{RUN}:{'/'.join(pieces)}{mark}"
