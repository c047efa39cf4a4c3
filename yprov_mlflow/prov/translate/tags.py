"""Tags: each value an entity, with its revisions and its end."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.events import RunCreated, TagDeleted, TagsSet
from yprov_mlflow.prov.model.identifiers import RUN, segment
from yprov_mlflow.prov.model.literals import text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.translation import Translation

_TYPES = ("mlf:Tag",)
_USER = "mlflow.user"
PARENT = "mlflow.parentRunId"


def tag_facet(base: str, key: str, subject: str | None = None) -> VersionedProperty:
    """Give the facet of a tag; ``base`` is ``run:`` or the subject's id and a slash."""
    return VersionedProperty(f"{base}tag/{segment(key)}", _TYPES, key, subject, "mlf:TagKey")


def on_tags(translation: Translation, event: TagsSet | RunCreated) -> None:
    """Make the records of tags that were set on the run."""
    set_tags(translation, translation.act(event), event.tags, f"{RUN}:")


def on_tag_deleted(translation: Translation, event: TagDeleted) -> None:
    """Make the record of a tag's end."""
    delete_tag(translation, translation.act(event), event.key, f"{RUN}:")


def set_tags(
    translation: Translation,
    act: ActivityRef,
    tags: Mapping[str, object],
    base: str,
    subject: str | None = None,
) -> None:
    """Set tags of the run or of a subject of the store; the same value again adds nothing."""
    for key, value in tags.items():
        shown = translation.login(str(value)) if key == _USER else value
        facet = tag_facet(base, str(key), subject)
        translation.histories.assign(facet, act, text("" if shown is None else shown))


def delete_tag(
    translation: Translation, act: ActivityRef, key: str, base: str, subject: str | None = None
) -> None:
    """End a tag of the run or of a subject of the store."""
    translation.histories.remove(tag_facet(base, key, subject), act)
