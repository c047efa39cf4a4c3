"""Inputs and outputs of a run: datasets and logged models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.events import STORE_SESSION, InputsLogged, ModelLogged, OutputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import STORE, content, digest, segment
from yprov_mlflow.prov.model.literals import Value, name, optional_text, plain, text, whole
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.params_tags import add_param, delete_tag, set_tags
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.translation import Translation, sequence

CONTEXT = "mlflow.data.context"
"""MLflow's input tag for the purpose of a dataset."""

TERMS = {
    "digest": "mlf:digest",
    "schema": "mlf:schema",
    "profile": "mlf:profile",
}
"""Terms for the fields of a dataset's content."""

USAGE_TERMS = {"source_type": "mlf:sourceType", "source": "mlf:source"}
"""Terms for the fields of a dataset that the usage has, besides its name."""

# MLflow's digests are 8 or more hexadecimal digits; a date is none.
_COMPUTED_DIGEST = re.compile(r"(?!(?:19|20)\d{6}\Z)[0-9a-f]{8,64}")

_INFERRED: Attributes = {"mlf:basis": name("mlf:inferred")}

_ROLES = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("eval", "evaluation"), "evaluation"),
    **dict.fromkeys(("test", "testing"), "testing"),
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


def on_inputs(translation: Translation, event: InputsLogged) -> None:
    """Add the datasets and models that the run used."""
    ref = translation.activity_ref(event)
    # A store keeps no order of datasets: they are sorted, so that documents are reproducible.
    from_store = event.session == STORE_SESSION
    for dataset in sorted(event.datasets, key=literals.canonical) if from_store else event.datasets:
        if isinstance(dataset, Mapping):
            _use_dataset(translation, ref, dataset)
    later = translation.models_to_create - translation.models_created
    for model_id in event.models:
        model = declare_model(translation, str(model_id))
        # A usage before the creation of the model would be invalid PROV, so it gets no time.
        activity, within = translation.run_usage(ref)
        time = None if model in later else within
        translation.builder.used(activity, model, time, "mlf:inputModel")


def _use_dataset(translation: Translation, ref: ActivityRef, dataset: Mapping[str, Any]) -> None:
    """Add a dataset that the run used.

    The entity is the content; its name and source, which differ from run to run, belong to the
    usage.
    """
    fields = {key: dataset.get(key) for key in ("name", *TERMS, *USAGE_TERMS)}
    entity = content({"dataset": {key: fields[key] for key in _identity(fields)}})
    attributes: dict[str, Value | list[Value] | None] = {
        term: plain(fields[key]) for key, term in TERMS.items()
    }
    builder, dataset_name = translation.builder, optional_text(fields["name"])
    known = builder.records.get("entity", {}).get(entity, {}).get("schema:name")
    names = known if isinstance(known, list) else [known] if known is not None else []
    if dataset_name is not None and dataset_name not in names:
        attributes["schema:name"] = [*names, dataset_name]
    label = None if names else dataset_name or "dataset"
    builder.entity(entity, ["mls:Dataset", "schema:Dataset"], label, attributes)
    tags = literals.pairs(dataset.get("tags"))
    context = tags.pop(CONTEXT, None)
    of_usage: Attributes = {
        "mlf:datasetContext": optional_text(context),
        "mlf:datasetName": dataset_name,
        **{term: plain(fields[key]) for key, term in USAGE_TERMS.items()},
        "mlf:inputTags": literals.canonical(tags) if tags else None,
    }
    # One run may use a dataset for several purposes, and by several names.
    extra = digest([context, *(fields[key] for key in ("name", *USAGE_TERMS))])[:16]
    role = _ROLES.get(str(context).lower(), "input")
    activity, time = translation.run_usage(ref)
    builder.used(activity, entity, time, f"mlf:{role}", extra, of_usage)
    if role == "training" and ref.time is not None:
        translation.training.add_dataset(entity)


def _identity(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that identify the content of a dataset.

    MLflow computes a digest of the content, together with schema and profile. A digest of the
    user's own, or one without both, is only unique for a name and source.
    """
    computed = isinstance(fields["digest"], str) and _COMPUTED_DIGEST.fullmatch(fields["digest"])
    if computed and (fields["schema"] or fields["profile"]):
        return ("digest", "schema", "profile")
    return ("name", *TERMS, *USAGE_TERMS)
