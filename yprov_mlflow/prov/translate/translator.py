"""The translator: events of one run, or of one store, to its PROV document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from yprov_mlflow.prov import authorship, events, ids
from yprov_mlflow.prov.events import STORE_SESSION, TERMINAL, Event
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import NO_STORE, Namespaces
from yprov_mlflow.prov.translate import (
    datasets,
    models,
    params_tags,
    runs,
    sessions,
    source_code,
    usages,
    workflows,
)
from yprov_mlflow.prov.translate.artifacts import on_artifacts
from yprov_mlflow.prov.translate.collectors import add_measurements
from yprov_mlflow.prov.translate.descriptions import add_description
from yprov_mlflow.prov.translate.endings import as_observed, session_endings
from yprov_mlflow.prov.translate.file_records import add_files
from yprov_mlflow.prov.translate.measurements import Measurements
from yprov_mlflow.prov.translate.metrics import add_metrics
from yprov_mlflow.prov.translate.point_batches import PointsSink
from yprov_mlflow.prov.translate.points import Points
from yprov_mlflow.prov.translate.refusals import refused_calls, without_refused
from yprov_mlflow.prov.translate.store_calls import on_call
from yprov_mlflow.prov.translate.store_calls.registry import add_model_types
from yprov_mlflow.prov.translate.store_calls.spans import add_spans
from yprov_mlflow.prov.translate.timeline import Timeline, context_spans, event_time
from yprov_mlflow.prov.translate.translation import Options, Translation

_E = TypeVar("_E", bound=Event)


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
        self._run_id = ""

    def feed(self, event: Event) -> None:
        """Add one event.

        Raises:
            ValueError: The event belongs to another run than those before it.
        """
        if event.run_id and event.run_id != self._run_id:
            if self._run_id:
                raise ValueError(
                    f"an event of run {event.run_id!r} does not belong in the document of"
                    f" {self._run_id!r}; use one translator for each run"
                )
            self._run_id = event.run_id
        if type(event) is events.MetricsLogged:
            self._points.add(event)
        elif isinstance(event, events.CollectorStarted | events.Sampled | events.CollectorStopped):
            self._measurements.add(event)
        else:
            self._events.append(event)
            if type(event) is events.RunUpdated and event.status in TERMINAL:
                change = as_observed(event) or event
                self._points.mark_end(change.time_ns)

    def finish(self) -> Document:
        """Return the document of all events; call it once."""
        log = without_refused(sorted(self._events, key=_order))
        store = ids.store_of(self._run_id)
        created = next(iter(_of(events.RunCreated, log)), None)
        uuid = created.store.get("uuid") if created is not None else None
        namespaces = Namespaces(
            self.options.base_uri,
            "" if store is not None else self._run_id,
            store or str(uuid or NO_STORE),
            _parent(log, self._run_id),
        )
        facts = runs.RunFacts(run_name=created.run_name if created is not None else None)
        for update in _of(events.RunUpdated, log):
            facts.update(update)
        for lost in _journal_facts(log):
            texts = map(str, lost.facts.get("problems", ()))
            facts.problems.extend(text for text in texts if text not in facts.problems)
        timeline = self._timeline(log, facts.status in TERMINAL, not namespaces.run_id)
        translation = Translation(self.options, namespaces, timeline, created)
        translation.models_to_create = {
            models.model_entity(event.model_id)
            for event in _of(events.ModelLogged, log)
            if models.creates(event)
        }
        facts_by_session = _facts_by_session(log)
        # PROV knows usage only after generation: records that others refer to come first, then
        # those of events in order of time.
        _add_sessions(translation, log, facts_by_session, facts)
        if namespaces.run_id:
            runs.add_run(translation, created, facts)
            for session_facts in facts_by_session.values():
                if authorship.TABLE in session_facts:
                    add_description(translation, session_facts[authorship.TABLE])
            sessions.add_contexts(translation)
            workflows.add_workflows(translation, log, facts_by_session)
        elif created is not None:
            runs.add_store(translation.builder, created.store)
        for event in log:
            handler = _HANDLERS.get(type(event))
            if handler is not None and (namespaces.run_id or type(event) in _STORE_LEVEL):
                handler(translation, event)
        usages.add_unmade(translation)
        models.add_training(translation)
        add_model_types(translation)
        if namespaces.run_id:
            add_files(translation, log)
            runs.add_inputs_and_outputs(translation.builder)
            add_metrics(translation, self._points)
            add_measurements(translation, self._measurements, facts_by_session)
        add_spans(translation)
        return translation.builder.document(namespaces.prefixes())

    def _timeline(self, log: list[Event], ended: bool, store_level: bool) -> Timeline:
        ranks: dict[str, int] = {}
        for started in _of(events.SessionStarted, log):
            rank = started.facts.get("rank")
            if isinstance(rank, int) and rank > 0:
                ranks[started.session] = rank
        updates = _of(events.RunUpdated, log)
        observed = map(as_observed, (u for u in updates if u.status is not None and event_time(u)))
        changes = sorted((u for u in observed if u is not None), key=lambda u: u.time_ns)
        times: dict[str, set[int]] = defaultdict(set)
        for event in log:
            if event_time(event) and _extends_session(event):
                times[event.session].add(event.time_ns)
        for session, time_ns in self._points.times():
            times[session].add(time_ns)
        self._add_sample_times(times, changes)
        missing = {lost.session: lost.facts.get("missing", ()) for lost in _journal_facts(log)}
        endings = session_endings(log, times)
        timeline = Timeline(
            *(times, changes, ranks, missing, endings), ended=ended, store_level=store_level
        )
        if not store_level:
            timeline.add_contexts(context_spans(log, ranks, missing))
        return timeline

    def _add_sample_times(
        self, times: dict[str, set[int]], changes: list[events.RunUpdated]
    ) -> None:
        """Extend sessions to their last samples, but not beyond the end of the run."""
        last_status = {change.session: change.status for change in changes}
        ends_ns = [change.time_ns for change in changes if change.status in TERMINAL]
        for session, time_ns in self._measurements.last_times().items():
            # A process that ended the run went on sampling for a moment, but did no more work.
            if last_status.get(session) in TERMINAL:
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


_HANDLERS: Mapping[type[Event], Callable[[Translation, Any], None]] = {
    events.RunCreated: runs.on_created,
    events.RunUpdated: runs.on_update,
    events.ParamsLogged: params_tags.on_params,
    events.TagsSet: params_tags.on_tags,
    events.TagDeleted: params_tags.on_tag_deleted,
    events.InputsLogged: datasets.on_inputs,
    events.OutputsLogged: models.on_outputs,
    events.ArtifactsLogged: on_artifacts,
    events.ModelLogged: models.on_model,
    events.ObjectRead: usages.on_read,
    events.StoreCalled: on_call,
}

_STORE_LEVEL = frozenset({events.StoreCalled, events.ModelLogged, events.ArtifactsLogged})
"""Events that have a meaning without a run."""


def _of(kind: type[_E], log: list[Event]) -> list[_E]:
    return [event for event in log if isinstance(event, kind)]


def _journal_facts(log: list[Event]) -> list[events.FactsCollected]:
    facts = _of(events.FactsCollected, log)
    return [event for event in facts if event.collector == events.JOURNAL_FACTS]


def _order(event: Event) -> tuple[bool, int, str, int]:
    """Sort key: by time; events read from a store come last."""
    time_ns = event_time(event)
    return (not time_ns, time_ns, event.session, event.seq)


def _extends_session(event: Event) -> bool:
    """Return whether a session lasts at least until this event."""
    # Facts may come late, even after the end of the run. Terminal updates and deletions are not
    # part of the work either, unless they also rename the run.
    if isinstance(event, events.RunUpdated) and event.run_name is None:
        return event.status not in TERMINAL and event.lifecycle is None
    return not isinstance(event, events.FactsCollected | events.SessionEnded)


def _add_sessions(
    translation: Translation,
    log: list[Event],
    facts_by_session: sessions.FactsBySession,
    run_facts: runs.RunFacts,
) -> None:
    """Add sessions, their code and the facts of their collectors; set the run's plan."""
    for session, by_collector in facts_by_session.items():
        started = by_collector.get("session", {})
        translation.hosts[session] = str(started.get("host") or "unknown")
        translation.refusals[session] = refused_calls(log, session)
        if started.get("user"):
            translation.users[session] = translation.user(started["user"])
    collected = _of(events.FactsCollected, log)
    # Code first: the associations of the sessions name it as their plan.
    for session, by_collector in facts_by_session.items():
        plan = source_code.add_plan(
            translation, by_collector.get("git", {}), source_code.kept_files(by_collector)
        )
        if plan is not None:
            translation.plans.setdefault(session, plan)
            run_facts.plan = run_facts.plan or plan
    if run_facts.plan is None and translation.created is not None:
        run_facts.plan = source_code.add_plan(translation, _code_facts(translation.created, log))
    sessions.add_sessions(translation, facts_by_session)
    for event in collected:
        sessions.add_facts(translation, event)


