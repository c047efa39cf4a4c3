"""The translator: takes the events of one run or store, gives its PROV document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import (
    STORE_SESSION,
    TERMINAL,
    ArtifactsLogged,
    CollectorStarted,
    CollectorStopped,
    ContextEntered,
    ContextLeft,
    Event,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    Sampled,
    SessionStarted,
    StoreCalled,
    TagDeleted,
    TagsSet,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import NO_STORE, Namespaces
from yprov_mlflow.prov.translate import context_activities, models, runs, sessions, tags
from yprov_mlflow.prov.translate.artifacts import on_artifacts
from yprov_mlflow.prov.translate.collectors import add_measurements
from yprov_mlflow.prov.translate.datasets import on_inputs
from yprov_mlflow.prov.translate.measurements import Measurements
from yprov_mlflow.prov.translate.metrics import add_metrics
from yprov_mlflow.prov.translate.params import on_params
from yprov_mlflow.prov.translate.points import Points, PointsSink
from yprov_mlflow.prov.translate.store_calls import on_call
from yprov_mlflow.prov.translate.store_calls.spans import add_spans
from yprov_mlflow.prov.translate.timeline import Change, Timeline
from yprov_mlflow.prov.translate.translation import Options, Translation, event_time


class Translator:
    """Fed with the events of one run, or of one store, makes their document.

    Events may come in any order, but samples in that of their session: what matters is their
    time, session and number. Points of metrics are kept in columns, and given to ``sink`` when
    they are too many to be records each; without a sink every point becomes a record.
    """

    def __init__(self, options: Options | None = None, sink: PointsSink | None = None) -> None:
        self.options = options if options is not None else Options()
        self._points = Points(self.options.max_samples, sink)
        self._measurements = Measurements()
        self._events: list[Event] = []
        self._run_id: str | None = None
        self._marks: list[tuple[int, dict[str, int]]] = []

    def feed(self, event: Event) -> None:
        """Take one event.

        Raises:
            ValueError: The event belongs to another run than those before it.
        """
        if event.run_id != self._run_id:
            self._belong(event)
        if type(event) is MetricsLogged:
            self._points.add(event)
            return
        if isinstance(event, CollectorStarted | Sampled | CollectorStopped):
            self._measurements.add(event)
            return
        self._events.append(event)
        if type(event) is RunUpdated and event.status in TERMINAL:
            self._marks.append((event.time_ns, dict(self._points.last_times)))

    def _belong(self, event: Event) -> None:
        if self._run_id is None or not self._run_id:
            self._run_id = event.run_id or self._run_id or ""
        elif event.run_id:
            raise ValueError(
                f"an event of run {event.run_id!r} does not belong in the document of"
                f" {self._run_id!r}; feed each run's events to a translator of its own"
            )

    def finish(self) -> Document:
        """Give the document of all that was fed; to be called once."""
        events = sorted(self._events, key=_order)
        run_id = self._run_id or ""
        store = ids.store_of(run_id)
        created = _created(events)
        namespaces = Namespaces(
            self.options.base_uri,
            "" if store is not None else run_id,
            store or _store_uuid(created),
            _parent(events, run_id),
        )
        facts = runs.RunFacts()
        facts.run_name = created.run_name if created is not None else None
        for event in events:
            if type(event) is RunUpdated:
                facts.update(event)
        timeline = self._timeline(events, facts.status in TERMINAL, not namespaces.run_id)
        translation = Translation(self.options, namespaces, timeline, created)
        translation.models_to_come = {
            models.model_id(event.model_id)
            for event in events
            if type(event) is ModelLogged and models.creates(event)
        }
        self._add_sessions(translation, events, facts)
        if namespaces.run_id:
            runs.add_run(translation, created, facts)
            context_activities.add_contexts(translation)
        elif created is not None:
            runs.add_store(translation.builder, created.store)
        for event in events:
            handler = _HANDLERS.get(type(event))
            if handler is not None and (namespaces.run_id or type(event) in _OF_STORES):
                handler(translation, event)
        if namespaces.run_id:
            add_metrics(translation, self._points)
            add_measurements(translation, self._measurements, _found(events))
        add_spans(translation)
        return translation.builder.document(namespaces.prefixes())

    # -- time --------------------------------------------------------------------------

    def _timeline(self, events: list[Event], over: bool, store_level: bool) -> Timeline:
        ranks: dict[str, int] = {}
        touches: dict[str, set[int]] = {}
        changes: list[Change] = []
        spans: list[ContextEntered | ContextLeft] = []
        for event in events:
            time_ns = event_time(event)
            if isinstance(event, SessionStarted):
                rank = event.facts.get("rank")
                if isinstance(rank, int) and rank > 0:
                    ranks[event.session] = rank
            elif isinstance(event, ContextEntered | ContextLeft):
                spans.append(event)
            if not time_ns or isinstance(event, FactsCollected):
                continue
            if isinstance(event, RunUpdated):
                if event.status is not None:
                    changes.append(
                        Change(time_ns, event.session, event.status, _whole(event.end_time_ms))
                    )
                # An end is no part of what it ends, a deletion no part of the run.
                changed = event.status in TERMINAL or event.lifecycle is not None
                if changed and event.run_name is None:
                    continue
            touches.setdefault(event.session, set()).add(time_ns)
        for session, time_ns in self._point_times(changes):
            touches.setdefault(session, set()).add(time_ns)
        ended = {change.token: change.terminal for change in changes}
        for session, time_ns in self._measurements.last_times().items():
            if ended.get(session):  # who ended the run did not go on after that
                continue
            found = touches.setdefault(session, {time_ns})
            # A sample of another rank after the end makes no session after the end.
            ends = [one.time_ns for one in changes if one.terminal and one.time_ns >= max(found)]
            found.add(min([time_ns, *ends]))
        timeline = Timeline(touches, changes, ranks, over=over, store_level=store_level)
        if not store_level:
            timeline.add_contexts(context_activities.spans(spans, ranks))
        return timeline

    def _point_times(self, changes: list[Change]) -> Iterable[tuple[str, int]]:
        """Give when points were logged: at least the first and last, and those before ends."""
        yield from self._points.times()
        if self._points.flushed:
            yield from self._points.first_times.items()
            yield from self._points.last_times.items()
            for time_ns, last_times in self._marks:
                yield from ((s, t) for s, t in last_times.items() if t <= time_ns)

    def _add_sessions(
        self, translation: Translation, events: list[Event], facts: runs.RunFacts
    ) -> None:
        known: dict[str, Mapping[str, Any]] = {}
        for event in events:
            if type(event) is SessionStarted:
                known.setdefault(event.session, event.facts)
        for token, found in known.items():
            translation.hosts[token] = str(found.get("host") or "unknown")
            if found.get("user"):
                translation.users[token] = translation.user(found["user"])
        for event in events:
            if type(event) is FactsCollected and event.collector == "git":
                plan = sessions.code_plan(translation, event.facts)
                if plan is not None:
                    translation.plans.setdefault(event.session, plan)
                    facts.plan = facts.plan or plan
        if facts.plan is None and translation.created is not None:
            facts.plan = sessions.code_plan(translation, _code_of(translation.created, events))
        sessions.add_sessions(translation, known)
        for event in events:
            if type(event) is FactsCollected:
                host = known.get(event.session, {}).get("host")
                sessions.add_facts(translation, event, host)


def translate(
    events: Iterable[Event], options: Options | None = None, sink: PointsSink | None = None
) -> Document:
    """Give the document of a run, or of a store, from its events."""
    translator = Translator(options, sink)
    for event in events:
        translator.feed(event)
    return translator.finish()


def _on_created(translation: Translation, event: RunCreated) -> None:
    if event is translation.created:
        runs.first_name(translation, event)
    tags.on_tags(translation, event)


_HANDLERS: Mapping[type[Event], Callable[[Translation, Any], None]] = {
    RunCreated: _on_created,
    RunUpdated: runs.on_update,
    ParamsLogged: on_params,
    TagsSet: tags.on_tags,
    TagDeleted: tags.on_tag_deleted,
    InputsLogged: on_inputs,
    OutputsLogged: models.on_outputs,
    ArtifactsLogged: on_artifacts,
    ModelLogged: models.on_model,
    StoreCalled: on_call,
}

_OF_STORES = frozenset({StoreCalled, ModelLogged, ArtifactsLogged})
"""Events that tell something where there is no run; all others are about one."""


def _order(event: Event) -> tuple[bool, int, str, int]:
    """Sort by time; what was read from the store afterwards comes last, in its own order."""
    time_ns = event_time(event)
    return (not time_ns, time_ns, event.session, event.seq)


def _created(events: list[Event]) -> RunCreated | None:
    return next((event for event in events if type(event) is RunCreated), None)


def _store_uuid(created: RunCreated | None) -> str:
    return str(created.store.get("uuid") or NO_STORE) if created is not None else NO_STORE


def _found(events: list[Event]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Give what the collectors of each session found out, and what it knew of itself."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for event in events:
        if isinstance(event, FactsCollected):
            found.setdefault(event.session, {}).setdefault(event.collector, event.facts)
        elif isinstance(event, SessionStarted):
            found.setdefault(event.session, {}).setdefault("session", event.facts)
    return found


def _parent(events: list[Event], run_id: str) -> str | None:
    """Give the run that this one is nested in, by the tag that MLflow sets."""
    for event in events:
        if isinstance(event, RunCreated | TagsSet):
            parent = event.tags.get(tags.PARENT)
            if parent and parent != run_id:
                return str(parent)
    return None


def _code_of(created: RunCreated, events: list[Event]) -> dict[str, str | None]:
    """Give what MLflow's own tags say of the code, or the fields that were before them."""
    given = dict(created.tags)
    for event in events:
        if type(event) is TagsSet and event.session == STORE_SESSION:
            given.update(event.tags)
    return {
        "commit": given.get("mlflow.source.git.commit") or _field(created, "source_version"),
        "branch": given.get("mlflow.source.git.branch"),
        "remote": given.get("mlflow.source.git.repoURL"),
        "entry_point": given.get("mlflow.source.name") or _field(created, "source_name"),
    }


def _field(created: RunCreated, name: str) -> str | None:
    value = created.fields.get(name)
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
