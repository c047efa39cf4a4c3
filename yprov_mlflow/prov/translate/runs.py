"""The run itself, its record in the store, its experiment; its end, deletion and name."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.events import STORE_SESSION, RunCreated, RunUpdated
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Builder
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment
from yprov_mlflow.prov.model.literals import Value, integer, name, text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.translation import Translation, sequence

RUN_ID = f"{RUN}:run"
RECORD = f"{RUN}:record"
_NAME = VersionedProperty(f"{RUN}:name", ("mlf:Name",))

_OPERATIONS = {"deleted": "delete", "active": "restore", "purged": "purge"}


def add_store(builder: Builder, store: Mapping[str, str]) -> str:
    """Make the entity of the tracking store."""
    uri = store.get("uri")
    return builder.entity(
        f"{STORE}:store",
        ["mlf:TrackingStore"],
        text(uri) if uri else "tracking store",
        {"mlf:uri": text(uri) if uri else None},
    )


def add_run(
    translation: Translation,
    created: RunCreated | None,
    facts: RunFacts,
) -> None:
    """Make the records of the run and of its record in the store."""
    builder, timeline = translation.builder, translation.timeline
    start = timeline.start_ns(created.start_time_ms if created is not None else None)
    end = timeline.end_ns(facts.end_time_ms)
    if end is not None and start is not None and end < start:
        end = None
    start_text = literals.instant(start or 0)
    run_id = translation.namespaces.run_id
    parts: list[Value] = []
    if created is not None:
        add_store(builder, created.store)
        parts.append(name(_add_experiment(builder, created)))
    parent = translation.namespaces.parent_id
    if parent is not None:
        parts.append(name(translation.namespaces.of_run(parent)))
    builder.activity(
        RUN_ID,
        start_text,
        literals.instant(end or 0),
        ["mls:Run", "mlf:Run"],
        text(facts.run_name or run_id),
        {
            "mlf:runId": text(run_id),
            "mlf:status": status(facts.status or _first_status(translation, created)),
            "mlf:userId": _user_id(translation, created),
            "mlf:startTimeMs": _integer(created.start_time_ms) if created is not None else None,
            "mlf:endTimeMs": _integer(facts.end_time_ms),
            "dcterms:isPartOf": parts or None,
        },
    )
    if parent is not None:
        starter = builder.activity(translation.namespaces.of_run(parent))
        builder.was_started_by(RUN_ID, starter, start_text)
    if created is not None and created.user_id:
        builder.was_associated_with(
            RUN_ID, translation.user(created.user_id), "mlf:owner", facts.plan
        )
    elif facts.plan is not None and not translation.timeline.sessions:
        builder.was_influenced_by(RUN_ID, facts.plan)  # no agent that could have followed it
    _add_record(translation, created)


class RunFacts:
    """What is known of a run at the end: its last status, end and name, and its code."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.end_time_ms: int | None = None
        self.run_name: str | None = None
        self.plan: str | None = None

    def update(self, event: RunUpdated) -> None:
        """Take a change into account."""
        if event.status is not None:
            self.status = event.status
            if event.status == "RUNNING":
                self.end_time_ms = None
        if isinstance(event.end_time_ms, int):
            self.end_time_ms = event.end_time_ms
        if event.run_name is not None:
            self.run_name = event.run_name


def _first_status(translation: Translation, created: RunCreated | None) -> str | None:
    """Give the status of a run of which none was told: who has seen it knows that it ran."""
    found = created is not None and created.session == STORE_SESSION
    return None if found and not translation.timeline.sessions else "RUNNING"


def _user_id(translation: Translation, created: RunCreated | None) -> Value | None:
    """Give the login of the run's user; old stores have an empty one."""
    if created is None or created.user_id is None:
        return None
    return text(translation.login(created.user_id) if created.user_id else "")


def _integer(value: int | None) -> Value | None:
    return integer(value) if isinstance(value, int) else None


def _add_experiment(builder: Builder, created: RunCreated) -> str:
    experiment = builder.entity(
        f"{STORE}:experiment/{segment(created.experiment_id)}",
        ["prov:Collection", "mlf:Experiment"],
        text(created.experiment_name or created.experiment_id),
        {
            "mlf:experimentId": text(created.experiment_id),
            "schema:name": (
                text(created.experiment_name) if created.experiment_name is not None else None
            ),
        },
    )
    builder.had_member(experiment, RECORD)
    return experiment


def _add_record(translation: Translation, created: RunCreated | None) -> None:
    builder = translation.builder
    act = translation.act(created) if created is not None else None
    activity, time = (act.activity, act.time) if act is not None else (RUN_ID, None)
    builder.entity(
        RECORD,
        ["prov:Bundle", "mlf:RunRecord"],
        "record of the run",
        {
            "mlf:about": name(RUN_ID),
            "mlf:artifactUri": (
                text(created.artifact_uri)
                if created is not None and created.artifact_uri is not None
                else None
            ),
            "mlf:fields": (
                literals.canonical(dict(created.fields))
                if created is not None and created.fields
                else None
            ),
        },
    )
    builder.was_generated_by(RECORD, activity, time)
    _next_record(translation, activity, time)


def _next_record(translation: Translation, activity: str, time: str | None) -> str:
    builder = translation.builder
    previous = f"{RECORD}/{translation.record_number}"
    translation.record_number += 1
    entity = f"{RECORD}/{translation.record_number}"
    label = f"record of the run, {translation.record_number}"
    builder.entity(entity, ["mlf:RunRecord"], label)
    builder.specialization_of(entity, RECORD)
    builder.was_generated_by(entity, activity, time)
    if translation.record_number > 1:
        builder.was_revision_of(entity, previous)
    return entity


def on_update(translation: Translation, event: RunUpdated) -> None:
    """Make the records of a new name, a deletion, a restoration."""
    act = translation.act(event)
    if event.run_name is not None:
        translation.histories.assign(_NAME, act, text(event.run_name))
    if event.lifecycle is not None:
        _change_lifecycle(translation, event, act)


def _change_lifecycle(translation: Translation, event: RunUpdated, act: ActivityRef) -> None:
    builder = translation.builder
    before = translation.lifecycle or "active"
    now = event.lifecycle
    if now == before or before == "purged" or now not in _OPERATIONS:
        return
    translation.lifecycle = now
    operation = _OPERATIONS[now]
    activity = builder.activity(
        f"{RUN}:event/{operation}/{act.token}",
        act.time,
        act.time,
        ["mlf:StoreOperation"],
        f"{operation} run",
        {"mlf:method": f"{operation}_run", "mlf:sequence": sequence(event)},
    )
    current = f"{RECORD}/{translation.record_number}"
    if now == "active":
        _next_record(translation, activity, act.time)
        return
    builder.was_invalidated_by(current, activity, act.time)
    if now == "purged":
        builder.was_invalidated_by(RECORD, activity, act.time)


def first_name(translation: Translation, created: RunCreated) -> None:
    """Make the record of the name that the run was given when it was created."""
    if created.run_name is not None:
        translation.histories.assign(_NAME, translation.act(created), text(created.run_name))
