"""The run, its record in the store, its experiment and its name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from yprov_mlflow.prov.events import STORE_SESSION, RunCreated, RunUpdated
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment
from yprov_mlflow.prov.model.literals import Value, name, optional_text, text, whole
from yprov_mlflow.prov.translate import params_tags
from yprov_mlflow.prov.translate.endings import add_closing
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.sessions import partial, status
from yprov_mlflow.prov.translate.translation import Translation, sequence

EDITION = 2
"""Edition of the mapping from MLflow to PROV."""

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
    problems: list[str] = dataclasses.field(default_factory=list)  # of the journals

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
    uri = text(store.get("uri") or "")
    types, attributes = ["mlf:TrackingStore", "prov:Collection"], {"mlf:uri": uri or None}
    return builder.entity(f"{STORE}:store", types, uri or "tracking store", attributes)


def add_run(translation: Translation, created: RunCreated | None, facts: RunFacts) -> None:
    """Add the run, its experiment and its record in the store."""
    builder, timeline = translation.builder, translation.timeline
    start = timeline.start_ns(created.start_time_ms if created is not None else None)
    end = timeline.end_ns(facts.end_time_ms)
    if end is not None and start is not None and end < start:
        end = None  # the caller's clock, or a caller's mistake; PROV allows no such activity
    # A run without updates is running, if a capture saw it.
    from_store = created is not None and created.session == STORE_SESSION
    first_status = None if from_store and not timeline.sessions else "RUNNING"
    user_id = created.user_id if created is not None else None
    run_id = translation.namespaces.run_id
    parts: list[Value] = []
    # The creation is missing if the journal of the creating process is lost.
    if created is not None:
        tracking_store = add_store(builder, created.store)
        experiment = _add_experiment(builder, created)
        builder.had_member(tracking_store, experiment)
        parts.append(name(experiment))
    parent = translation.namespaces.parent_id
    if parent is not None:
        parts.append(name(translation.namespaces.of_run(parent)))
    attributes: Attributes = {
        "mlf:runId": text(run_id),
        "mlf:status": status(facts.status or first_status),
        # Old stores have runs with an empty login, which must come back as it was.
        "mlf:userId": optional_text(translation.login(user_id) if user_id else user_id),
        "mlf:startTimeMs": whole(created.start_time_ms) if created is not None else None,
        "mlf:endTimeMs": whole(facts.end_time_ms),
        "mlf:partial": partial(facts.problems),
        "dcterms:isPartOf": parts or None,
    }
    types, label = ["mls:Run", "mlf:Run"], text(facts.run_name or run_id)
    start_text, end_text = literals.instant(start or 0), literals.instant(end or 0)
    builder.activity(_RUN, start_text, end_text, types, label, attributes)
    if parent is not None:
        starter = builder.activity(translation.namespaces.of_run(parent))
        builder.was_started_by(_RUN, starter, start_text)
    if user_id:
        owner = translation.user(user_id)
        builder.was_associated_with(_RUN, owner, "mlf:owner", facts.plan)
    if facts.plan is not None:
        builder.used(_RUN, facts.plan, None, "mlf:code")
    _add_record(translation, created)


def add_inputs_and_outputs(builder: Builder) -> None:
    """Add the run's inputs and outputs in the terms of ML-Schema."""
    inputs = {r["prov:entity"] for r in builder.section("used") if r["prov:activity"] == _RUN}
    model = re.compile(f"{STORE}:logged-model/[^/]+")
    outputs = sorted(entity for entity in builder.generations if model.fullmatch(entity))
    terms: Attributes = {
        "mls:hasInput": [name(entity) for entity in sorted(inputs)] or None,
        "mls:hasOutput": [name(entity) for entity in outputs] or None,
    }
    builder.activity(_RUN, attributes=terms)


def _add_experiment(builder: Builder, created: RunCreated) -> str:
    identifier, label = created.experiment_id, optional_text(created.experiment_name)
    attributes = {"mlf:experimentId": text(identifier), "schema:name": label}
    experiment, types = (
        f"{STORE}:experiment/{segment(identifier)}",
        ["prov:Collection", "mlf:Experiment"],
    )
    builder.entity(experiment, types, label or text(identifier), attributes)
    builder.had_member(experiment, _RECORD)
    return experiment


def _add_record(translation: Translation, created: RunCreated | None) -> None:
    builder = translation.builder
    activity, time = _RUN, None
    attributes: Attributes = {"mlf:about": name(_RUN), "mlf:edition": literals.integer(EDITION)}
    if created is not None:
        ref = translation.activity_ref(created)
        activity, time = ref.activity, ref.time
        fields = literals.canonical(dict(created.fields)) if created.fields else None
        uri = optional_text(created.artifact_uri)
        attributes = {**attributes, "mlf:artifactUri": uri, "mlf:fields": fields}
    builder.entity(_RECORD, ["prov:Bundle", "mlf:RunRecord"], "record of the run", attributes)
    builder.was_generated_by(_RECORD, activity, time)
    _add_record_version(translation, activity, time)


def _add_record_version(translation: Translation, activity: str, time: str | None) -> None:
    """Add the record from its creation, or from a restoration, to its deletion."""
    builder = translation.builder
    translation.record_number += 1
    number = translation.record_number
    entity = f"{_RECORD}/{number}"
    builder.entity(entity, ["mlf:RunRecord"], f"record of the run, {number}")
    builder.specialization_of(entity, _RECORD)
    builder.was_generated_by(entity, activity, time)
    if number > 1:
        builder.was_revision_of(entity, f"{_RECORD}/{number - 1}")


def on_created(translation: Translation, event: RunCreated) -> None:
    """Add the first name and tags of the run."""
    if event is translation.created:
        _set_name(translation, event, translation.activity_ref(event))
    params_tags.on_tags(translation, event)


def on_update(translation: Translation, event: RunUpdated) -> None:
    """Add a new name, a deletion, a restoration or an inferred end of the run."""
    ref = translation.activity_ref(event)
    _set_name(translation, event, ref)
    if event.lifecycle is not None:
        _change_lifecycle(translation, event, ref)
    add_closing(translation, event)


def _set_name(translation: Translation, event: RunCreated | RunUpdated, ref: ActivityRef) -> None:
    if event.run_name is not None:
        translation.history.assign(_NAME, ref, text(event.run_name))


def _change_lifecycle(translation: Translation, event: RunUpdated, ref: ActivityRef) -> None:
    builder = translation.builder
    before = translation.lifecycle or "active"
    after = event.lifecycle
    # Deleting a deleted run changes nothing, and after `mlflow gc` nothing can be restored.
    if after == before or before == "purged" or after not in _OPERATIONS:
        return
    translation.lifecycle = after
    operation = _OPERATIONS[after]
    activity, label = f"{RUN}:event/{operation}/{ref.token}", f"{operation} run"
    attributes = {"mlf:method": f"{operation}_run", "mlf:sequence": sequence(event)}
    builder.activity(activity, ref.time, ref.time, ["mlf:StoreOperation"], label, attributes)
    if after == "active":
        _add_record_version(translation, activity, ref.time)
        return
    builder.was_invalidated_by(f"{_RECORD}/{translation.record_number}", activity, ref.time)
    if after == "purged":
        builder.was_invalidated_by(_RECORD, activity, ref.time)
