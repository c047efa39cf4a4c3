"""Logged models: made by a run, of what it had read."""

from __future__ import annotations

from yprov_mlflow.prov.events import ModelLogged, OutputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.params import add_param
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.tags import delete_tag, set_tags
from yprov_mlflow.prov.translate.translation import Translation, sequence

_TYPES = ("mls:Model", "fair4ml:MLModel", "mlf:LoggedModel")


def model_id(given: str) -> str:
    """Give the id of a logged model's entity."""
    return f"{STORE}:logged-model/{segment(given)}"


def declare_model(translation: Translation, given: str) -> str:
    """Say that there is a logged model, of which nothing more is said here."""
    entity = model_id(given)
    if entity not in translation.builder.records.get("entity", {}):
        translation.builder.entity(entity, _TYPES, text(given), {"mlf:modelId": text(given)})
    return entity


def creates(event: ModelLogged) -> bool:
    """Tell whether the event is the model's creation and not a change."""
    return event.creation_time_ms is not None or event.experiment_id is not None


def on_model(translation: Translation, event: ModelLogged) -> None:
    """Make the records of a model's creation or change."""
    act = translation.act(event)
    builder = translation.builder
    entity = declare_model(translation, event.model_id)
    first = "mlf:sequence" not in builder.records["entity"][entity]
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
            "mlf:creationTime": literals.timestamp(event.creation_time_ms),
            "mlf:creationTimeMs": (
                literals.integer(event.creation_time_ms)
                if isinstance(event.creation_time_ms, int)
                else None
            ),
            "mlf:fields": literals.canonical(dict(event.fields)) if event.fields else None,
            "mlf:sequence": sequence(event) if first else None,
        },
    )
    if creates(event) and entity not in translation.models_made:
        _make(translation, act, entity)
    _set_facets(translation, act, event, entity)


def _text(value: str | None) -> str | None:
    return text(value) if value is not None else None


def _make(translation: Translation, act: ActivityRef, entity: str) -> None:
    builder = translation.builder
    translation.models_made.add(entity)
    if entity in builder.invalidated:
        return
    generation = builder.was_generated_by(entity, act.activity, act.time)
    for use in translation.datasets.values():
        if not use.trains:
            continue
        if generation is None:
            # It was there before: it came from what nobody here knows.
            builder.was_influenced_by(entity, use.entity)
            continue
        same = use.activity == act.activity
        builder.was_derived_from(
            entity,
            use.entity,
            "mlf:TrainedOn",
            activity=act.activity if same else None,
            generation=generation if same else None,
            usage=use.usage if same else None,
        )
    for base in translation.models_used:
        # What the run made later it did not read; without this, models derive in a circle.
        if base != entity and (
            base in translation.models_made or base not in translation.models_to_come
        ):
            if generation is None:
                builder.was_influenced_by(entity, base)
            else:
                builder.was_derived_from(entity, base, "mlf:BasedOn")


def _set_facets(
    translation: Translation, act: ActivityRef, event: ModelLogged, entity: str
) -> None:
    for key, value in (event.params or {}).items():
        add_param(translation, act, f"{entity}/param/{segment(key)}", key, value, entity)
    set_tags(translation, act, event.tags or {}, f"{entity}/", entity)
    if event.deleted_tag is not None:
        delete_tag(translation, act, event.deleted_tag, f"{entity}/", entity)
    if event.status is not None:
        facet = VersionedProperty(f"{entity}/status", ("mlf:ModelStatus",), subject=entity)
        number = {"mlf:sequence": sequence(event)}
        translation.histories.assign(facet, act, status(event.status), number)
    if event.status == "DELETED":
        translation.builder.was_invalidated_by(entity, act.activity, act.time)


def on_outputs(translation: Translation, event: OutputsLogged) -> None:
    """Make the records of models that the run put out, at which step."""
    act = translation.act(event)
    for given, step in event.models:
        entity = declare_model(translation, str(given))
        number = literals.number(step)
        translation.builder.was_influenced_by(
            entity,
            act.activity,
            "mlf:RunOutput",
            str(number) if number is not None else "",
            {"mlf:step": literals.integer(number) if number is not None else None},
        )
