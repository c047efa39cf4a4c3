"""The bill of a run: energy of the hardware and of the run itself, emissions, and the SCI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import OVERLAP_FACTS
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.model.literals import double, integer, name, text
from yprov_mlflow.prov.translate.measurements import COMPONENTS, JOULES_PER_KWH, sum_scope
from yprov_mlflow.prov.translate.sessions import FactsBySession
from yprov_mlflow.prov.translate.translation import Translation

QUANTITY_TYPES = ["qudt:QuantityValue", "sosa:Result", "mlf:Quantity"]
"""Types of every entity that is a number with a unit."""


SCOPES = frozenset({"device", "process", "job", "node"})
"""The scopes of quantities that the vocabulary has."""


class EnergyPart(NamedTuple):
    """An energy of one component of the machine, or the run's own share, from one session."""

    component: str
    entity: str
    energy_j: float
    method: str
    session: str
    scope: str
    own: bool


class _Carbon(NamedTuple):
    """Grams of CO2 equivalent per kWh, and their source."""

    g_per_kwh: float
    source: str


class _Bill(NamedTuple):
    """One of the two sums of a run: ids below ``run:energy``, and words for labels."""

    path: str
    total: str
    types: list[str]
    subject: str


_HARDWARE = _Bill("", "total", ["mlf:TotalEnergy"], "the {scope} while the run ran")
_OWN = _Bill("own/", "own", ["mlf:AttributedEnergy"], "the run itself")


def add_totals(
    translation: Translation, parts: Sequence[EnergyPart], facts: FactsBySession
) -> None:
    """Add the energy of the hardware and of the run itself, emissions, and the terms of the SCI.

    The hardware is billed whole, with the work of others, so runs that overlap have the same
    joules. The run's own shares of several runs add up to the hardware's at most.
    """
    builder = translation.builder
    hardware = [part for part in parts if not part.own]
    own = [part for part in parts if part.own]
    if own:
        _add_bill(builder, _OWN, own, facts)
    if not hardware:
        return
    energy_kwh, carbon = _add_bill(builder, _HARDWARE, hardware, facts)
    nodes = {translation.hosts.get(part.session) for part in hardware}
    attributes = {"mlf:nodeCount": integer(len(nodes)), "mlf:overlaps": _overlaps(facts)}
    builder.entity(f"{RUN}:energy/total", attributes=attributes)
    if carbon is not None:
        sessions = (by_collector.get("session", {}) for by_collector in facts.values())
        embodied = (session.get("embodied_g") for session in sessions)
        embodied_g = next((grams for grams in embodied if grams is not None), None)
        _add_sci(builder, energy_kwh, carbon.g_per_kwh, embodied_g, _scope(hardware))


def _overlaps(facts: FactsBySession) -> str | None:
    """Return which runs were measured on the same machines at the same time, as JSON."""
    overlaps = [by_collector.get(OVERLAP_FACTS, {}) for by_collector in facts.values()]
    runs = sorted({str(run) for overlap in overlaps for run in overlap.get("runs") or ()})
    count = max([len(runs), *(int(overlap.get("count") or 0) for overlap in overlaps)])
    return literals.canonical({"count": count, "runs": runs}) if count else None


def _add_bill(
    builder: Builder, bill: _Bill, parts: Sequence[EnergyPart], facts: FactsBySession
) -> tuple[float, _Carbon | None]:
    """Add the sums by component, their total and its emissions; return kWh and the intensity."""
    total = f"{RUN}:energy/{bill.total}"
    subject = bill.subject.format(scope=_scope(parts))
    energy_j = _add_energy(builder, total, f"energy of {subject}", parts)
    builder.entity(total, bill.types)
    for component in COMPONENTS:
        if of_component := [part for part in parts if part.component == component]:
            entity = f"{RUN}:energy/{bill.path}{component}"
            label = f"energy of {subject}, {component}"
            _add_energy(builder, entity, label, of_component)
            builder.entity(entity, attributes={"mlf:component": component})
            for part in of_component:
                builder.was_derived_from(entity, part.entity)
            builder.was_derived_from(total, entity)
    carbon = _carbon(parts, facts)
    if carbon is not None:
        emissions = f"{RUN}:emissions/{bill.total}"
        label = f"emissions of {subject}, CO2 equivalent"
        attributes = _emissions(energy_j / JOULES_PER_KWH, carbon, _scope(parts))
        types = [*QUANTITY_TYPES, "mlf:Emissions"]
        builder.entity(emissions, types, text(label), attributes)
        builder.was_derived_from(emissions, total)
    return energy_j / JOULES_PER_KWH, carbon


