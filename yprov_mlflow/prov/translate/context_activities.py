"""Contexts and epochs: activities with start and end inside the run."""

from __future__ import annotations

from collections.abc import Iterable

from yprov_mlflow.prov.events import ContextEntered, ContextLeft
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.timeline import Path, Span
from yprov_mlflow.prov.translate.translation import Translation, event_time


def spans(events: Iterable[ContextEntered | ContextLeft], ranks: dict[str, int]) -> list[Span]:
    """Pair what was entered with what was left, in order of time; the last entered first."""
    found: list[Span] = []
    entered: dict[tuple[str, Path], list[Span]] = {}
    for event in events:
        path, time_ns = tuple(event.path), event_time(event)
        if not path or not time_ns:
            continue
        waiting = entered.setdefault((event.session, path), [])
        if isinstance(event, ContextEntered):
            rank = ranks.get(event.session, 0)
            span = Span("", event.session, time_ns, None, time_ns, rank, path=path)
            waiting.append(span)
            found.append(span)
        elif waiting:
            span = waiting.pop()
            span.end = max(time_ns, span.start)
            span.failed = event.failed
    return found


def add_contexts(translation: Translation) -> None:
    """Make the records of all contexts and epochs."""
    builder = translation.builder
    for span in translation.timeline.contexts:
        last = span.path[-1]
        is_epoch = isinstance(last, int)
        start = literals.instant(span.start)
        builder.activity(
            span.identifier,
            start,
            literals.instant(span.end or 0),
            ["mlf:Epoch" if is_epoch else "mlf:Context"],
            f"epoch {last}" if is_epoch else text(last),
            {
                "schema:name": None if is_epoch else text(last),
                "mlf:epoch": literals.integer(last) if isinstance(last, int) else None,
                "mlf:failed": literals.boolean(True) if span.failed else None,
                "mlf:session": name(span.informant) if span.informant is not None else None,
                "dcterms:isPartOf": name(span.parent),
            },
        )
        builder.was_started_by(span.identifier, span.parent, start)
