"""The run, its record in the store, its experiment and its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from yprov_mlflow.prov.events import STORE_SESSION, RunCreated, RunUpdated
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment
from yprov_mlflow.prov.model.literals import Value, integer, name, text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.translation import Translation, sequence

_RUN = f"{RUN}:run"
_RECORD = f"{RUN}:record"
_NAME = VersionedProperty(f"{RUN}:name", ("mlf:Name",))

_OPERATIONS = {"deleted": "delete", "active": "restore", "purged": "purge"}
"""Operations on a run by the lifecycle stage that they lead to."""


@dataclasses.dataclass
class RunFacts:
    """The last status, end time and name of a run, and the plan that is its code."""

    status: str | None = None
    end_time_ms: int | None = None
    run_name: str | None = None
    plan: str | None = None

    def update(self, event: RunUpdated) -> None:
        """Apply a change."""
        if event.status is not None:
            self.status = event.status
            if event.status == "RUNNING":  # resumed
                self.end_time_ms = None
        if isinstance(event.end_time_ms, int):
            self.end_time_ms = event.end_time_ms
        if event.run_name is not None:
            self.run_name = event.run_name


def add_store(builder: Builder, store: Mapping[str, str]) -> str:
    """Add the tracking store."""
    uri = store.get("uri")
    return builder.entity(
        f"{STORE}:store",
        ["mlf:TrackingStore"],
        text(uri) if uri else "tracking store",
        {"mlf:uri": text(uri) if uri else None},
    )


def add_run(translation: Translation, created: RunCreated | None, facts: RunFacts) -> None:
    """Add the run, its experiment and its record in the store."""
    builder, timeline = translation.builder, translation.timeline
    start = timeline.start_ns(created.start_time_ms if created is not None else None)
    end = timeline.end_ns(facts.end_time_ms)
    if end is not None and start is not None and end < start:
        end = None  # the caller's clock, or a caller's mistake; PROV allows no such activity
    start_text = literals.instant(start or 0)
    run_id = translation.namespaces.run_id
    parts: list[Value] = []
    # The creation is missing if the journal of the creating process is lost.
    if created is not None:
        add_store(builder, created.store)
        parts.append(name(_add_experiment(builder, created)))
    parent = translation.namespaces.parent_id
    if parent is not None:
        parts.append(name(translation.namespaces.of_run(parent)))
    builder.activity(
        _RUN,
        start_text,
        literals.instant(end or 0),
        ["mls:Run", "mlf:Run"],
        text(facts.run_name or run_id),
        {
            "mlf:runId": text(run_id),
            "mlf:status": status(facts.status or _initial_status(translation, created)),
            "mlf:userId": _user_id(translation, created),
            "mlf:startTimeMs": _integer(created.start_time_ms) if created is not None else None,
            "mlf:endTimeMs": _integer(facts.end_time_ms),
            "dcterms:isPartOf": parts or None,
        },
    )
    if parent is not None:
        starter = builder.activity(translation.namespaces.of_run(parent))
        builder.was_started_by(_RUN, starter, start_text)
    if created is not None and created.user_id:
        owner = translation.user(created.user_id)
        builder.was_associated_with(_RUN, owner, "mlf:owner", facts.plan)
    elif facts.plan is not None and not timeline.sessions:
        # A plan is part of an association, which needs an agent.
        builder.was_influenced_by(_RUN, facts.plan)
    _add_record(translation, created)


def _initial_status(translation: Translation, created: RunCreated | None) -> str | None:
    """Return the status of a run without updates: running, if a capture saw it."""
    from_store = created is not None and created.session == STORE_SESSION
    return None if from_store and not translation.timeline.sessions else "RUNNING"


def _user_id(translation: Translation, created: RunCreated | None) -> Value | None:
    if created is None or created.user_id is None:
        return None
    # Old stores have runs with an empty login, which must come back as it was.
    return text(translation.login(created.user_id) if created.user_id else "")


def _integer(value: int | None) -> Value | None:
    return integer(value) if isinstance(value, int) else None


def _add_experiment(builder: Builder, created: RunCreated) -> str:
    label = created.experiment_name
    experiment = builder.entity(
        f"{STORE}:experiment/{segment(created.experiment_id)}",
        ["prov:Collection", "mlf:Experiment"],
        text(label or created.experiment_id),
        {
            "mlf:experimentId": text(created.experiment_id),
            "schema:name": text(label) if label is not None else None,
        },
    )
    builder.had_member(experiment, _RECORD)
    return experiment


def _add_record(translation: Translation, created: RunCreated | None) -> None:
    builder = translation.builder
    activity, time = _RUN, None
    attributes: dict[str, Value | list[Value] | None] = {"mlf:about": name(_RUN)}
    if created is not None:
        ref = translation.activity_ref(created)
        activity, time = ref.activity, ref.time
        if created.artifact_uri is not None:
            attributes["mlf:artifactUri"] = text(created.artifact_uri)
        if created.fields:
            attributes["mlf:fields"] = literals.canonical(dict(created.fields))
    types = ["prov:Bundle", "mlf:RunRecord"]
    builder.entity(_RECORD, types, "record of the run", attributes)
    builder.was_generated_by(_RECORD, activity, time)
    _add_record_version(translation, activity, time)


def _add_record_version(translation: Translation, activity: str, time: str | None) -> None:
    """Add the record from its creation, or from a restoration, to its deletion."""
    builder = translation.builder
    previous = f"{_RECORD}/{translation.record_number}"
    translation.record_number += 1
    entity = f"{_RECORD}/{translation.record_number}"
    label = f"record of the run, {translation.record_number}"
    builder.entity(entity, ["mlf:RunRecord"], label)
    builder.specialization_of(entity, _RECORD)
    builder.was_generated_by(entity, activity, time)
    if translation.record_number > 1:
        builder.was_revision_of(entity, previous)


def on_update(translation: Translation, event: RunUpdated) -> None:
    """Add a new name, a deletion or a restoration of the run."""
    ref = translation.activity_ref(event)
    if event.run_name is not None:
        translation.history.assign(_NAME, ref, text(event.run_name))
    if event.lifecycle is not None:
        _change_lifecycle(translation, event, ref)


def _change_lifecycle(translation: Translation, event: RunUpdated, ref: ActivityRef) -> None:
    builder = translation.builder
    before = translation.lifecycle or "active"
    after = event.lifecycle
    # Deleting a deleted run changes nothing, and after `mlflow gc` nothing can be restored.
    if after == before or before == "purged" or after not in _OPERATIONS:
        return
    translation.lifecycle = after
    operation = _OPERATIONS[after]
    activity = builder.activity(
        f"{RUN}:event/{operation}/{ref.token}",
        ref.time,
        ref.time,
        ["mlf:StoreOperation"],
        f"{operation} run",
        {"mlf:method": f"{operation}_run", "mlf:sequence": sequence(event)},
    )
    current = f"{_RECORD}/{translation.record_number}"
    if after == "active":
        _add_record_version(translation, activity, ref.time)
        return
    builder.was_invalidated_by(current, activity, ref.time)
    if after == "purged":
        builder.was_invalidated_by(_RECORD, activity, ref.time)


def set_initial_name(translation: Translation, created: RunCreated) -> None:
    """Add the name that the run was created with."""
    if created.run_name is not None:
        ref = translation.activity_ref(created)
        translation.history.assign(_NAME, ref, text(created.run_name))
