"""Logged models: created by a run, derived from its inputs."""

from __future__ import annotations

from yprov_mlflow.prov.events import ModelLogged, OutputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.params_tags import add_param, delete_tag, set_tags
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.translation import Translation, sequence

_TYPES = ("mls:Model", "fair4ml:MLModel", "mlf:LoggedModel")


def model_entity(model_id: str) -> str:
    """Return the id of a logged model's entity."""
    return f"{STORE}:logged-model/{segment(model_id)}"


def declare_model(translation: Translation, model_id: str) -> str:
    """Add a logged model, if the document does not have it yet, and return its entity."""
    entity = model_entity(model_id)
    if entity not in translation.builder.records.get("entity", {}):
        attributes = {"mlf:modelId": text(model_id)}
        translation.builder.entity(entity, _TYPES, text(model_id), attributes)
    return entity


def creates(event: ModelLogged) -> bool:
    """Return whether the event creates the model; otherwise it changes it."""
    return event.creation_time_ms is not None or event.experiment_id is not None


def on_model(translation: Translation, event: ModelLogged) -> None:
    """Add a model that was created, or its changes."""
    ref = translation.activity_ref(event)
    builder = translation.builder
    entity = declare_model(translation, event.model_id)
    # The position of the creation restores the order of models; later events are changes.
    first = "mlf:sequence" not in builder.records["entity"][entity]
    created_ms = event.creation_time_ms
    builder.entity(
        entity,
        (),
        text(event.name) if event.name else None,
        {
            "schema:name": _text(event.name),
            "mlf:modelType": _text(event.model_type),
            "mlf:status": status(event.status),
            "mlf:experimentId": _text(event.experiment_id),
            "mlf:artifactUri": _text(event.artifact_uri),
            "mlf:creationTime": literals.timestamp(created_ms),
            "mlf:creationTimeMs": (
                literals.integer(created_ms) if isinstance(created_ms, int) else None
            ),
            "mlf:fields": literals.canonical(dict(event.fields)) if event.fields else None,
            "mlf:sequence": sequence(event) if first else None,
        },
    )
    if creates(event) and entity not in translation.models_created:
        _create(translation, ref, entity)
    _set_properties(translation, ref, event, entity)


def _text(value: str | None) -> str | None:
    return text(value) if value is not None else None


def _create(translation: Translation, ref: ActivityRef, entity: str) -> None:
    """Generate a model, and derive it from the datasets and models used so far."""
    builder = translation.builder
    translation.models_created.add(entity)
    # Deleted before, by another clock: PROV forbids a generation after the invalidation.
    if entity in builder.invalidated:
        return
    generation = builder.was_generated_by(entity, ref.activity, ref.time)
    for use in translation.datasets.values():
        if not use.trains:
            continue
        if generation is None:  # the model existed earlier, so it cannot derive from this
            builder.was_influenced_by(entity, use.entity)
            continue
        # PROV names the activity of a derivation only if it used the one and generated the other.
        same = use.activity == ref.activity
        builder.was_derived_from(
            entity,
            use.entity,
            "mlf:TrainedOn",
            activity=ref.activity if same else None,
            generation=generation if same else None,
            usage=use.usage if same else None,
        )
    for base in translation.models_used:
        # Ignore inputs that this run creates later; otherwise derivations form a cycle.
        if base == entity or base in translation.models_to_create - translation.models_created:
            continue
        if generation is None:
            builder.was_influenced_by(entity, base)
        else:
            builder.was_derived_from(entity, base, "mlf:BasedOn")


def _set_properties(
    translation: Translation, ref: ActivityRef, event: ModelLogged, entity: str
) -> None:
    for key, value in (event.params or {}).items():
        add_param(translation, ref, f"{entity}/param/{segment(key)}", key, value, entity)
    set_tags(translation, ref, event.tags or {}, f"{entity}/", entity)
    if event.deleted_tag is not None:
        delete_tag(translation, ref, event.deleted_tag, f"{entity}/", entity)
    if event.status is not None:
        prop = VersionedProperty(f"{entity}/status", ("mlf:ModelStatus",), subject=entity)
        number = {"mlf:sequence": sequence(event)}
        translation.history.assign(prop, ref, status(event.status), number)
    if event.status == "DELETED":
        translation.builder.was_invalidated_by(entity, ref.activity, ref.time)


def on_outputs(translation: Translation, event: OutputsLogged) -> None:
    """Add the models that are outputs of the run, each with its step."""
    ref = translation.activity_ref(event)
    for model_id, step in event.models:
        entity = declare_model(translation, str(model_id))
        number = literals.number(step)
        translation.builder.was_influenced_by(
            entity,
            ref.activity,
            "mlf:RunOutput",
            str(number) if number is not None else "",
            {"mlf:step": literals.integer(number) if number is not None else None},
        )
