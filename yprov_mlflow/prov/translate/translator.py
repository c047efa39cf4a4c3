"""The translator: events of one run, or of one store, to its PROV document."""

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
from yprov_mlflow.prov.translate import models, params_tags, runs, sessions
from yprov_mlflow.prov.translate.artifacts import on_artifacts
from yprov_mlflow.prov.translate.collectors import add_measurements
from yprov_mlflow.prov.translate.datasets import on_inputs
from yprov_mlflow.prov.translate.measurements import Measurements
from yprov_mlflow.prov.translate.metrics import add_metrics
from yprov_mlflow.prov.translate.points import Points, PointsSink
from yprov_mlflow.prov.translate.store_calls import on_call
from yprov_mlflow.prov.translate.store_calls.spans import add_spans
from yprov_mlflow.prov.translate.timeline import StatusChange, Timeline, context_spans, event_time
from yprov_mlflow.prov.translate.translation import Options, Translation


class Translator:
    """Builds the document of one run, or of one store, from its events.

    Events may come in any order, except samples, which come in the order of their session: they
    are sorted by time, session and number. Metric points are kept in columns; if there are more
    than ``Options.max_samples``, they go to ``sink`` instead of becoming a record each. Without
    a sink every point becomes a record.
    """

    def __init__(self, options: Options | None = None, sink: PointsSink | None = None) -> None:
        self.options = options if options is not None else Options()
        self._points = Points(self.options.max_samples, sink)
        self._measurements = Measurements()
        self._events: list[Event] = []
        self._run_id: str | None = None
        # For each end of the run: its time, and until when each session had logged points.
        # Points that went to the sink cannot be asked for their times any more.
        self._last_points_before_ends: list[tuple[int, dict[str, int]]] = []

    def feed(self, event: Event) -> None:
        """Add one event.

        Raises:
            ValueError: The event belongs to another run than those before it.
        """
        if event.run_id != self._run_id:
            self._set_run(event.run_id)
        if type(event) is MetricsLogged:
            self._points.add(event)
            return
        if isinstance(event, CollectorStarted | Sampled | CollectorStopped):
            self._measurements.add(event)
            return
        self._events.append(event)
        if type(event) is RunUpdated and event.status in TERMINAL:
            last_times = dict(self._points.last_times)
            self._last_points_before_ends.append((event.time_ns, last_times))

    def _set_run(self, run_id: str) -> None:
        if not self._run_id:
            self._run_id = run_id or self._run_id or ""
        elif run_id:
            raise ValueError(
                f"an event of run {run_id!r} does not belong in the document of"
                f" {self._run_id!r}; use one translator for each run"
            )

    def finish(self) -> Document:
        """Return the document of all events; call it once."""
        events = sorted(self._events, key=_order)
        run_id = self._run_id or ""
        store = ids.store_of(run_id)
        created = next((event for event in events if type(event) is RunCreated), None)
        namespaces = Namespaces(
            self.options.base_uri,
            "" if store is not None else run_id,
            store or _store_uuid(created),
            _parent(events, run_id),
        )
        facts = runs.RunFacts(run_name=created.run_name if created is not None else None)
        for event in events:
            if type(event) is RunUpdated:
                facts.update(event)
        timeline = self._timeline(events, facts.status in TERMINAL, not namespaces.run_id)
        translation = Translation(self.options, namespaces, timeline, created)
        translation.models_to_create = {
            models.model_entity(event.model_id)
            for event in events
            if type(event) is ModelLogged and models.creates(event)
        }
        # PROV knows usage only after generation: records that others refer to come first, then
        # those of events in order of time.
        _add_sessions(translation, events, facts)
        if namespaces.run_id:
            runs.add_run(translation, created, facts)
            sessions.add_contexts(translation)
        elif created is not None:
            runs.add_store(translation.builder, created.store)
        for event in events:
            handler = _HANDLERS.get(type(event))
            if handler is not None and (namespaces.run_id or type(event) in _STORE_LEVEL):
                handler(translation, event)
        if namespaces.run_id:
            add_metrics(translation, self._points)
            add_measurements(translation, self._measurements, _facts_by_session(events))
        add_spans(translation)
        return translation.builder.document(namespaces.prefixes())

    # -- time --------------------------------------------------------------------------

    def _timeline(self, events: list[Event], ended: bool, store_level: bool) -> Timeline:
        ranks: dict[str, int] = {}
        times: dict[str, set[int]] = {}
        changes: list[StatusChange] = []
        contexts: list[ContextEntered | ContextLeft] = []
        for event in events:
            time_ns = event_time(event)
            if isinstance(event, SessionStarted):
                rank = event.facts.get("rank")
                if isinstance(rank, int) and rank > 0:
                    ranks[event.session] = rank
            elif isinstance(event, ContextEntered | ContextLeft):
                contexts.append(event)
            # Facts may come late, even after the end of the run: they do not extend the session.
            if not time_ns or isinstance(event, FactsCollected):
                continue
            if isinstance(event, RunUpdated):
                if event.status is not None:
                    end_ms = event.end_time_ms if isinstance(event.end_time_ms, int) else None
                    changes.append(StatusChange(time_ns, event.session, event.status, end_ms))
                # Terminal updates and deletions must not extend the session's span.
                terminal = event.status in TERMINAL or event.lifecycle is not None
                if terminal and event.run_name is None:
                    continue
            times.setdefault(event.session, set()).add(time_ns)
        for session, time_ns in self._point_times():
            times.setdefault(session, set()).add(time_ns)
        self._add_sample_times(times, changes)
        timeline = Timeline(times, changes, ranks, ended=ended, store_level=store_level)
        if not store_level:
            timeline.add_contexts(context_spans(contexts, ranks))
        return timeline

    def _point_times(self) -> Iterable[tuple[str, int]]:
        """Yield sessions with times of points: the first and last, and those before ends."""
        yield from self._points.times()
        if self._points.flushed:
            yield from self._points.first_times.items()
            yield from self._points.last_times.items()
            for time_ns, last_times in self._last_points_before_ends:
                yield from ((s, t) for s, t in last_times.items() if t <= time_ns)

    def _add_sample_times(self, times: dict[str, set[int]], changes: list[StatusChange]) -> None:
        """Extend sessions to their last samples, but not beyond the end of the run."""
        last_status = {change.token: change for change in changes}
        ends_ns = [change.time_ns for change in changes if change.terminal]
        for session, time_ns in self._measurements.last_times().items():
            # A process that ended the run went on sampling for a moment, but did no more work.
            if session in last_status and last_status[session].terminal:
                continue
            session_times = times.setdefault(session, {time_ns})
            # Another rank may sample after the end: that makes no session after the end.
            latest_ns = max(session_times)
            session_times.add(min([time_ns, *(end for end in ends_ns if end >= latest_ns)]))


