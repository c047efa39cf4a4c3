"""Ends that were not observed: of sessions whose process died, and of runs closed for them.

They are inferences: the session has the rule as ``mlf:endRule``, and what closed the run is an
activity of its own, at the time when that was done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from yprov_mlflow.prov.events import Event, RunUpdated, SessionEnded
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.sessions import add_software, status
from yprov_mlflow.prov.translate.timeline import Ending, event_time
from yprov_mlflow.prov.translate.translation import Translation, sequence, token

OBSERVED = frozenset({"exit", "exception", "store"})
"""Rules that name an observation; all others are inferences."""


def session_endings(log: Iterable[Event], times: Mapping[str, Iterable[int]]) -> dict[str, Ending]:
    """Return the ends of sessions by token.

    Args:
        log: All events in order of time.
        times: Times of the events of each session.
    """
    endings: dict[str, Ending] = {}
    for event in log:
        if not isinstance(event, SessionEnded):
            continue
        session = event.ended or event.session
        # A process that did something later was alive: the inference was wrong.
        if max(times.get(session, ()), default=0) > event.time_ns:
            continue
        attributes: Attributes = {
            "mlf:endRule": text(event.rule),
            "mlf:endReason": text(event.reason),
            "mlf:endBasis": _basis(event.rule),
            "mlf:endEvidence": _json(event.evidence),
        }
        endings[session] = Ending(event.last_seen_ns, attributes)
    return endings


def as_observed(update: RunUpdated) -> RunUpdated | None:
    """Return a change of a run's status as if the session whose death it follows from made it.

    None if no session of the run did: then it is a change that was found in the store.
    """
    inference = update.inference
    if inference is None:
        return update
    session, time_ns = inference.get("session"), inference.get("last_seen_ns")
    if not isinstance(session, str) or not isinstance(time_ns, int):
        return None
    return dataclasses.replace(update, session=session, time_ns=time_ns)


def add_closing(translation: Translation, event: RunUpdated) -> None:
    """Add the activity that closed a run for processes that had died."""
    inference = event.inference
    if inference is None:
        return
    builder, rule = translation.builder, str(inference.get("rule") or "")
    activity = f"{RUN}:event/close/{token(event)}"
    time = literals.instant(event_time(event))
    attributes: Attributes = {
        "mlf:method": text("update_run_info"),
        "mlf:sequence": sequence(event),
        "mlf:status": status(event.status),
        "mlf:endTimeMs": literals.whole(event.end_time_ms),
        "mlf:endRule": text(rule),
        "mlf:endReason": text(str(inference.get("reason") or "")),
        "mlf:endBasis": _basis(rule),
    }
    builder.activity(activity, time, time, ["mlf:StoreOperation"], "close run", attributes)
    builder.was_influenced_by(activity, f"{RUN}:run")
    package, _, version = str(inference.get("tool") or "").partition(" ")
    if package:
        builder.was_associated_with(activity, add_software(builder, package, version))
    session = translation.timeline.last_session(str(inference.get("session") or ""))
    if session is not None:
        builder.was_informed_by(activity, session.identifier)


def _basis(rule: str) -> literals.Value | None:
    return None if rule in OBSERVED else name("mlf:inferred")


def _json(evidence: Mapping[str, object]) -> literals.Value | None:
    return text(literals.canonical(dict(evidence))) if evidence else None
