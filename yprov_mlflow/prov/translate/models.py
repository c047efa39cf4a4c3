"""Inputs and outputs of a run: datasets and logged models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.events import STORE_SESSION, InputsLogged, ModelLogged, OutputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import STORE, content, segment
from yprov_mlflow.prov.model.literals import optional_text, plain, text, whole
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.params_tags import add_param, delete_tag, set_tags
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.translation import DatasetUse, Translation, sequence

CONTEXT = "mlflow.data.context"
"""MLflow's input tag for the purpose of a dataset."""

TERMS = {
    "digest": "mlf:digest",
    "source_type": "mlf:sourceType",
    "source": "mlf:source",
    "schema": "mlf:schema",
    "profile": "mlf:profile",
}
"""Terms for the fields of a dataset but its name."""

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
    _set_properties(translation, ref, event, entity)


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
        steps = (ref.activity, generation, use.usage) if same else ()
        builder.was_derived_from(entity, use.entity, "mlf:TrainedOn", steps)
    # Ignore inputs that this run creates later; otherwise derivations form a cycle.
    later = translation.models_to_create - translation.models_created
    for base in translation.models_used:
        if base == entity or base in later:
            continue
        if generation is None:
            builder.was_influenced_by(entity, base)
        else:
            builder.was_derived_from(entity, base, "mlf:BasedOn")


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
        time = None if model in later else ref.time
        translation.builder.used(ref.activity, model, time, "mlf:inputModel")
        translation.models_used[model] = None


def _use_dataset(translation: Translation, ref: ActivityRef, dataset: Mapping[str, Any]) -> None:
    fields = {key: dataset.get(key) for key in ("name", *TERMS)}
    terms = {"name": "schema:name", **TERMS}
    entity, types = content({"dataset": fields}), ["mls:Dataset", "schema:Dataset"]
    attributes = {term: plain(fields[key]) for key, term in terms.items()}
    label = text(fields["name"] or "data set")
    translation.builder.entity(entity, types, label, attributes)
    tags = literals.pairs(dataset.get("tags"))
    context = tags.pop(CONTEXT, None)
    role = _ROLES.get(str(context).lower(), "input")
    others = literals.canonical(tags) if tags else None
    of_usage = {"mlf:datasetContext": optional_text(context), "mlf:inputTags": others}
    # One run may use a dataset for several purposes.
    extra = segment(context) if context is not None else ""
    used = translation.builder.used
    usage = used(ref.activity, entity, ref.time, f"mlf:{role}", extra, of_usage)
    # A dataset of unspecified purpose may have been used for training.
    trains = role not in ("evaluation", "testing")
    earlier = translation.datasets.get(entity)
    if earlier is None or (trains and not earlier.trains):
        translation.datasets[entity] = DatasetUse(entity, ref.activity, usage, trains)
