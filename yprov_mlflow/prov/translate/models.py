"""Logged models, and the versions of registered ones that events name."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.events import ModelLogged, OutputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import Value, name, optional_text, plain, text, whole
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.params_tags import add_param, delete_tag, set_tags
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.translation import Translation, sequence

_INFERRED: Attributes = {"mlf:basis": name("mlf:inferred")}

_VERSION_TYPES = {
    "model": (["mlf:RegisteredModel"], ["mlf:ModelVersion"]),
    "prompt": (["mlf:RegisteredModel", "mlf:Prompt"], ["mlf:ModelVersion", "mlf:PromptVersion"]),
}

_MODEL_TYPES = ("mls:Model", "fair4ml:MLModel", "mlf:LoggedModel")


def model_entity(model_id: str) -> str:
    """Return the id of a logged model's entity."""
    return f"{STORE}:logged-model/{segment(model_id)}"


def declare_model(translation: Translation, model_id: str) -> str:
    """Add a logged model, if the document does not have it yet, and return its entity."""
    entity = model_entity(model_id)
    if entity not in translation.builder.records.get("entity", {}):
        attributes = {"mlf:modelId": text(model_id)}
        translation.builder.entity(entity, _MODEL_TYPES, text(model_id), attributes)
    return entity


def declare_version(translation: Translation, subject: Mapping[str, str]) -> str:
    """Add a version of a model or prompt, and the model or prompt itself; return the version."""
    builder = translation.builder
    kind = "prompt" if "prompt" in subject else "model"
    model = f"{STORE}:model/{segment(subject[kind])}"
    entity = f"{model}/version/{segment(subject['version'])}"
    labels = subject[kind], f"{subject[kind]} {subject['version']}"
    for identifier, types, label in zip((model, entity), _VERSION_TYPES[kind], labels, strict=True):
        if identifier not in builder.records["entity"]:
            builder.entity(identifier, types, text(label))
    if kind == "prompt":
        translation.prompts.add(model)
    translation.model_versions[entity] = None
    builder.specialization_of(entity, model)
    logged_model = subject.get("logged-model")
    # The call that made a version states its origin itself.
    if logged_model is not None and entity not in builder.generations:
        origin = declare_model(translation, logged_model)
        if not _comes_later(translation, origin):
            builder.was_derived_from(entity, origin)
    return entity


def _declare_any(translation: Translation, subject: Mapping[str, str]) -> str | None:
    """Add the logged model or the version that a subject names."""
    if "version" in subject:
        return declare_version(translation, subject)
    model_id = subject.get("logged-model")
    return declare_model(translation, model_id) if model_id is not None else None


def _comes_later(translation: Translation, model: str) -> bool:
    """Return whether a later event of the document creates a model: of a clock that lags."""
    return model in translation.models_to_create - translation.models_created


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
    attributes: Attributes = {
        "schema:name": optional_text(event.name),
        "mlf:modelType": optional_text(event.model_type),
        "mlf:status": status(event.status),
        "mlf:experimentId": optional_text(event.experiment_id),
        "mlf:artifactUri": optional_text(event.artifact_uri),
        "mlf:creationTime": literals.timestamp(event.creation_time_ms),
        "mlf:creationTimeMs": whole(event.creation_time_ms),
        "mlf:fields": literals.canonical(dict(event.fields)) if event.fields else None,
        "mlf:sequence": sequence(event) if first else None,
    }
    builder.entity(entity, (), text(event.name) if event.name else None, attributes)
    if creates(event) and entity not in translation.models_created:
        _create(translation, ref, entity)
        if ref.time is not None:
            translation.training.add_model(entity)
    elif entity not in translation.models_created:
        builder.was_influenced_by(entity, ref.activity)
    base = _declare_any(translation, event.base) if event.base else None
    if base is not None and base != entity and not _comes_later(translation, base):
        builder.was_derived_from(entity, base)
    if event.status == "READY":
        translation.training.complete_model(entity)
    _set_properties(translation, ref, event, entity)


def _create(translation: Translation, ref: ActivityRef, entity: str) -> None:
    """Generate a model."""
    translation.models_created.add(entity)
    # Deleted before, by another clock: PROV forbids a generation after the invalidation.
    if entity not in translation.builder.invalidated:
        translation.builder.was_generated_by(entity, ref.activity, ref.time)


def add_training(translation: Translation) -> None:
    """Derive each model from the datasets that it was trained on; the result is an inference."""
    builder = translation.builder
    trained_on: dict[str, list[Value]] = {}
    for model, dataset in translation.training.pairs():
        if model in builder.generations:
            builder.was_derived_from(model, dataset, "mlf:TrainedOn", attributes=_INFERRED)
            trained_on.setdefault(model, []).append(name(dataset))
    for model, datasets in trained_on.items():
        builder.entity(model, attributes={"fair4ml:trainedOn": datasets})


def _set_properties(
    translation: Translation, ref: ActivityRef, event: ModelLogged, entity: str
) -> None:
    for key, value in (event.params or {}).items():
        add_param(translation, ref, key, value, entity)
    set_tags(translation, ref, event.tags or {}, entity)
    if event.deleted_tag is not None:
        delete_tag(translation, ref, event.deleted_tag, entity)
    if event.status is not None:
        prop = VersionedProperty(f"{entity}/status", ("mlf:ModelStatus",), subject=entity)
        attributes = {"mlf:sequence": sequence(event)}
        translation.history.assign(prop, ref, status(event.status), attributes)
    if event.status == "DELETED":
        translation.builder.was_invalidated_by(entity, ref.activity, ref.time)


def on_outputs(translation: Translation, event: OutputsLogged) -> None:
    """Add the models that are outputs of the run, each with its step."""
    ref = translation.activity_ref(event)
    for model_id, step in event.models:
        entity = declare_model(translation, str(model_id))
        number = literals.number(step)
        extra, attributes = str("" if number is None else number), {"mlf:step": plain(number)}
        translation.builder.was_influenced_by(
            entity, ref.activity, "mlf:RunOutput", extra, attributes
        )