def _facts_by_session(log: list[Event]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return for each session the facts of its collectors, and its own as ``session``."""
    facts: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for event in log:
        if isinstance(event, events.FactsCollected):
            if event.collector == events.OVERLAP_FACTS:  # each contains those before
                facts[event.session].pop(event.collector, None)
            facts[event.session].setdefault(event.collector, event.facts)
        elif isinstance(event, events.SessionStarted):
            facts[event.session].setdefault("session", event.facts)
    return facts


def _parent(log: list[Event], run_id: str) -> str | None:
    """Return the run that this run is nested in, by MLflow's tag."""
    tagged = (event for event in log if isinstance(event, events.RunCreated | events.TagsSet))
    parents = (event.tags.get(params_tags.PARENT_TAG) for event in tagged)
    return next((str(parent) for parent in parents if parent and parent != run_id), None)


def _code_facts(created: events.RunCreated, log: list[Event]) -> dict[str, str | None]:
    """Return facts about the code from MLflow's tags, or from the fields before these tags."""
    tags = dict(created.tags)
    # Sources of old runs give these tags apart from the creation of the run.
    for event in _of(events.TagsSet, log):
        if event.session == STORE_SESSION:
            tags.update(event.tags)
    fields = {
        key: value for key, value in created.fields.items() if value and isinstance(value, str)
    }
    return {
        "commit": tags.get("mlflow.source.git.commit") or fields.get("source_version"),
        "branch": tags.get("mlflow.source.git.branch"),
        "remote": tags.get("mlflow.source.git.repoURL"),
        "entry_point": tags.get("mlflow.source.name") or fields.get("source_name"),
    }
