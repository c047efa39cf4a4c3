"""Build a PROV document record by record."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Mapping

from yprov_mlflow.prov.model.document import EXACT, Attributes, Document, Record
from yprov_mlflow.prov.model.identifiers import relation, unnamed
from yprov_mlflow.prov.model.literals import Replaced, Value, canonical, name
from yprov_mlflow.prov.model.relations import KINDS

_VERBS = {section: kind.node.lower() for section, kind in KINDS.items()}
"""First segment of a relation's id, such as ``generation``."""


class Builder:
    """Builds a document that satisfies the constraints of PROV.

    Records must be added in order of time. A relation that would contradict an earlier one,
    because clocks or callers are wrong, becomes the weaker ``wasInfluencedBy``: no entity is
    used before its generation or after its invalidation, and no derivations form a cycle.
    Adding a relation again keeps the first one. Times are ISO 8601 in UTC, which sort as text.

    Args:
        records: Records of a document to extend; the sections are copied.

    Attributes:
        records: The records of each section by id.
        generations: For each generated entity the id of its generation and the activity.
        invalidated: Entities that were invalidated.
    """

    def __init__(self, records: Mapping[str, Mapping[str, Record]] | None = None) -> None:
        self.records: dict[str, dict[str, Record]] = {
            section: dict(by_id) for section, by_id in (records or {}).items()
        }
        self.generations: dict[str, tuple[str, str]] = {
            str(record["prov:entity"]): (identifier, str(record.get("prov:activity")))
            for identifier, record in self.records.get("wasGeneratedBy", {}).items()
        }
        ends = self.records.get("wasInvalidatedBy", {}).values()
        self.invalidated: set[str] = {str(end["prov:entity"]) for end in ends}
        self._kinds: dict[str, str] = {}
        # The earliest time by which an entity must have existed; empty if that is unknown.
        self._existed_by: dict[str, str] = {}
        # The latest time that an entity cannot have existed before.
        self._not_before: dict[str, str] = {}
        # Entities that an entity derives from or specializes, and all that are such an origin.
        self._origins: dict[str, list[str]] = {}
        self._all_origins: set[str] = set()

    def document(self, prefixes: Mapping[str, str]) -> Document:
        """Return the document of all records."""
        return Document(prefixes, self.records)

    def section(self, name: str) -> Collection[Record]:
        """Return the records of a section so far."""
        return self.records.get(name, {}).values()

    def entity(
        self,
        identifier: str,
        types: Iterable[str] = (),
        label: str | None = None,
        attributes: Attributes | None = None,
    ) -> str:
        """Add an entity, or add types and set attributes of an existing one; return its id."""
        return self._element("entity", identifier, types, label, attributes)

    def agent(
        self,
        identifier: str,
        types: Iterable[str] = (),
        label: str | None = None,
        attributes: Attributes | None = None,
    ) -> str:
        """Add or extend an agent and return its id."""
        return self._element("agent", identifier, types, label, attributes)

    def activity(
        self,
        identifier: str,
        start: str | None = None,
        end: str | None = None,
        types: Iterable[str] = (),
        label: str | None = None,
        attributes: Attributes | None = None,
    ) -> str:
        """Add or extend an activity and return its id."""
        times = {"prov:startTime": start, "prov:endTime": end}
        return self._element("activity", identifier, types, label, {**(attributes or {}), **times})

    def _element(
        self,
        kind: str,
        identifier: str,
        types: Iterable[str],
        label: str | None,
        attributes: Attributes | None,
    ) -> str:
        # PROV-CONSTRAINTS 55 forbids an entity that is an activity. Agents may be either, but
        # two records of one id would be hard to tell apart.
        existing = self._kinds.setdefault(identifier, kind)
        if existing != kind:
            raise ValueError(f"{identifier} is an {existing} and cannot be an {kind} as well")
        section = self.records.setdefault(kind, {})
        record = section.get(identifier)
        if record is None:
            record = section[identifier] = {}
        if types:
            _add_types(record, types)
        if label is not None:
            record["prov:label"] = label
        if attributes:
            _set_attributes(record, attributes)
        return identifier

    def was_generated_by(
        self, entity: str, activity: str, time: str | None = None, role: str | None = None
    ) -> str | None:
        """Add the generation of an entity and return its id.

        If the entity existed before ``time``, or derives from something generated later, only an
        influence is added and None returned.

        Raises:
            ValueError: The entity was generated by another activity.
        """
        generation = self.generations.get(entity)
        if generation is not None:
            # Both would have to happen in the same instant (PROV-CONSTRAINTS 39).
            if generation[1] != activity:
                raise ValueError(f"{entity} was generated by {generation[1]} and not by {activity}")
            return generation[0]
        if time is not None:
            if not self._not_before.get(entity, time) <= time <= self._existed_by.get(entity, time):
                self.was_influenced_by(entity, activity)
                return None
            self._not_before[entity] = time
        identifier = self._relation("wasGeneratedBy", (entity, activity), time=time, role=role)
        self.generations[entity] = (identifier, activity)
        return identifier

    def used(
        self,
        activity: str,
        entity: str,
        time: str | None = None,
        role: str | None = None,
        extra: str = "",
        attributes: Attributes | None = None,
    ) -> str:
        """Add a usage and return its id, or that of an influence if the entity has ended.

        ``extra`` becomes the last part of the id, to keep several usages of one entity apart.
        """
        if entity in self.invalidated:
            return self.was_influenced_by(activity, entity, None, extra, attributes)
        self._set_existed_by(entity, time)
        ends = (activity, entity)
        identifier = self._relation("used", ends, extra=extra, time=time, role=role)
        if attributes:
            _set_attributes(self.records["used"][identifier], attributes)
        return identifier

    def was_invalidated_by(self, entity: str, activity: str, time: str | None = None) -> str | None:
        """Add the end of an entity and return its id.

        Return None for an entity that has ended already, and for an end before the generation,
        which is added as an influence.
        """
        if entity in self.invalidated:
            return None
        if time is not None and time < self._not_before.get(entity, time):
            self.was_influenced_by(entity, activity)
            return None
        self.invalidated.add(entity)
        return self._relation("wasInvalidatedBy", (entity, activity), time=time)

    def was_started_by(self, activity: str, starter: str, time: str | None = None) -> str:
        """Add the start of an activity by another one; ``time`` must be its start time.

        Some readers drop a start without a trigger: the influence that follows from it is added.
        """
        self.was_influenced_by(activity, starter)
        return self._relation("wasStartedBy", (activity, None, starter), time=time)

    def was_informed_by(self, informed: str, informant: str, kind: str | None = None) -> str:
        """Add the use of something by one activity that another one generated."""
        return self._relation("wasInformedBy", (informed, informant), kind=kind)

    def was_derived_from(
        self,
        generated: str,
        used: str,
        kind: str | None = None,
        steps: tuple[str, ...] = (),
        attributes: Attributes | None = None,
    ) -> str:
        """Add a derivation; ``steps`` are its activity, generation and usage if they are known.

        An influence is added instead if ``generated`` existed before ``used``, or if ``used``
        derives from it: PROV allows no entity to derive from itself.
        """
        existed_by = self._existed_by.get(generated)
        too_late = existed_by is not None and self._not_before.get(used, existed_by) > existed_by
        if too_late or self._derives_from(used, generated):
            return self.was_influenced_by(generated, used)
        self._set_origin(generated, used)
        return self._relation("wasDerivedFrom", (generated, used, *steps), attributes, kind=kind)

    def was_revision_of(self, new: str, old: str) -> str:
        """Add the derivation of an entity from its previous version."""
        return self.was_derived_from(new, old, "prov:Revision")

    def was_influenced_by(
        self,
        influencee: str,
        influencer: str,
        kind: str | None = None,
        extra: str = "",
        attributes: Attributes | None = None,
    ) -> str:
        """Add an influence, for cases in which no more precise relation holds."""
        ends = (influencee, influencer)
        return self._relation("wasInfluencedBy", ends, attributes, extra=extra, kind=kind)

    def was_attributed_to(self, entity: str, agent: str) -> str:
        """Add the responsibility of an agent for an entity."""
        return self._relation("wasAttributedTo", (entity, agent))

    def was_associated_with(
        self, activity: str, agent: str, role: str | None = None, plan: str | None = None
    ) -> str:
        """Add the responsibility of an agent for an activity, and the plan it followed."""
        return self._relation("wasAssociatedWith", (activity, agent, plan), role=role)

    def acted_on_behalf_of(
        self, delegate: str, responsible: str, activity: str, attributes: Attributes | None = None
    ) -> str:
        """Add that an agent acted for another one in an activity."""
        ends, extra = (delegate, responsible, activity), activity.replace(":", "$")
        return self._relation("actedOnBehalfOf", ends, attributes, extra=extra)

    def specialization_of(self, specific: str, general: str) -> None:
        """Add that an entity is an aspect of a more general one."""
        self._set_origin(specific, general)
        self._unnamed("specializationOf", specific, general)

    def alternate_of(self, first: str, second: str) -> None:
        """Add that two entities are aspects of the same thing."""
        self._unnamed("alternateOf", first, second)

    def had_member(self, collection: str, entity: str) -> None:
        """Add a member of a collection."""
        self._unnamed("hadMember", collection, entity)

    def _relation(
        self,
        section: str,
        ends: tuple[str | None, ...],
        attributes: Attributes | None = None,
        *,
        extra: str = "",
        time: str | None = None,
        kind: str | None = None,
        role: str | None = None,
    ) -> str:
        """Add a relation, unless it exists, and return its id; ``ends`` as ``KINDS`` has them."""
        formals = zip(KINDS[section].formals, ends, strict=False)
        record: Record = {formal: end for formal, end in formals if end is not None}
        first, second, *_ = record.values()
        identifier = relation(_VERBS[section], first, second, extra)
        if time is not None:
            record["prov:time"] = time
        if kind is not None:
            record["prov:type"] = name(kind)
        if role is not None:
            record["prov:role"] = name(role)
        if attributes:
            _set_attributes(record, attributes)
        self.records.setdefault(section, {}).setdefault(identifier, record)
        return identifier

    def _unnamed(self, section: str, first: str, second: str) -> None:
        # PROV gives these relations no id. PROV-JSON needs a key nevertheless; one made of both
        # ends keeps documents with equal records equal.
        if first != second:
            record = dict(zip(KINDS[section].formals, (first, second), strict=True))
            self.records.setdefault(section, {}).setdefault(unnamed(section, first, second), record)

    def _set_existed_by(self, entity: str, time: str | None) -> None:
        self._existed_by[entity] = min(time or "", self._existed_by.get(entity, time or ""))

    def _set_origin(self, entity: str, origin: str) -> None:
        """Note that an entity was generated no earlier than another one."""
        self._origins.setdefault(entity, []).append(origin)
        self._all_origins.add(origin)
        self._set_existed_by(origin, self._not_before.get(entity))
        not_before = self._not_before.get(origin)
        if not_before is not None:
            self._not_before[entity] = max(not_before, self._not_before.get(entity, not_before))

    def _derives_from(self, entity: str, origin: str) -> bool:
        """Return whether an entity is, or derives in any number of steps from, another one."""
        if origin not in self._all_origins:  # the usual case, and a walk for each would be slow
            return entity == origin
        seen, pending = {entity}, [entity]
        while pending and origin not in seen:
            new = [o for o in self._origins.get(pending.pop(), ()) if o not in seen]
            seen.update(new)
            pending += new
        return origin in seen


def _set_attributes(record: Record, attributes: Attributes) -> None:
    """Set attributes that are not None.

    Text that lost lone surrogates keeps its original in ``mlf:exact``, a JSON object by
    attribute, so that it can be restored.
    """
    inexact = EXACT in record
    for key, value in attributes.items():
        if value is None:
            continue
        # A list of one is the value: single values are scalars.
        record[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
        if inexact or type(value) is Replaced:
            inexact = True
            exact = json.loads(record.pop(EXACT, "{}"))
            exact.pop(key, None)
            if type(value) is Replaced:
                exact[key] = value.original
            if exact:
                record[EXACT] = canonical(exact)


def _add_types(record: Record, types: Iterable[str]) -> None:
    existing = record.get("prov:type")
    if existing is None:
        record["prov:type"] = _type_values(tuple(types))
        return
    values = existing if isinstance(existing, list) else [existing]
    values = values + [v for v in map(name, types) if v not in values]
    record["prov:type"] = values[0] if len(values) == 1 else values


@functools.lru_cache(maxsize=1024)
def _type_values(types: tuple[str, ...]) -> Value | list[Value]:
    # Records share these values, which saves memory; nothing may change one in place.
    values = [name(type_) for type_ in types]
    return values[0] if len(values) == 1 else values