def _scope(parts: Sequence[EnergyPart]) -> str:
    return sum_scope((part.component, part.scope) for part in parts)


def _term(scope: str) -> literals.Value | None:
    """Return a scope as a term, None for the words of other packages."""
    return name(f"mlf:{scope}") if scope in SCOPES else None


def _carbon(parts: Sequence[EnergyPart], facts: FactsBySession) -> _Carbon | None:
    """Return the carbon intensity of the run's energy: of all sessions, weighted by energy.

    A session without one takes that of the first session with one.
    """
    by_session = {}
    for session, by_collector in facts.items():
        carbon = by_collector.get("carbon", {})
        intensity = carbon.get("carbon_intensity_g_per_kwh")
        if isinstance(intensity, int | float):
            source = str(carbon.get("carbon_intensity_source") or "given")
            by_session[session] = _Carbon(intensity, source)
    if not by_session:
        return None
    first = next(iter(by_session.values()))
    used = [by_session.get(part.session, first) for part in parts]
    energy_j = sum(part.energy_j for part in parts)
    # Weighting equal intensities would only add rounding errors.
    if len(set(used)) == 1 or not energy_j:
        return used[0]
    grams = sum(part.energy_j * carbon.g_per_kwh for part, carbon in zip(parts, used, strict=True))
    sources = dict.fromkeys(f"{carbon.g_per_kwh:g}: {carbon.source}" for carbon in used)
    return _Carbon(grams / energy_j, f"mean by energy of {'; '.join(sources)}")


def _emissions(energy_kwh: float, carbon: _Carbon, scope: str) -> dict[str, Any]:
    return {
        "schema:name": "emissions",
        "qudt:numericValue": double(energy_kwh * carbon.g_per_kwh),
        "qudt:hasUnit": name("unit:GM"),
        "qudt:hasQuantityKind": name("quantitykind:CO2Equivalent"),
        "mlf:basis": name("mlf:estimated"),
        "mlf:scope": _term(scope),
        "mlf:carbonIntensity": double(carbon.g_per_kwh),
        "mlf:carbonIntensitySource": text(carbon.source),
    }


def _add_sci(
    builder: Builder, energy_kwh: float, intensity: float, embodied_g: object, scope: str
) -> None:
    """Add E, I, M and R of the Software Carbon Intensity; its value only if M is known."""
    attributes: dict[str, Any] = {
        "mlf:sciEnergyKwh": double(energy_kwh),
        "mlf:sciIntensity": double(intensity),
        "mlf:sciFunctionalUnit": "run",
        "mlf:scope": _term(scope),
    }
    if isinstance(embodied_g, int | float):
        attributes["mlf:sciEmbodiedGrams"] = double(embodied_g)
        attributes["qudt:numericValue"] = double(energy_kwh * intensity + embodied_g)
        attributes["qudt:hasUnit"] = name("unit:GM")
    types = ["mlf:SoftwareCarbonIntensity"]
    sci = builder.entity(f"{RUN}:sci", types, "Software Carbon Intensity, a run", attributes)
    builder.was_derived_from(sci, f"{RUN}:emissions/total")


def _add_energy(builder: Builder, entity: str, label: str, parts: Sequence[EnergyPart]) -> float:
    """Add a sum of energies and return it in joules; it is measured only if all parts are."""
    energy_j = sum(part.energy_j for part in parts)
    measured = all(part.method == "measured" for part in parts)
    attributes = {
        "schema:name": "energy",
        "qudt:numericValue": double(energy_j),
        "qudt:hasUnit": name("unit:J"),
        "qudt:hasQuantityKind": name("quantitykind:ElectricEnergy"),
        "mlf:basis": name("mlf:measured" if measured else "mlf:estimated"),
        "mlf:scope": _term(_scope(parts)),
    }
    builder.entity(entity, QUANTITY_TYPES, text(label), attributes)
    return energy_j
