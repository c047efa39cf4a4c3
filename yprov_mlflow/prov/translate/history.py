"""Properties that can be set, changed and removed: each value an entity, each change a revision."""

from __future__ import annotations

import dataclasses
from collections import Counter

from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.model.literals import Value, name, optional_text, text


@dataclasses.dataclass(frozen=True)
class ActivityRef:
    """The activity that an event belongs to.

    Args:
        activity: Id of the activity.
        time: Time of the event as ISO 8601, None if unknown.
        token: Name of the event, unique over all documents.
        rank_suffix: Suffix of ids, so that ranks of a distributed run do not share them.
    """

    activity: str
    time: str | None
    token: str
    rank_suffix: str = ""


@dataclasses.dataclass(frozen=True)
class VersionedProperty:
    """Something with one value at a time: a tag, an alias, a stage, a name.

    Args:
        base: Id of the property, of which each value is a specialization.
        types: Types of a value.
        key: The user's name of the property, if it has one.
        subject: Entity that has the property, if not the run.
        base_type: Type of the property.
    """

    base: str
    types: tuple[str, ...]
    key: str | None = None
    subject: str | None = None
    base_type: str = "mlf:Facet"


class PropertyHistory:
    """The values that the properties of a document had so far."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._current: dict[str, tuple[str, object] | None] = {}
        self._latest: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._of: dict[str, dict[str, VersionedProperty]] = {}

    def of(self, subject: str) -> list[VersionedProperty]:
        """Return the properties of a store object that have a value now."""
        properties = self._of.get(subject, {})
        return [prop for base, prop in properties.items() if self._current.get(base) is not None]

    def value(self, prop: VersionedProperty) -> object:
        """Return the current value, None if it is not set."""
        return (self._current.get(prop.base) or (None, None))[1]

    def current(self, prop: VersionedProperty) -> str | None:
        """Return the entity of the current value."""
        return (self._current.get(prop.base) or (None, None))[0]

    def is_removed(self, prop: VersionedProperty) -> bool:
        """Return whether the last call on a property removed its value."""
        return prop.base in self._current and self._current[prop.base] is None

    def assign(
        self,
        prop: VersionedProperty,
        ref: ActivityRef,
        value: Value | None,
        attributes: Attributes | None = None,
        *,
        always: bool = False,
    ) -> str | None:
        """Set a value and return its entity, or None if it is the current value already.

        Args:
            prop: The property.
            ref: The activity that sets the value.
            value: The new value.
            attributes: Further attributes of the value's entity.
            always: Make a new entity even if the value stays the same.
        """
        current = self._current.get(prop.base)
        if current is not None and current[1] == value and not always:
            return None
        entity = self._add_value(prop, self._value_id(prop.base, ref), value, attributes or {})
        self._builder.was_generated_by(entity, ref.activity, ref.time)
        if current is not None:
            self._builder.was_invalidated_by(current[0], ref.activity, ref.time)
        previous = self._latest.get(prop.base)
        # A revision of the latest value even if that was removed in between.
        if previous is not None:
            self._builder.was_revision_of(entity, previous)
        self._current[prop.base] = (entity, value)
        self._latest[prop.base] = entity
        return entity

    def expect(
        self,
        prop: VersionedProperty,
        ref: ActivityRef,
        value: Value | None,
        attributes: Attributes | None = None,
    ) -> None:
        """Take over the value that a store had before a call; None if it had none.

        Another document has the call that set it, and perhaps the one that ended the value which
        this document knows. When that was is not known here, so no end is stated.
        """
        if self.value(prop) == value:
            return
        if value is None:
            self._current[prop.base] = None
            return
        entity = self._add_value(prop, f"{ref.token}@before", value, attributes or {})
        self._current[prop.base] = (entity, value)
        self._latest[prop.base] = entity

    def remove_all(self, subject: str, ref: ActivityRef) -> None:
        """Remove all properties of a store object."""
        for prop in self.of(subject):
            self.remove(prop, ref)

    def remove(self, prop: VersionedProperty, ref: ActivityRef) -> str | None:
        """Remove the current value and return its entity, None if it was removed before."""
        entity = self.current(prop)
        if prop.base not in self._current:
            # The value was set before the capture: an entity without a value stands for it.
            entity = self._add_value(prop, self._value_id(prop.base, ref, earlier=True), None, {})
            self._latest[prop.base] = entity
        if entity is not None:
            self._builder.was_invalidated_by(entity, ref.activity, ref.time)
        self._current[prop.base] = None
        return entity

    def _add_value(
        self, prop: VersionedProperty, value_id: str, value: Value | None, attributes: Attributes
    ) -> str:
        # The property is the constant aspect of which its values are specializations; a query
        # for its history starts there.
        if prop.subject is not None:
            self._of.setdefault(prop.subject, {})[prop.base] = prop
        local = prop.base.partition(":")[2]
        label = text(prop.key if prop.key is not None else local.rpartition("/")[2])
        common: dict[str, Value | list[Value] | None] = {
            "schema:name": optional_text(prop.key),
            "mlf:about": name(prop.subject) if prop.subject is not None else None,
        }
        self._builder.entity(prop.base, [prop.base_type], label, common)
        entity = f"{prop.base}/{value_id}"
        own = {**common, "prov:value": value, **attributes}
        self._builder.entity(entity, prop.types, label, own)
        self._builder.specialization_of(entity, prop.base)
        return entity

    def _value_id(self, base: str, ref: ActivityRef, *, earlier: bool = False) -> str:
        if base.startswith(f"{RUN}:"):
            return f"{0 if earlier else self._count(base)}{ref.rank_suffix}"
        # Properties of the store are set from many documents, so their values cannot be
        # numbered. One call may set a property more than once.
        count = self._count(f"{base}/{ref.token}")
        identifier = ref.token if count == 1 else f"{ref.token}@{count}"
        return f"{identifier}@before" if earlier else identifier

    def _count(self, key: str) -> int:
        self._counts[key] += 1
        return self._counts[key]