def translate(
    events: Iterable[Event], options: Options | None = None, sink: PointsSink | None = None
) -> Document:
    """Return the document of a run, or of a store, from its events.

    Args:
        events: Events as ``Translator.feed`` takes them.
        options: Options of the translation.
        sink: Takes the metric points if there are more than ``Options.max_samples``.

    Raises:
        ValueError: The events belong to more than one run.
    """
    translator = Translator(options, sink)
    for event in events:
        translator.feed(event)
    return translator.finish()


def _on_created(translation: Translation, event: RunCreated) -> None:
    if event is translation.created:
        runs.set_initial_name(translation, event)
    params_tags.on_tags(translation, event)


_HANDLERS: Mapping[type[Event], Callable[[Translation, Any], None]] = {
    RunCreated: _on_created,
    RunUpdated: runs.on_update,
    ParamsLogged: params_tags.on_params,
    TagsSet: params_tags.on_tags,
    TagDeleted: params_tags.on_tag_deleted,
    InputsLogged: on_inputs,
    OutputsLogged: models.on_outputs,
    ArtifactsLogged: on_artifacts,
    ModelLogged: models.on_model,
    StoreCalled: on_call,
}

_STORE_LEVEL = frozenset({StoreCalled, ModelLogged, ArtifactsLogged})
"""Events that have a meaning without a run."""


def _order(event: Event) -> tuple[bool, int, str, int]:
    """Sort key: by time; events read from a store come last."""
    time_ns = event_time(event)
    return (not time_ns, time_ns, event.session, event.seq)


def _store_uuid(created: RunCreated | None) -> str:
    return str(created.store.get("uuid") or NO_STORE) if created is not None else NO_STORE


def _add_sessions(translation: Translation, events: list[Event], facts: runs.RunFacts) -> None:
    """Add sessions, their code and the facts of their collectors; set the run's plan."""
    initial: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if type(event) is SessionStarted:
            initial.setdefault(event.session, event.facts)
    for session, session_facts in initial.items():
        translation.hosts[session] = str(session_facts.get("host") or "unknown")
        if session_facts.get("user"):
            translation.users[session] = translation.user(session_facts["user"])
    # Code first: the associations of the sessions name it as their plan.
    for event in events:
        if type(event) is FactsCollected and event.collector == "git":
            plan = sessions.code_plan(translation, event.facts)
            if plan is not None:
                translation.plans.setdefault(event.session, plan)
                facts.plan = facts.plan or plan
    if facts.plan is None and translation.created is not None:
        facts.plan = sessions.code_plan(translation, _code_facts(translation.created, events))
    sessions.add_sessions(translation, initial)
    for event in events:
        if type(event) is FactsCollected:
            host = initial.get(event.session, {}).get("host")
            sessions.add_facts(translation, event, host)


def _facts_by_session(events: list[Event]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return for each session the facts of its collectors, and its own as ``session``."""
    facts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for event in events:
        if isinstance(event, FactsCollected):
            facts.setdefault(event.session, {}).setdefault(event.collector, event.facts)
        elif isinstance(event, SessionStarted):
            facts.setdefault(event.session, {}).setdefault("session", event.facts)
    return facts


def _parent(events: list[Event], run_id: str) -> str | None:
    """Return the run that this run is nested in, by MLflow's tag."""
    for event in events:
        if isinstance(event, RunCreated | TagsSet):
            parent = event.tags.get(params_tags.PARENT_TAG)
            if parent and parent != run_id:
                return str(parent)
    return None


def _code_facts(created: RunCreated, events: list[Event]) -> dict[str, str | None]:
    """Return facts about the code from MLflow's tags, or from the fields before these tags."""
    tags = dict(created.tags)
    # Sources of old runs give these tags apart from the creation of the run.
    for event in events:
        if type(event) is TagsSet and event.session == STORE_SESSION:
            tags.update(event.tags)
    return {
        "commit": tags.get("mlflow.source.git.commit") or _field(created, "source_version"),
        "branch": tags.get("mlflow.source.git.branch"),
        "remote": tags.get("mlflow.source.git.repoURL"),
        "entry_point": tags.get("mlflow.source.name") or _field(created, "source_name"),
    }


def _field(created: RunCreated, name: str) -> str | None:
    value = created.fields.get(name)
    return value if isinstance(value, str) and value else None
