"""Params and tags of runs, logged models and store objects; no ``subject`` stands for the run."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.events import ParamsLogged, RunCreated, TagDeleted, TagsSet
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, segment
from yprov_mlflow.prov.model.literals import name, parsed, text
from yprov_mlflow.prov.tags import PID_TAG, SOURCE_PREFIX
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.translation import Translation

PARENT_TAG = "mlflow.parentRunId"
_USER_TAG = "mlflow.user"
_PARAM_TYPES = ("mls:HyperParameterSetting", "mlf:Param")


def on_params(translation: Translation, event: ParamsLogged) -> None:
    """Add the params of a run."""
    ref = translation.activity_ref(event)
    for key, value in event.params.items():
        add_param(translation, ref, key, value)


def add_param(
    translation: Translation, ref: ActivityRef, key: str, value: object, subject: str = ""
) -> None:
    """Add one param of the run, or of a model; an equal value adds nothing."""
    builder = translation.builder
    raw = text(value)
    entities = builder.records.get("entity", {})
    identifier = entity = f"{_base(subject)}param/{segment(key)}"
    previous, count = None, 1
    # MLflow lets no param change, but stores with changed params exist: then each value gets
    # an entity of its own.
    while (record := entities.get(entity)) is not None:
        if record["mlf:text"] == raw:
            return
        count += 1
        previous, entity = entity, f"{identifier}@{count}"
    # Both: queries want the number, and restoring wants MLflow's exact text.
    typed = parsed(raw)
    attributes: Attributes = {
        "schema:name": text(key),
        "prov:value": typed,
        "mls:hasValue": typed,
        "mlf:text": raw,
        "mlf:about": name(subject) if subject else None,
    }
    builder.entity(entity, _PARAM_TYPES, text(key), attributes)
    activity, time = (ref.activity, ref.time) if subject else translation.run_usage(ref)
    builder.used(activity, entity, time, "mlf:modelParam" if subject else "mlf:param")
    if previous is not None:
        builder.was_revision_of(entity, previous)


def on_tags(translation: Translation, event: TagsSet | RunCreated) -> None:
    """Set tags of the run."""
    set_tags(translation, translation.activity_ref(event), event.tags)


def on_tag_deleted(translation: Translation, event: TagDeleted) -> None:
    """Delete a tag of the run."""
    delete_tag(translation, translation.activity_ref(event), event.key)


def set_tags(
    translation: Translation, ref: ActivityRef, tags: Mapping[str, object], subject: str = ""
) -> None:
    """Set tags of the run or of a store object; an equal value adds nothing."""
    for key, value in tags.items():
        shown = translation.login(str(value)) if key == _USER_TAG else value
        tag = tag_of(str(key), subject)
        translation.history.assign(tag, ref, text("" if shown is None else shown))
        if key.startswith(SOURCE_PREFIX) and not subject:
            translation.metric_sources[key.removeprefix(SOURCE_PREFIX)] = str(value)
        elif key == PID_TAG and not subject and not translation.store_level:
            attributes: Attributes = {"dcterms:identifier": text(value)}
            translation.builder.activity(f"{RUN}:run", attributes=attributes)


def delete_tag(translation: Translation, ref: ActivityRef, key: str, subject: str = "") -> None:
    """Delete a tag of the run or of a store object."""
    translation.history.remove(tag_of(key, subject), ref)
    if not subject:
        translation.metric_sources.pop(key.removeprefix(SOURCE_PREFIX), None)


def tag_of(key: str, subject: str) -> VersionedProperty:
    """Return the tag with this key, of the run or of a store object."""
    base = f"{_base(subject)}tag/{segment(key)}"
    return VersionedProperty(base, ("mlf:Tag",), key, subject or None, "mlf:TagKey")


def _base(subject: str) -> str:
    return f"{subject}/" if subject else f"{RUN}:"
