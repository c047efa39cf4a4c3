"""Calls that the store refused when they were written: no document says that it has them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.events import CallRefused, Event, ParamsLogged, TagDeleted, TagsSet
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.literals import mapping, text


def without_refused(log: Iterable[Event]) -> list[Event]:
    """Return events without the params and tags that the store refused later."""
    log = list(log)
    refused: dict[tuple[str, type[Event]], list[tuple[str, Any, int]]] = defaultdict(list)
    for event in log:
        if isinstance(event, CallRefused):
            for key, value in mapping(event.content.get("params")).items():
                refused[event.session, ParamsLogged].append((key, value, event.seq))
            for key, value in mapping(event.content.get("tags")).items():
                kind = TagsSet if value is not None else TagDeleted
                refused[event.session, kind].append((key, value, event.seq))
    if not refused:
        return log
    return [_without(event, refused[event.session, type(event)]) for event in log]


def _without(event: Event, refused: list[tuple[str, Any, int]]) -> Event:
    pairs = {(key, value) for key, value, seq in refused if seq > event.seq}
    match event:
        case ParamsLogged() if pairs:
            return dataclasses.replace(event, params=_left(event.params, pairs))
        case TagsSet() if pairs:
            return dataclasses.replace(event, tags=_left(event.tags, pairs))
        case TagDeleted() if (event.key, None) in pairs:
            return TagsSet(event.run_id, event.session, event.seq, event.time_ns, {})
    return event


def _left(values: Mapping[str, str], pairs: set[tuple[str, Any]]) -> dict[str, str]:
    return {key: value for key, value in values.items() if (key, value) not in pairs}


def refused_calls(log: Iterable[Event], session: str) -> str | None:
    """Return the value of ``mlf:refused`` of a session."""
    calls = [
        {**event.content, "reason": event.reason}
        for event in log
        if isinstance(event, CallRefused) and event.session == session
    ]
    return text(literals.canonical(calls)) if calls else None
