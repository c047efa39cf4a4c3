"""What can be set, set again and removed: each value an entity, each change a revision."""

from __future__ import annotations

import dataclasses

from yprov_mlflow.prov.model.document import Attributes, Builder
from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.model.literals import Value, name, text


@dataclasses.dataclass(frozen=True)
class ActivityRef:
    """What changes things: an activity at a time (ISO 8601, None when nobody knows it).

    ``token`` tells the act apart from all others, in whatever document it is; ``mark`` keeps
    what ranks of a distributed run write disjoint.
    """

    activity: str
    time: str | None
    token: str
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class VersionedProperty:
    """Something of a subject that has one value at a time: a tag, an alias, a stage, a name.

    Args:
        base: Id of the facet itself, of which each value is a specialization.
        types: Types of a value.
        key: The user's name for it, if there is one.
        subject: Whose facet it is, if that is not the run.
        base_type: Type of the facet itself.
    """

    base: str
    types: tuple[str, ...]
    key: str | None = None
    subject: str | None = None
    base_type: str = "mlf:Facet"


class PropertyHistory:
    """The histories of all facets of a document."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._current: dict[str, tuple[str, object] | None] = {}
        self._last: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def value(self, facet: VersionedProperty) -> object:
        """Give the value that is set now, None if none is."""
        current = self._current.get(facet.base)
        return current[1] if current is not None else None

    def current(self, facet: VersionedProperty) -> str | None:
        """Give the entity of the value that is set now."""
        current = self._current.get(facet.base)
        return current[0] if current is not None else None

    def assign(
        self,
        facet: VersionedProperty,
        act: ActivityRef,
        value: Value | None,
        attributes: Attributes | None = None,
        *,
        always: bool = False,
    ) -> str | None:
        """Set a value; gives its entity, or None when nothing changed (and not ``always``)."""
        known = self._current.get(facet.base)
        if known is not None and known[1] == value and not always:
            return None
        entity = self._entity(facet, act, value, attributes)
        self._builder.was_generated_by(entity, act.activity, act.time)
        if known is not None:
            self._builder.was_invalidated_by(known[0], act.activity, act.time)
        previous = self._last.get(facet.base)
        if previous is not None:
            self._builder.was_revision_of(entity, previous)
        self._current[facet.base] = (entity, value)
        self._last[facet.base] = entity
        return entity

    def remove(self, facet: VersionedProperty, act: ActivityRef) -> str | None:
        """Remove what is set; gives the entity that ended, None if it had ended before.

        What was set before anyone looked has ended all the same: an entity without a value
        stands for it.
        """
        if facet.base in self._current:
            known = self._current[facet.base]
            entity = known[0] if known is not None else None
        else:
            entity = self._entity(facet, act, None, None, before=True)
            self._last[facet.base] = entity
        if entity is not None:
            self._builder.was_invalidated_by(entity, act.activity, act.time)
        self._current[facet.base] = None
        return entity

    def _entity(
        self,
        facet: VersionedProperty,
        act: ActivityRef,
        value: Value | None,
        attributes: Attributes | None,
        *,
        before: bool = False,
    ) -> str:
        label = facet.key if facet.key is not None else _last_word(facet.base)
        described: dict[str, Value | list[Value] | None] = {
            "schema:name": text(facet.key) if facet.key is not None else None,
            "mlf:about": name(facet.subject) if facet.subject is not None else None,
        }
        self._builder.entity(facet.base, [facet.base_type], text(label), described)
        entity = f"{facet.base}/{self._number(facet.base, act, before)}"
        self._builder.entity(
            entity,
            facet.types,
            text(label),
            {**described, "prov:value": value, **(attributes or {})},
        )
        self._builder.specialization_of(entity, facet.base)
        return entity

    def _number(self, base: str, act: ActivityRef, before: bool) -> str:
        """Number values of a run's facets; those of a store are set from many documents."""
        if not base.startswith(f"{RUN}:"):
            # A call may set a facet more than once; the first time needs no number.
            count = self._counts[f"{base}/{act.token}"] = (
                self._counts.get(f"{base}/{act.token}", 0) + 1
            )
            return f"{act.token}{'' if count == 1 else f'@{count}'}{'@before' if before else ''}"
        if before:
            return f"0{act.mark}"
        count = self._counts[base] = self._counts.get(base, 0) + 1
        return f"{count}{act.mark}"


def _last_word(base: str) -> str:
    return base.partition(":")[2].rsplit("/", 1)[-1]
