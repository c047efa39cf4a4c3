"""Params and tags of runs, logged models and store objects."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.events import ParamsLogged, RunCreated, TagDeleted, TagsSet
from yprov_mlflow.prov.model.identifiers import RUN, segment
from yprov_mlflow.prov.model.literals import name, parsed, text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.translation import Translation

PARENT_TAG = "mlflow.parentRunId"
_USER_TAG = "mlflow.user"


def on_params(translation: Translation, event: ParamsLogged) -> None:
    """Add the params of a run."""
    ref = translation.activity_ref(event)
    for key, value in event.params.items():
        add_param(translation, ref, f"{RUN}:param/{segment(key)}", key, value)


def add_param(
    translation: Translation,
    ref: ActivityRef,
    identifier: str,
    key: object,
    value: object,
    subject: str | None = None,
) -> None:
    """Add one param of the run, or of the model ``subject``; an equal value adds nothing."""
    builder = translation.builder
    raw = text(value)
    entities = builder.records.get("entity", {})
    entity, previous, count = identifier, None, 1
    # MLflow lets no param change, but stores with changed params exist: then each value gets
    # an entity of its own.
    while (record := entities.get(entity)) is not None:
        if record["mlf:text"] == raw:
            return
        count += 1
        previous, entity = entity, f"{identifier}@{count}"
    # Both: queries want the number, and restoring wants MLflow's exact text.
    typed = parsed(raw)
    builder.entity(
        entity,
        ("mls:HyperParameterSetting", "mlf:Param"),
        text(key),
        {
            "schema:name": text(key),
            "prov:value": typed,
            "mls:hasValue": typed,
            "mlf:text": raw,
            "mlf:about": name(subject) if subject is not None else None,
        },
    )
    role = "mlf:param" if subject is None else "mlf:modelParam"
    builder.used(ref.activity, entity, ref.time, role)
    if previous is not None:
        builder.was_revision_of(entity, previous)


def on_tags(translation: Translation, event: TagsSet | RunCreated) -> None:
    """Set tags of the run."""
    set_tags(translation, translation.activity_ref(event), event.tags, f"{RUN}:")


def on_tag_deleted(translation: Translation, event: TagDeleted) -> None:
    """Delete a tag of the run."""
    delete_tag(translation, translation.activity_ref(event), event.key, f"{RUN}:")


def set_tags(
    translation: Translation,
    ref: ActivityRef,
    tags: Mapping[str, object],
    base: str,
    subject: str | None = None,
) -> None:
    """Set tags of the run or of a store object; an equal value adds nothing.

    Args:
        translation: The document being built.
        ref: The activity that sets the tags.
        tags: Values by key.
        base: ``run:``, or the subject's id and a slash.
        subject: Entity that has the tags, if not the run.
    """
    for key, value in tags.items():
        shown = translation.login(str(value)) if key == _USER_TAG else value
        tag = _tag(base, str(key), subject)
        translation.history.assign(tag, ref, text("" if shown is None else shown))


def delete_tag(
    translation: Translation, ref: ActivityRef, key: str, base: str, subject: str | None = None
) -> None:
    """Delete a tag; arguments as those of ``set_tags``."""
    translation.history.remove(_tag(base, key, subject), ref)


def _tag(base: str, key: str, subject: str | None) -> VersionedProperty:
    return VersionedProperty(f"{base}tag/{segment(key)}", ("mlf:Tag",), key, subject, "mlf:TagKey")
