"""Collectors in a document: who measured what and how, energy by context, the run's bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes, Builder
from yprov_mlflow.prov.model.identifiers import RUN, STORE, content, digest, segment
from yprov_mlflow.prov.model.literals import double, integer, mapping, name, text
from yprov_mlflow.prov.model.vocabulary import BORROWED
from yprov_mlflow.prov.translate import measurements
from yprov_mlflow.prov.translate.measurements import (
    COMPONENTS,
    JOULES_PER_KWH,
    Measurements,
    Stretch,
)
from yprov_mlflow.prov.translate.timeline import Span
from yprov_mlflow.prov.translate.translation import Translation

_OWN = "yprov-mlflow"


class _Part(NamedTuple):
    """An energy that is to be added up."""

    component: str
    entity: str
    energy_j: float
    method: str
    session: str


class _Carbon(NamedTuple):
    """Grams of CO2 equivalent a kWh, and who says so."""

    g_per_kwh: float
    source: str


def add_measurements(
    translation: Translation,
    taken: Measurements,
    facts: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """Make the records of all measurements, and of what they come to.

    Args:
        translation: The document in the making.
        taken: All samples of the run.
        facts: By session, and then by collector, what it found out; ``carbon`` has the carbon
            intensity, ``session`` what the session knew of itself.
    """
    bill: list[_Part] = []
    counts: dict[str, int] = {}
    for stretch in taken:
        span = _span(translation, stretch)
        if span is None:
            continue
        local = f"{segment(stretch.collector)}/{span.identifier.rpartition('/')[2]}"
        counts[local] = counts.get(local, 0) + 1
        if counts[local] > 1:
            local += f"@{counts[local]}"
        _Writing(translation, stretch, span, local, bill).write()
    _add_bill(translation, bill, facts)


def _span(translation: Translation, stretch: Stretch) -> Span | None:
    timeline = translation.timeline
    if stretch.times_ns:
        found = timeline.span_at(stretch.session, stretch.times_ns[0])
        if found is not None:
            return found
    return timeline.first_session(stretch.session)


class _Writing:
    """The records of one stretch: an activity, who and how, and a value for each quantity."""

    def __init__(
        self, translation: Translation, stretch: Stretch, span: Span, local: str, bill: list[_Part]
    ) -> None:
        self.translation = translation
        self.builder = translation.builder
        self.stretch = stretch
        self.span = span
        self.local = local
        self.bill = bill
        self.activity = f"{RUN}:collector/{local}"
        self.end: str | None = None
        self.unread: list[str] = []
        self.paths: dict[str, int] = {}

    def write(self) -> None:
        """Write all of them."""
        stretch, span = self.stretch, self.span
        latest_ns = max(span.last, span.end or 0)
        times_ns = [min(max(time_ns, span.start), latest_ns) for time_ns in stretch.times_ns]
        start = literals.instant(times_ns[0] if times_ns else span.start)
        self.end = literals.instant(times_ns[-1]) if times_ns else start
        self.builder.activity(
            self.activity,
            start,
            self.end,
            ["mlf:Collection"],
            text(f"{stretch.collector} measures"),
            {
                "mlf:collector": text(stretch.collector),
                "mlf:samples": integer(len(times_ns)),
                "mlf:intervalSeconds": _number(stretch.description.get("interval_s")),
                "mlf:cpuSeconds": _number(stretch.report.get("cpu_s")),
                "mlf:problems": _list(stretch.report.get("problems")),
                "mlf:leftToOthers": _list(stretch.description.get("left_to_others")),
                "dcterms:isPartOf": name(span.identifier),
            },
        )
        self.builder.was_started_by(self.activity, f"{RUN}:run", start)
        self._add_agent()
        devices = {
            str(device.get("id")): self._device(device)
            for device in map(mapping, stretch.description.get("devices") or ())
        }
        for position, quantity in enumerate(stretch.quantities):
            self._add_quantity(position, quantity, devices)
        if self.unread:
            self.builder.activity(
                self.activity, attributes={"mlf:notMeasured": literals.canonical(self.unread)}
            )

    def _add_agent(self) -> None:
        described = self.stretch.description
        agent, version = str(described.get("agent") or _OWN), str(described.get("version") or "")
        identifier = self.builder.agent(
            f"{STORE}:software/{segment(agent)}/{segment(version)}",
            ["prov:SoftwareAgent"],
            text(f"{agent} {version}".strip()),
            {"schema:name": text(agent), "schema:softwareVersion": text(version) or None},
        )
        procedure = described.get("procedure")
        plan = None
        if procedure:
            plan = self.builder.entity(
                content({"procedure": procedure}),
                ["prov:Plan", "mlf:Procedure"],
                text(f"how {self.stretch.collector} measures"),
                {"mlf:procedure": text(procedure)},
            )
        self.builder.was_associated_with(self.activity, identifier, "mlf:collectorAgent", plan)

    def _device(self, device: Mapping[str, Any]) -> str:
        host = self.translation.hosts.get(self.stretch.session, "unknown")
        home = f"{STORE}:host/{digest(host)[:16]}"
        entity = self.builder.entity(
            f"{home}/device/{segment(device.get('id'))}",
            ["mlf:Device", "sosa:Platform"],
            text(device.get("label") or device.get("id")),
            {
                "mlf:deviceName": text(device.get("id")),
                "mlf:facts": literals.canonical(dict(mapping(device.get("facts")))),
                "dcterms:isPartOf": name(home),
            },
        )
        self.builder.used(self.activity, entity, None, "mlf:measuredDevice")
        return entity

    def _add_quantity(
        self, position: int, quantity: Mapping[str, Any], devices: Mapping[str, str]
    ) -> None:
        times_ns, values = self.stretch.points(position)
        device = str(quantity.get("device") or "")
        scope = str(quantity.get("scope") or "")
        where = segment(device) if device else f"@{segment(scope)}"
        path = f"{where}/{segment(quantity.get('name'))}"
        count = self.paths[path] = self.paths.get(path, 0) + 1
        if count > 1:  # of the same device, in another scope
            path += f"@{count}"
        attributes: dict[str, Any] = {
            **_meaning(quantity),
            "mlf:deviceName": text(device) if device else None,
            "mlf:ofDevice": name(devices[device]) if device in devices else None,
        }
        label = " ".join(part for part in (device or scope, str(quantity.get("name"))) if part)
        entity = f"{RUN}:quantity/{self.local}/{path}"
        if not quantity.get("cumulative"):
            found = measurements.mean(times_ns, values)
            if found is None:
                self.unread.append(path)
                return
            self._value(entity, label, found.mean, {**attributes, **_spread(found)}, "mlf:Gauge")
            return
        values = measurements.rising(values)
        total = measurements.total(values)
        if total is None:
            self.unread.append(path)
            return
        attributes["mlf:count"] = integer(len(values))
        self._value(entity, label, total, attributes, "mlf:Total")
        if component := _component(quantity):
            method, session = str(quantity.get("method")), self.stretch.session
            self.bill.append(_Part(component, entity, total, method, session))
        if quantity.get("unit") == "J":
            self._add_parts(entity, label, attributes, times_ns, values)

    def _add_parts(
        self,
        whole: str,
        label: str,
        attributes: Mapping[str, Any],
        times_ns: list[int],
        values: list[float],
    ) -> None:
        """Make a value for each context and epoch that the session entered."""
        for span in self.translation.timeline.contexts:
            if span.token != self.stretch.session or len(values) < 2:
                continue
            end_ns = span.end if span.end is not None else times_ns[-1]
            if span.start >= times_ns[-1] or end_ns <= times_ns[0]:
                continue  # nothing is known of it, which is not the same as nothing used
            part = measurements.grown(times_ns, values, span.start, end_ns)
            self._value(
                f"{whole}/during/{span.identifier.partition(':')[2]}",
                f"{label} during {_path(span)}",
                part,
                {
                    **attributes,
                    "mlf:count": None,
                    "mlf:during": name(span.identifier),
                    "mlf:partOfTotal": name(whole),
                },
                "mlf:Part",
            )

    def _value(
        self, entity: str, label: str, value: float, attributes: Attributes, kind: str
    ) -> None:
        self.builder.entity(
            entity,
            ["qudt:QuantityValue", "sosa:Result", "mlf:Quantity", kind],
            text(label),
            {"qudt:numericValue": double(value), **attributes},
        )
        self.builder.was_generated_by(entity, self.activity, self.end)


def _path(span: Span) -> str:
    return "/".join(f"epoch {one}" if isinstance(one, int) else str(one) for one in span.path)


def _meaning(quantity: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a number is: name, unit, kind, whose it is, measured or estimated."""
    unit, kind = str(quantity.get("unit") or ""), str(quantity.get("kind") or "")
    component = _component(quantity)
    scope, method = quantity.get("scope"), quantity.get("method")
    return {
        "schema:name": text(quantity.get("name")),
        "qudt:hasUnit": _term("unit", unit),
        "qudt:hasQuantityKind": _term("quantitykind", kind),
        "mlf:scope": name(f"mlf:{scope}") if scope in _SCOPES else None,
        "mlf:method": name(f"mlf:{method}") if method in _METHODS else None,
        "mlf:component": text(component) if component else None,
    }


