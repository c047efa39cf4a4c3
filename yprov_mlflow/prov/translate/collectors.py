"""Measurements of collectors: quantities, and energy by context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, content, segment
from yprov_mlflow.prov.model.literals import double, integer, mapping, name, text
from yprov_mlflow.prov.model.vocabulary import BORROWED
from yprov_mlflow.prov.translate import measurements, totals
from yprov_mlflow.prov.translate.measurements import COMPONENTS
from yprov_mlflow.prov.translate.sessions import FactsBySession, add_software, host_id
from yprov_mlflow.prov.translate.timeline import Span
from yprov_mlflow.prov.translate.translation import Translation

_BASES = frozenset({"measured", "estimated"})


def add_measurements(
    translation: Translation, run_samples: measurements.Measurements, facts: FactsBySession
) -> None:
    """Add the quantities of all collectors and the totals of the run."""
    timeline = translation.timeline
    parts: list[totals.EnergyPart] = []
    counts: Counter[str] = Counter()
    for samples in run_samples:
        start_ns = samples.times_ns[0] if samples.times_ns else 0
        # The first sample may come just before the first event of its session.
        first_session = timeline.first_session(samples.session)
        span = timeline.session_at(samples.session, start_ns) or first_session
        if span is None:
            continue
        local = f"{segment(samples.collector)}/{span.identifier.rpartition('/')[2]}"
        counts[local] += 1
        if counts[local] > 1:  # the collector was stopped and started again
            local += f"@{counts[local]}"
        writer = _MeasuringWriter(translation, samples, local)
        writer.write(span)
        parts += writer.energy_parts
    totals.add_totals(translation, parts, facts)


class _MeasuringWriter:
    """Adds what one collector measured: an activity, its agent, and an entity per quantity."""

    def __init__(
        self, translation: Translation, samples: measurements.CollectorSamples, local: str
    ) -> None:
        self.energy_parts: list[totals.EnergyPart] = []
        self._translation = translation
        self._builder = translation.builder
        self._samples = samples
        self._local = local
        self._activity = f"{RUN}:collector/{local}"
        self._end: str | None = None
        self._not_measured: list[str] = []
        self._path_counts: Counter[str] = Counter()

    def write(self, span: Span) -> None:
        """Add the records; ``span`` is the session that measured."""
        samples, description, report = (
            self._samples,
            self._samples.description,
            self._samples.report,
        )
        # The sampler starts just before and stops just after the session's own events, but
        # the activity has to be within the session that it is part of.
        latest_ns = max(span.last_ns, span.end_ns or 0)
        times_ns = samples.times_ns or [span.start_ns]
        start = literals.instant(min(max(times_ns[0], span.start_ns), latest_ns))
        self._end = literals.instant(min(max(times_ns[-1], span.start_ns), latest_ns))
        attributes = {
            "mlf:collector": text(samples.collector),
            "mlf:samples": integer(len(samples.times_ns)),
            "mlf:intervalSeconds": _double(description.get("interval_s")),
            "mlf:cpuSeconds": _double(report.get("cpu_s")),
            "mlf:problems": _json(report.get("problems")),
            "mlf:leftToOthers": _json(description.get("left_to_others")),
            "dcterms:isPartOf": name(span.identifier),
        }
        types, label = ["mlf:Measuring"], text(f"{samples.collector} measures")
        self._builder.activity(self._activity, start, self._end, types, label, attributes)
        self._builder.was_started_by(self._activity, f"{RUN}:run", start)
        self._add_agent()
        devices = {
            str(device.get("id")): self._add_device(device)
            for device in map(mapping, description.get("devices") or ())
        }
        for index, quantity in enumerate(samples.quantities):
            self._add_quantity(index, quantity, devices)
        not_measured = {"mlf:notMeasured": _json(self._not_measured)}
        self._builder.activity(self._activity, attributes=not_measured)

    def _add_agent(self) -> None:
        # Collectors of other packages may describe themselves incompletely.
        description = self._samples.description
        package = str(description.get("agent") or "yprov-mlflow")
        agent = add_software(self._builder, package, str(description.get("version") or ""))
        plan, procedure = None, description.get("procedure")
        if procedure:
            types, label = ["prov:Plan", "mlf:Procedure"], f"how {self._samples.collector} measures"
            plan = content({"procedure": procedure})
            self._builder.entity(plan, types, text(label), {"mlf:procedure": text(procedure)})
            self._builder.used(self._activity, plan, None, "mlf:measuringProcedure")
        self._builder.was_associated_with(self._activity, agent, "mlf:collectorAgent", plan)

    def _add_device(self, device: Mapping[str, Any]) -> str:
        host = host_id(self._translation.hosts.get(self._samples.session, "unknown"))
        identifier = f"{host}/device/{segment(device.get('id'))}"
        attributes = {
            "mlf:deviceName": text(device.get("id")),
            "mlf:facts": literals.canonical(dict(mapping(device.get("facts")))),
            "dcterms:isPartOf": name(host),
        }
        label = text(device.get("label") or device.get("id"))
        self._builder.entity(identifier, ["mlf:Device", "sosa:Platform"], label, attributes)
        self._builder.used(self._activity, identifier, None, "mlf:measuredDevice")
        return identifier

    def _add_quantity(
        self, index: int, quantity: Mapping[str, Any], devices: Mapping[str, str]
    ) -> None:
        times_ns, values = self._samples.readings(index)
        device, scope = str(quantity.get("device") or ""), str(quantity.get("scope") or "")
        path = self._quantity_path(device, scope, quantity.get("name"))
        cumulative = bool(quantity.get("cumulative"))
        if cumulative:
            values = measurements.rising(values)
            value = values[-1] - values[0] if len(values) > 1 else None
        else:
            value = measurements.mean(times_ns, values)
        if value is None:
            self._not_measured.append(path)
            return
        attributes: dict[str, Any] = {
            **_quantity_attributes(quantity),
            "mlf:deviceName": text(device) if device else None,
            "mlf:ofDevice": name(devices[device]) if device in devices else None,
            "mlf:count": integer(len(values)),
        }
        label = " ".join(part for part in (device or scope, str(quantity.get("name"))) if part)
        entity = f"{RUN}:quantity/{self._local}/{path}"
        if not cumulative:
            attributes.update({"mlf:min": double(min(values)), "mlf:max": double(max(values))})
            types = (*totals.QUANTITY_TYPES, "mlf:Gauge")
            self._add_value(entity, label, value, attributes, types)
            return
        types = (*totals.QUANTITY_TYPES, "mlf:Total")
        self._add_value(entity, label, value, attributes, types)
        # The share of a process is part of a component: the two are never in one sum.
        for own, component in ((False, _component(quantity)), (True, _share_of(quantity))):
            if component is not None:
                method, session = str(quantity.get("method")), self._samples.session
                part = totals.EnergyPart(component, entity, value, method, session, scope, own)
                self.energy_parts.append(part)
        if quantity.get("unit") == "J":
            unit = attributes["qudt:hasUnit"]
            self._add_energy_by_context(entity, label, unit, times_ns, values)

    def _quantity_path(self, device: str, scope: str, quantity: object) -> str:
        owner = segment(device) if device else f"@{segment(scope)}"
        path = f"{owner}/{segment(quantity)}"
        self._path_counts[path] += 1
        # A collector may measure a device in more than one scope, under one name.
        return path if self._path_counts[path] == 1 else f"{path}@{self._path_counts[path]}"

    def _add_energy_by_context(
        self,
        total: str,
        label: str,
        unit: literals.Value | None,
        times_ns: list[int],
        values: list[float],
    ) -> None:
        """Add the growth of a counter during each context and epoch of its session."""
        for span in self._translation.timeline.contexts:
            if span.token != self._samples.session:
                continue
            end_ns = span.end_ns if span.end_ns is not None else times_ns[-1]
            # Contexts outside the readings get no value: unknown is not zero.
            if span.start_ns >= times_ns[-1] or end_ns <= times_ns[0]:
                continue
            path = "/".join(f"epoch {p}" if isinstance(p, int) else str(p) for p in span.path)
            growth = measurements.growth_between(times_ns, values, span.start_ns, end_ns)
            # There may be hundreds: everything else about a part is what its total says.
            of_part = {
                "qudt:hasUnit": unit,
                "mlf:during": name(span.identifier),
                "mlf:partOfTotal": name(total),
            }
            entity = f"{total}/during/{span.identifier.partition(':')[2]}"
            types = ("mlf:Quantity", "mlf:Part")
            self._add_value(entity, f"{label} during {path}", growth, of_part, types)

    def _add_value(
        self,
        entity: str,
        label: str,
        value: float,
        attributes: Attributes,
        types: Sequence[str],
    ) -> None:
        attributes = {"qudt:numericValue": double(value), **attributes}
        self._builder.entity(entity, types, text(label), attributes)
        self._builder.was_generated_by(entity, self._activity, self._end)


def _quantity_attributes(quantity: Mapping[str, Any]) -> dict[str, Any]:
    component, share_of = _component(quantity), _share_of(quantity)
    scope, method = quantity.get("scope"), quantity.get("method")
    return {
        "schema:name": text(quantity.get("name")),
        "qudt:hasUnit": _term("unit", str(quantity.get("unit") or "")),
        "qudt:hasQuantityKind": _term("quantitykind", str(quantity.get("kind") or "")),
        "mlf:scope": name(f"mlf:{scope}") if scope in totals.SCOPES else None,
        "mlf:basis": name(f"mlf:{method}") if method in _BASES else None,
        "mlf:component": text(component) if component else None,
        "mlf:shareOf": text(share_of) if share_of else None,
    }


def _component(quantity: Mapping[str, Any]) -> str | None:
    """Return the component whose energy a quantity is; other packages may name unknown ones."""
    component = quantity.get("component")
    return component if component in COMPONENTS and quantity.get("unit") == "J" else None


def _share_of(quantity: Mapping[str, Any]) -> str | None:
    """Return the component of which a quantity is the share of the run."""
    component = quantity.get("share_of")
    is_energy = quantity.get("scope") == "process" and quantity.get("unit") == "J"
    is_share = is_energy and not _component(quantity)
    return component if component in COMPONENTS and is_share else None


def _term(prefix: str, local: str) -> literals.Value | None:
    """Return a term of QUDT; a unit or kind of another package that is not in it is text."""
    if not local:
        return None
    return name(f"{prefix}:{local}") if local in BORROWED[prefix] else text(local)


def _double(value: object) -> literals.Value | None:
    return double(value) if isinstance(value, int | float) else None


def _json(value: object) -> str | None:
    return literals.canonical(value) if value else None
