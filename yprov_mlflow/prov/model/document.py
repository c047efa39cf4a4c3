"""A PROV document as plain dicts in the shape of PROV-JSON, and what builds it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.model.identifiers import relation, unnamed
from yprov_mlflow.prov.model.literals import Replaced, Value, canonical, name

Attributes = Mapping[str, Value | list[Value] | None]
Record = dict[str, Any]

ELEMENTS = ("entity", "activity", "agent")

EXACT = "mlf:exact"


class Document:
    """Prefixes and records; ``records`` has for each PROV-JSON section the records by id."""

    def __init__(
        self,
        prefixes: Mapping[str, str] | None = None,
        records: Mapping[str, Mapping[str, Record]] | None = None,
    ) -> None:
        self.prefixes: dict[str, str] = dict(prefixes or {})
        self.records: dict[str, dict[str, Record]] = {
            section: dict(found) for section, found in (records or {}).items() if found
        }

    def __len__(self) -> int:
        """Give the number of records."""
        return sum(map(len, self.records.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return self.prefixes == other.prefixes and self.records == other.records

    __hash__ = None  # type: ignore[assignment] # - Python says so that something is mutable

    def to_json_object(self) -> dict[str, Any]:
        """Give the whole document as one PROV-JSON object; it shares the records."""
        return {"prefix": self.prefixes, **self.records}

    def find(self, identifier: str) -> Record | None:
        """Give the record of an entity, activity or agent."""
        for section in ELEMENTS:
            found = self.records.get(section, {}).get(identifier)
            if found is not None:
                return found
        return None


class Builder:
    """Builds a document; every method that makes a relation gives the relation's id.

    The same relation made again is one record, whose time is that of the first. An id can
    only ever be one of entity, activity and agent. What is said has to come in the order of
    time: then nothing is used before it is made or after its end, whatever clocks say.
    """

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Record]] = {}
        self.generations: dict[str, tuple[str, str]] = {}
        self.invalidated: set[str] = set()
        self._presumed: dict[str, str] = {}
        self._not_before: dict[str, str] = {}
        self._earlier: dict[str, list[str]] = {}
        self._with_later: set[str] = set()
        self._kinds: dict[str, str] = {}

    def document(self, prefixes: Mapping[str, str]) -> Document:
        """Give the document of all that was built."""
        return Document(prefixes, self.records)

    # -- elements ----------------------------------------------------------------------

    def entity(
        self,
        identifier: str,
        types: Iterable[str] = (),
        label: str | None = None,
        attributes: Attributes | None = None,
    ) -> str:
        """Say that there is an entity, or more about it: later attributes replace earlier."""
        self._element("entity", identifier, types, label, attributes)
        return identifier

    def agent(
        self,
        identifier: str,
        types: Iterable[str] = (),
        label: str | None = None,
        attributes: Attributes | None = None,
    ) -> str:
        """Say that there is an agent, or more about it."""
        self._element("agent", identifier, types, label, attributes)
        return identifier

    def activity(
        self,
        identifier: str,
        start: str | None = None,
        end: str | None = None,
        types: Iterable[str] = (),
        label: str | None = None,
        attributes: Attributes | None = None,
    ) -> str:
        """Say that there is an activity, or more about it; times are ISO 8601."""
        record = self._element("activity", identifier, types, label, attributes)
        if start is not None:
            record["prov:startTime"] = start
        if end is not None:
            record["prov:endTime"] = end
        return identifier

    def _element(
        self,
        kind: str,
        identifier: str,
        types: Iterable[str],
        label: str | None,
        attributes: Attributes | None,
    ) -> Record:
        known = self._kinds.setdefault(identifier, kind)
        if known != kind:
            raise ValueError(f"{identifier} is an {known} and cannot be an {kind} as well")
        section = self.records.setdefault(kind, {})
        record = section.get(identifier)
        if record is None:
            record = section[identifier] = {}
        if types:
            _add_types(record, types)
        if label is not None:
            record["prov:label"] = label
        if attributes:
            _add_attributes(record, attributes)
        return record

    # -- relations ---------------------------------------------------------------------

    def was_generated_by(
        self, entity: str, activity: str, time: str | None = None, role: str | None = None
    ) -> str | None:
        """Say what made an entity; an entity is made once, so a second maker is an error.

        What was there before ``time``, or came from what was not, by what was said until now,
        cannot have been made then: this only says that the activity had an influence on it,
        and gives no id.
        """
        known = self.generations.get(entity)
        if known is not None:
            if known[1] != activity:
                raise ValueError(f"{entity} was generated by {known[1]} and not by {activity}")
            return known[0]
        if time is not None:
            if not self._not_before.get(entity, time) <= time <= self._presumed.get(entity, time):
                self.was_influenced_by(entity, activity)
                return None
            self._not_before[entity] = time
        identifier = relation("generation", entity, activity)
        self.generations[entity] = (identifier, activity)
        return self._timed("wasGeneratedBy", identifier, (entity, activity), time, role)

    def used(
        self,
        activity: str,
        entity: str,
        time: str | None = None,
        role: str | None = None,
        extra: str = "",
        attributes: Attributes | None = None,
    ) -> str:
        """Say that an activity used an entity; ``extra`` tells several uses apart.

        What has ended cannot be used any more: then this only says that it had an influence.
        """
        if entity in self.invalidated:
            return self.was_influenced_by(activity, entity, None, extra, attributes)
        self._presume(entity, time)
        identifier = relation("usage", activity, entity, extra)
        self._timed("used", identifier, (entity, activity), time, role)
        if attributes:
            _add_attributes(self.records["used"][identifier], attributes)
        return identifier

    def was_invalidated_by(self, entity: str, activity: str, time: str | None = None) -> str | None:
        """Say what ended an entity; nothing ends twice, so only the first time counts.

        Nothing ends before it is made: an end that is, by another clock, is an influence only.
        """
        if entity in self.invalidated:
            return None
        if time is not None and time < self._not_before.get(entity, time):
            self.was_influenced_by(entity, activity)
            return None
        self.invalidated.add(entity)
        identifier = relation("invalidation", entity, activity)
        return self._timed("wasInvalidatedBy", identifier, (entity, activity), time, None)

    def _presume(self, entity: str, time: str | None) -> None:
        """Note that an entity was there at a time, at the latest; None: at no known time."""
        known = self._presumed.get(entity)
        if known is None or (time or "") < known:
            self._presumed[entity] = time or ""

    def _follows(self, later: str, earlier: str) -> None:
        """Note that one entity was made no sooner than another one."""
        self._earlier.setdefault(later, []).append(earlier)
        self._with_later.add(earlier)
        self._presume(earlier, self._not_before.get(later))
        known = self._not_before.get(earlier)
        if known is not None:
            self._not_before[later] = max(known, self._not_before.get(later, known))

    def _goes_back_to(self, entity: str, earlier: str) -> bool:
        """Tell whether an entity is known to be made no sooner than another one."""
        if earlier not in self._with_later:
            return entity == earlier
        seen, ahead = {entity}, [entity]
        while ahead and earlier not in seen:
            found = [one for one in self._earlier.get(ahead.pop(), ()) if one not in seen]
            seen.update(found)
            ahead += found
        return earlier in seen

    def _timed(
        self,
        section: str,
        identifier: str,
        ends: tuple[str, str],
        time: str | None,
        role: str | None,
    ) -> str:
        record: Record = {"prov:entity": ends[0], "prov:activity": ends[1]}
        if time is not None:
            record["prov:time"] = time
        if role is not None:
            record["prov:role"] = name(role)
        return self._relation(section, identifier, record)

    def was_started_by(self, activity: str, starter: str, time: str | None = None) -> str:
        """Say which activity started another; the time has to be the other's start."""
        record: Record = {"prov:activity": activity, "prov:starter": starter}
        if time is not None:
            record["prov:time"] = time
        return self._relation("wasStartedBy", relation("start", activity, starter), record)

    def was_informed_by(self, informed: str, informant: str, kind: str | None = None) -> str:
        """Say that an activity had something from another one."""
        record: Record = {"prov:informed": informed, "prov:informant": informant}
        if kind is not None:
            record["prov:type"] = name(kind)
        identifier = relation("communication", informed, informant)
        return self._relation("wasInformedBy", identifier, record)

    def was_derived_from(
        self,
        generated: str,
        used: str,
        kind: str | None = None,
        *,
        activity: str | None = None,
        generation: str | None = None,
        usage: str | None = None,
    ) -> str:
        """Say that an entity came from another one; the rest says how, where it is known.

        Nothing comes from itself, or from what was made when it was there already: these are
        influences only.
        """
        there = self._presumed.get(generated)
        too_late = there is not None and self._not_before.get(used, there) > there
        if too_late or self._goes_back_to(used, generated):
            return self.was_influenced_by(generated, used)
        record: Record = {"prov:generatedEntity": generated, "prov:usedEntity": used}
        for key, value in (
            ("prov:activity", activity),
            ("prov:generation", generation),
            ("prov:usage", usage),
        ):
            if value is not None:
                record[key] = value
        if kind is not None:
            record["prov:type"] = name(kind)
        self._follows(generated, used)
        identifier = relation("derivation", generated, used)
        return self._relation("wasDerivedFrom", identifier, record)

    def was_revision_of(self, new: str, old: str) -> str:
        """Say that an entity is a later version of another one."""
        return self.was_derived_from(new, old, "prov:Revision")

    def was_influenced_by(
        self,
        influencee: str,
        influencer: str,
        kind: str | None = None,
        extra: str = "",
        attributes: Attributes | None = None,
    ) -> str:
        """Say that one thing had to do with another one, where nothing more precise holds."""
        record: Record = {"prov:influencee": influencee, "prov:influencer": influencer}
        if kind is not None:
            record["prov:type"] = name(kind)
        if attributes:
            _add_attributes(record, attributes)
        identifier = relation("influence", influencee, influencer, extra)
        return self._relation("wasInfluencedBy", identifier, record)

    def was_attributed_to(self, entity: str, agent: str) -> str:
        """Say who answers for an entity."""
        record: Record = {"prov:entity": entity, "prov:agent": agent}
        return self._relation("wasAttributedTo", relation("attribution", entity, agent), record)

    def was_associated_with(
        self, activity: str, agent: str, role: str | None = None, plan: str | None = None
    ) -> str:
        """Say who answers for an activity, and by which plan it went."""
        record: Record = {"prov:activity": activity, "prov:agent": agent}
        if plan is not None:
            record["prov:plan"] = plan
        if role is not None:
            record["prov:role"] = name(role)
        identifier = relation("association", activity, agent)
        return self._relation("wasAssociatedWith", identifier, record)

    def acted_on_behalf_of(self, delegate: str, responsible: str, activity: str) -> str:
        """Say that an agent acted for another one in an activity."""
        record: Record = {
            "prov:delegate": delegate,
            "prov:responsible": responsible,
            "prov:activity": activity,
        }
        identifier = relation("delegation", delegate, responsible, activity.replace(":", "$"))
        return self._relation("actedOnBehalfOf", identifier, record)

    # PROV gives the next three no id. A PROV-JSON object needs a key all the same; "_:" says
    # that it is none, and what follows keeps equal documents equal.

    def specialization_of(self, specific: str, general: str) -> None:
        """Say that an entity is an aspect of a more general one."""
        self._follows(specific, general)
        self._unnamed(
            "specializationOf",
            {"prov:specificEntity": specific, "prov:generalEntity": general},
        )

    def alternate_of(self, first: str, second: str) -> None:
        """Say that two entities are aspects of the same thing."""
        self._unnamed("alternateOf", {"prov:alternate1": first, "prov:alternate2": second})

    def had_member(self, collection: str, entity: str) -> None:
        """Say that a collection has a member."""
        self._unnamed("hadMember", {"prov:collection": collection, "prov:entity": entity})

    def _unnamed(self, section: str, record: Record) -> None:
        first, second = record.values()
        if first != second:
            self.records.setdefault(section, {}).setdefault(unnamed(section, first, second), record)

    def _relation(self, section: str, identifier: str, record: Record) -> str:
        self.records.setdefault(section, {}).setdefault(identifier, record)
        return identifier


def _add_attributes(record: Record, attributes: Attributes) -> None:
    """Set attributes; what their text cannot carry is kept as JSON in ``mlf:exact``."""
    inexact = EXACT in record
    for key, value in attributes.items():
        if value is None:
            continue
        record[key] = value
        if inexact or type(value) is Replaced:
            inexact = True
            exact = json.loads(record.pop(EXACT, "{}"))
            exact.pop(key, None)
            if type(value) is Replaced:
                exact[key] = value.raw
            if exact:
                record[EXACT] = canonical(exact)


def _add_types(record: Record, types: Iterable[str]) -> None:
    known = record.get("prov:type")
    if known is None:
        record["prov:type"] = _named(tuple(types))
        return
    values = known if isinstance(known, list) else [known]
    values = values + [v for v in map(name, types) if v not in values]
    record["prov:type"] = values[0] if len(values) == 1 else values


@functools.lru_cache(maxsize=1024)
def _named(types: tuple[str, ...]) -> Value | list[Value]:
    """Give types as values, which records share: nothing changes a value in its place."""
    values = [name(one) for one in types]
    return values[0] if len(values) == 1 else values