def _component(quantity: Mapping[str, Any]) -> str | None:
    """Give which part of the machine's bill a quantity is; what else another package says."""
    found = quantity.get("component")
    return found if found in COMPONENTS and quantity.get("unit") == "J" else None


def _term(prefix: str, local: str) -> literals.Value | None:
    """Give a term of QUDT; what another package's collector calls so is text."""
    if not local:
        return None
    return name(f"{prefix}:{local}") if local in BORROWED[prefix] else text(local)


_SCOPES = frozenset({"device", "process", "job", "node"})
_METHODS = frozenset({"measured", "estimated"})


def _spread(found: measurements.Mean) -> dict[str, Any]:
    return {
        "mlf:min": double(found.minimum),
        "mlf:max": double(found.maximum),
        "mlf:count": integer(found.readings),
    }


def _number(value: object) -> literals.Value | None:
    return double(value) if isinstance(value, int | float) else None


def _list(value: object) -> str | None:
    return literals.canonical(value) if value else None


# -- the bill ------------------------------------------------------------------------------


def _add_bill(
    translation: Translation,
    bill: list[_Part],
    facts: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """Make the totals: energy by component and of the run, its emissions, SCI's quantities."""
    builder = translation.builder
    components = []
    for component in COMPONENTS:
        parts = [part for part in bill if part.component == component]
        if parts:
            entity = f"{RUN}:energy/{component}"
            _energy(translation, entity, f"energy, {component}", parts)
            builder.entity(entity, attributes={"mlf:component": component})
            for part in parts:
                builder.was_derived_from(entity, part.entity)
            components.append(entity)
    if not components:
        return
    total = f"{RUN}:energy/total"
    energy_kwh = _energy(translation, total, "energy of the run", bill) / JOULES_PER_KWH
    builder.entity(total, ["mlf:TotalEnergy"])
    for entity in components:
        builder.was_derived_from(total, entity)
    carbon = _carbon(bill, facts)
    if carbon is not None:
        embodied = [known.get("session", {}).get("embodied_g") for known in facts.values()]
        _add_emissions(builder, energy_kwh, carbon)
        given = next((grams for grams in embodied if grams is not None), None)
        _add_sci(builder, energy_kwh, carbon.g_per_kwh, given)


def _carbon(
    bill: list[_Part], facts: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> _Carbon | None:
    """Give the carbon intensity of the energy: the mean of the sessions' where they differ.

    What a session was not told, the first one that was knows.
    """
    known = {}
    for session, found in facts.items():
        carbon = found.get("carbon", {})
        intensity = carbon.get("carbon_intensity_g_per_kwh")
        if isinstance(intensity, int | float):
            source = str(carbon.get("carbon_intensity_source") or "given")
            known[session] = _Carbon(intensity, source)
    if not known:
        return None
    first = next(iter(known.values()))
    used = [known.get(part.session, first) for part in bill]
    energy_j = sum(part.energy_j for part in bill)
    if len(set(used)) == 1 or not energy_j:
        return used[0]
    grams = sum(part.energy_j * one.g_per_kwh for part, one in zip(bill, used, strict=True))
    sources = dict.fromkeys(f"{one.g_per_kwh:g}: {one.source}" for one in used)
    return _Carbon(grams / energy_j, f"mean by energy of {'; '.join(sources)}")


def _add_emissions(builder: Builder, energy_kwh: float, carbon: _Carbon) -> None:
    emissions = builder.entity(
        f"{RUN}:emissions/total",
        ["qudt:QuantityValue", "sosa:Result", "mlf:Quantity", "mlf:Emissions"],
        "emissions of the run, CO2 equivalent",
        {
            "schema:name": "emissions",
            "qudt:numericValue": double(energy_kwh * carbon.g_per_kwh),
            "qudt:hasUnit": name("unit:GM"),
            "qudt:hasQuantityKind": name("quantitykind:CO2Equivalent"),
            "mlf:method": name("mlf:estimated"),
            "mlf:carbonIntensity": double(carbon.g_per_kwh),
            "mlf:carbonIntensitySource": text(carbon.source),
        },
    )
    builder.was_derived_from(emissions, f"{RUN}:energy/total")


def _add_sci(builder: Builder, energy_kwh: float, intensity: float, embodied: object) -> None:
    """Say E, I, M and R of the Software Carbon Intensity; its value where M is known."""
    attributes: dict[str, Any] = {
        "mlf:sciEnergyKwh": double(energy_kwh),
        "mlf:sciIntensity": double(intensity),
        "mlf:sciFunctionalUnit": "run",
    }
    if isinstance(embodied, int | float):
        attributes["mlf:sciEmbodiedGrams"] = double(embodied)
        attributes["qudt:numericValue"] = double(energy_kwh * intensity + embodied)
        attributes["qudt:hasUnit"] = name("unit:GM")
    types = ["mlf:SoftwareCarbonIntensity"]
    sci = builder.entity(f"{RUN}:sci", types, "Software Carbon Intensity, a run", attributes)
    builder.was_derived_from(sci, f"{RUN}:emissions/total")


def _energy(translation: Translation, entity: str, label: str, parts: list[_Part]) -> float:
    """Make the sum of energies, which is measured only if all of them are; give it in joules."""
    energy_j = sum(part.energy_j for part in parts)
    measured = all(part.method == "measured" for part in parts)
    translation.builder.entity(
        entity,
        ["qudt:QuantityValue", "sosa:Result", "mlf:Quantity"],
        text(label),
        {
            "schema:name": "energy",
            "qudt:numericValue": double(energy_j),
            "qudt:hasUnit": name("unit:J"),
            "qudt:hasQuantityKind": name("quantitykind:ElectricEnergy"),
            "mlf:method": name("mlf:measured" if measured else "mlf:estimated"),
        },
    )
    return energy_j
