"""Collectors in a document: who measured what and how, energy by context, the run's bill."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.translate import literals, measurements
from yprov_mlflow.translate.document import Attributes, Builder
from yprov_mlflow.translate.identifiers import RUN, STORE, content, digest, segment
from yprov_mlflow.translate.literals import double, integer, mapping, name, text
from yprov_mlflow.translate.measurements import Measurements, Stretch
from yprov_mlflow.translate.timeline import Span
from yprov_mlflow.translate.translation import Translation
from yprov_mlflow.translate.vocabulary import BORROWED

JOULES_PER_KWH = 3.6e6

_OWN = "yprov-mlflow"


@dataclasses.dataclass
class _Bill:
    """What of a run's energy is to be added up: entities and joules by component."""

    parts: dict[str, list[tuple[str, float, str]]] = dataclasses.field(default_factory=dict)

    def add(self, component: str, entity: str, energy_j: float, method: str) -> None:
        self.parts.setdefault(component, []).append((entity, energy_j, method))


def add_measurements(
    translation: Translation, taken: Measurements, facts: Mapping[str, Mapping[str, Any]]
) -> None:
    """Make the records of all measurements, and of what they come to.

    Args:
        translation: The document in the making.
        taken: All samples of the run.
        facts: By collector, what it found out; ``carbon`` has the carbon intensity,
            ``session`` what the first session knew of itself.
    """
    bill = _Bill()
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
        self, translation: Translation, stretch: Stretch, span: Span, local: str, bill: _Bill
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
        total = measurements.total(values)
        if total is None:
            self.unread.append(path)
            return
        attributes["mlf:count"] = integer(len(values))
        self._value(entity, label, total, attributes, "mlf:Total")
        component = str(quantity.get("component") or "")
        if component:
            self.bill.add(component, entity, total, str(quantity.get("method")))
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
    component = quantity.get("component")
    scope, method = quantity.get("scope"), quantity.get("method")
    return {
        "schema:name": text(quantity.get("name")),
        "qudt:hasUnit": _term("unit", unit),
        "qudt:hasQuantityKind": _term("quantitykind", kind),
        "mlf:scope": name(f"mlf:{scope}") if scope in _SCOPES else None,
        "mlf:method": name(f"mlf:{method}") if method in _METHODS else None,
        "mlf:component": text(component) if component else None,
    }


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
    translation: Translation, bill: _Bill, facts: Mapping[str, Mapping[str, Any]]
) -> None:
    """Make the totals: energy by component and of the run, its emissions, SCI's quantities."""
    builder = translation.builder
    whole_j, methods, components = 0.0, set(), []
    for component, parts in sorted(bill.parts.items()):
        energy_j = sum(energy for _, energy, _ in parts)
        found = {method for _, _, method in parts}
        entity = f"{RUN}:energy/{segment(component)}"
        _energy(translation, entity, f"energy, {component}", energy_j, found)
        builder.entity(entity, attributes={"mlf:component": text(component)})
        for part, _, _ in parts:
            builder.was_derived_from(entity, part)
        whole_j += energy_j
        methods |= found
        components.append(entity)
    if not components:
        return
    total = f"{RUN}:energy/total"
    _energy(translation, total, "energy of the run", whole_j, methods)
    builder.entity(total, ["mlf:TotalEnergy"])
    for entity in components:
        builder.was_derived_from(total, entity)
    carbon = facts.get("carbon", {})
    intensity = carbon.get("carbon_intensity_g_per_kwh")
    if isinstance(intensity, int | float):
        source = text(carbon.get("carbon_intensity_source") or "given")
        embodied = facts.get("session", {}).get("embodied_g")
        _add_emissions(builder, whole_j / JOULES_PER_KWH, intensity, source)
        _add_sci(builder, whole_j / JOULES_PER_KWH, intensity, embodied)


def _add_emissions(builder: Builder, energy_kwh: float, intensity: float, source: str) -> None:
    emissions = builder.entity(
        f"{RUN}:emissions/total",
        ["qudt:QuantityValue", "sosa:Result", "mlf:Quantity", "mlf:Emissions"],
        "emissions of the run, CO2 equivalent",
        {
            "schema:name": "emissions",
            "qudt:numericValue": double(energy_kwh * intensity),
            "qudt:hasUnit": name("unit:GM"),
            "qudt:hasQuantityKind": name("quantitykind:CO2Equivalent"),
            "mlf:method": name("mlf:estimated"),
            "mlf:carbonIntensity": double(intensity),
            "mlf:carbonIntensitySource": source,
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


def _energy(
    translation: Translation, entity: str, label: str, energy_j: float, methods: set[str]
) -> None:
    measured = methods == {"measured"}
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
