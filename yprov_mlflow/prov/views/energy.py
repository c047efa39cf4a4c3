"""Energy reports, read from documents."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import LARGEST_FLOAT
from yprov_mlflow.prov.translate.measurements import COMPONENTS, JOULES_PER_KWH, sum_scope
from yprov_mlflow.prov.views import energy_report
from yprov_mlflow.prov.views.document_reader import (
    DocumentReader,
    Record,
    Source,
    read,
    seconds_between,
    text,
    types,
    value,
)
from yprov_mlflow.prov.views.energy_asides import asides
from yprov_mlflow.prov.views.view import Run, terms

# Entities with a collector's facts. Hosts and environments have labels other than its name.
_FACTS = {"mlf:Facts": "", "mlf:Host": "host", "mlf:Environment": "environment"}
_TOTALS = ("run:energy/", "run:emissions/", "run:sci")
_GAUGES: Mapping[tuple[str, str | None], str] = {
    ("power", "W"): "power_w",
    ("utilization", "PERCENT"): "utilization_percent",
}
_UNREAD = "no sample has it"
_LATE = "collectors start in the background, and the run does not wait for them"
# Share of a session before the first sample from which on the report mentions it.
_LATE_SHARE = 0.01
_NOTHING_MEASURED = (
    "the document contains no measurements: no collector ran (see YPROV_MLFLOW_COLLECTORS), the "
    "run ended before its collectors had started, or the document was converted from a store"
)


def from_document(document: Source) -> energy_report.EnergyReport:
    """Return the energy report of a document."""
    reader = DocumentReader.of(document)
    measurements = list(_measurements(reader))
    measuring = _measuring(reader)
    devices = _devices(measuring, (m for m in measurements if m.during is None))
    total, own = _total(reader, "total", ""), _total(reader, "own", "own/")
    run = reader.section("activity").get("run:run", {})
    return energy_report.EnergyReport(
        run=read(Run, run, start=run.get("prov:startTime"), end=run.get("prov:endTime")),
        measured=bool(measurements),
        collectors=tuple(measuring.values()),
        devices=devices,
        contexts=_contexts(reader, measuring, measurements),
        total=total,
        own=own,
        emissions=_emissions(reader, "total"),
        own_emissions=_emissions(reader, "own"),
        sci=_carbon_intensity(reader),
        overlap=_overlap(reader),
        ranks=_ranks(reader),
        not_in_sum=tuple(asides(devices, total, own)),
        not_measured=_not_measured(reader),
        reason=None if measurements else _NOTHING_MEASURED,
    )


class _Measurement(NamedTuple):
    """A quantity with its activity and device; ``during`` is its context, None for all."""

    activity: str
    device: str
    label: str | None
    during: str | None
    name: str
    quantity: energy_report.Quantity


def _measurements(reader: DocumentReader) -> Iterator[_Measurement]:
    generated = {
        str(record.get("prov:entity")): str(record.get("prov:activity"))
        for record in reader.section("wasGeneratedBy").values()
    }
    entities = reader.section("entity")
    for identifier, part in reader.of_type("entity", "mlf:Quantity"):
        if identifier.startswith(_TOTALS):  # sums of the others, which have their own tables
            continue
        # The part of a context does not repeat the attributes of the quantity's total.
        total_id = str(value(part.get("mlf:partOfTotal", "")))
        record = {**entities.get(total_id, {}), **part}
        device = entities.get(str(value(record.get("mlf:ofDevice", ""))), {})
        numbers: dict[str, Any] = {
            name: _number(part, term) for name, term in terms(energy_report.Quantity).items()
        }
        yield _Measurement(
            activity=generated.get(identifier) or generated.get(total_id) or "",
            device=text(record.get("mlf:deviceName")) or "",
            label=text(device.get("prov:label")),
            during=text(part.get("mlf:during")),
            name=str(value(record.get("schema:name", ""))),
            quantity=energy_report.Quantity(
                value=_number(part, "qudt:numericValue"),
                **numbers,
                unit=_local(record, "qudt:hasUnit"),
                method=_basis(record),
                scope=_local(record, "mlf:scope"),
                component=_local(record, "mlf:component"),
                share_of=text(record.get("mlf:shareOf")),
                record_id=identifier,
            ),
        )


def _number(record: Record, term: str) -> float | int | None:
    """Return a finite number, or None for anything else."""
    number = value(record.get(term))
    # To Python, True is an int, and other programs may write a boolean, INF or any integer here.
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return number if -LARGEST_FLOAT <= number <= LARGEST_FLOAT else None


def _local(record: Record, term: str) -> str | None:
    """Return the local part of a qualified name, such as ``device`` of ``mlf:device``."""
    name = text(record.get(term))
    return None if name is None else name.rpartition(":")[2]


def _basis(record: Record) -> str | None:
    """Return whether a quantity is measured or estimated, in documents of both editions."""
    return _local(record, "mlf:basis" if "mlf:basis" in record else "mlf:method")


def _activities(reader: DocumentReader) -> Iterator[tuple[str, Record]]:
    """Yield the activities of collectors, in documents of both editions."""
    for kind in ("mlf:Measuring", "mlf:Collection"):
        yield from reader.of_type("activity", kind)


# -- devices -----------------------------------------------------------------------------


def _measuring(reader: DocumentReader) -> dict[str, energy_report.Measuring]:
    """Return the work of each collector by the id of its activity."""
    activities = reader.section("activity")
    entities = reader.section("entity")
    # A session uses the host that it runs on.
    nodes: dict[str | None, str | None] = {}
    for usage in reader.section("used").values():
        host = entities.get(str(usage.get("prov:entity")), {})
        if "mlf:Host" in types(host):
            nodes[str(usage.get("prov:activity"))] = text(host.get("prov:label"))
    measuring = {}
    for identifier, record in _activities(reader):
        session = text(record.get("dcterms:isPartOf"))
        rank = value(activities.get(session or "", {}).get("mlf:rank"))
        measuring[identifier] = read(
            energy_report.Measuring, record, session=session, rank=rank, node=nodes.get(session)
        )
    return measuring


def _devices(
    measuring: Mapping[str, energy_report.Measuring], measurements: Iterable[_Measurement]
) -> tuple[energy_report.DeviceEnergy, ...]:
    """Return a row for each device of each collector, or for each scope without a device."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for activity, device, label, _, name, quantity in measurements:
        is_energy = quantity.unit == "J"
        # A second energy of the same device, such as a process's share, has its own row.
        what = name if is_energy and name != "energy" else ""
        key = (activity, device, quantity.scope or "", what)
        if (row := rows.get(key)) is None:
            collector = measuring.get(activity)
            row = rows[key] = {
                **{
                    field: getattr(collector, field, None)
                    for field in ("session", "rank", "node", "collector")
                },
                "device": device or None,
                "label": label,
                "what": what or None,
                "scope": quantity.scope,
                "method": quantity.method,
                "quantities": {},
            }
        row["quantities"][name] = quantity
        if is_energy:
            # The method of the row is that of its energy: its power may come from elsewhere.
            row["energy_j"], row["component"] = quantity.value, quantity.component
            row["method"], row["share_of"] = quantity.method, quantity.share_of
        elif field := _GAUGES.get((name, quantity.unit)):
            row[field] = energy_report.Gauge(mean=quantity.value, max=quantity.max)
    return tuple(energy_report.DeviceEnergy(**row) for row in rows.values())


# -- contexts ----------------------------------------------------------------------------


def _contexts(
    reader: DocumentReader,
    measuring: Mapping[str, energy_report.Measuring],
    measurements: Iterable[_Measurement],
) -> tuple[energy_report.ContextEnergy, ...]:
    """Return the contexts and epochs with measurements, outer ones first."""
    by_context: dict[str, list[_Measurement]] = {}
    for measurement in measurements:
        if measurement.during is not None:
            by_context.setdefault(measurement.during, []).append(measurement)
    activities = reader.section("activity")
    contexts = []
    for identifier, parts in by_context.items():
        record = activities.get(identifier, {})
        session = activities.get(text(record.get("mlf:session")) or "", {})
        start, end = record.get("prov:startTime"), record.get("prov:endTime")
        devices = _devices(measuring, parts)
        energies = [row for row in devices if row.energy_j is not None]
        counted = [row for row in energies if row.component]
        contexts.append(
            energy_report.ContextEnergy(
                context=_path(reader, identifier),
                rank=value(session.get("mlf:rank")),
                start=start,
                end=end,
                seconds=seconds_between(start, end),
                energy_j=_sum(counted),
                components={
                    name: _sum([row for row in counted if row.component == name])
                    for name in COMPONENTS
                },
                method=_method(counted),
                scope=_scope(counted),
                own_j=_sum([row for row in energies if row.share_of]),
                devices=devices,
            )
        )
    # ISO 8601 in UTC sorts as text; a context starts no later than those inside it.
    return tuple(sorted(contexts, key=lambda context: (str(context.start), len(context.context))))


def _path(reader: DocumentReader, identifier: str) -> tuple[str, ...]:
    """Return the labels of a context and of the contexts around it, outermost first."""
    path: list[str] = []
    seen: set[str] = set()  # documents by others may have cycles
    activities = reader.section("activity")
    while identifier not in seen and (record := activities.get(identifier)) is not None:
        seen.add(identifier)
        if not {"mlf:Context", "mlf:Epoch"} & set(types(record)):
            break
        path.insert(0, text(record.get("prov:label")) or identifier)
        identifier = text(record.get("dcterms:isPartOf")) or ""
    return tuple(path) or (identifier,)


def _sum(rows: list[energy_report.DeviceEnergy]) -> float | None:
    # No rows are None: 0 J would claim a measurement.
    return math.fsum(row.energy_j or 0 for row in rows) if rows else None


def _method(rows: list[energy_report.DeviceEnergy]) -> str | None:
    """Return the method of a sum: it is measured only if all of its parts are."""
    measured = all(row.method == "measured" for row in rows)
    return None if not rows else "measured" if measured else "estimated"


def _scope(rows: list[energy_report.DeviceEnergy]) -> str | None:
    """Return the scope of a sum; documents before the scopes lack it."""
    parts = [(row.component, row.scope or "") for row in rows]
    return sum_scope(parts) or None if parts else None


# -- totals ------------------------------------------------------------------------------


def _total(reader: DocumentReader, name: str, path: str) -> energy_report.TotalEnergy | None:
    if (total := _energy(reader, name)) is None:
        return None
    components = {component: _energy(reader, f"{path}{component}") for component in COMPONENTS}
    nodes = _number(reader.section("entity")[f"run:energy/{name}"], "mlf:nodeCount")
    return energy_report.TotalEnergy(
        **vars(total), components=components, nodes=None if nodes is None else int(nodes)
    )


def _energy(reader: DocumentReader, name: str) -> energy_report.Energy | None:
    record = reader.section("entity").get(f"run:energy/{name}", {})
    energy_j = _number(record, "qudt:numericValue")
    if energy_j is None:
        return None
    return energy_report.Energy(
        energy_j=energy_j,
        energy_kwh=energy_j / JOULES_PER_KWH,
        method=_basis(record),
        scope=_local(record, "mlf:scope"),
    )


def _emissions(reader: DocumentReader, name: str) -> energy_report.Emissions | None:
    record = reader.section("entity").get(f"run:emissions/{name}", {})
    emissions_g = _number(record, "qudt:numericValue")
    if emissions_g is None:
        return None
    return energy_report.Emissions(
        emissions_g=emissions_g,
        carbon_intensity=_number(record, "mlf:carbonIntensity"),
        source=text(record.get("mlf:carbonIntensitySource")),
        method=_basis(record),
        scope=_local(record, "mlf:scope"),
    )


def _carbon_intensity(reader: DocumentReader) -> energy_report.CarbonIntensity | None:
    if (record := reader.section("entity").get("run:sci")) is None:
        return None
    return energy_report.CarbonIntensity(
        energy_kwh=_number(record, "mlf:sciEnergyKwh"),
        carbon_intensity=_number(record, "mlf:sciIntensity"),
        embodied_g=_number(record, "mlf:sciEmbodiedGrams"),
        value_g=_number(record, "qudt:numericValue"),
        functional_unit=text(record.get("mlf:sciFunctionalUnit")),
        scope=_local(record, "mlf:scope"),
    )


def _overlap(reader: DocumentReader) -> energy_report.Overlap | None:
    total = reader.section("entity").get("run:energy/total", {})
    overlap = _mapping(_json(total.get("mlf:overlaps")))
    if not isinstance(count := overlap.get("count"), int):
        return None
    return energy_report.Overlap(count=count, runs=tuple(map(str, _list(overlap.get("runs")))))


def _ranks(reader: DocumentReader) -> energy_report.Ranks | None:
    """Return how many ranks logged, of a run whose processes know the number of all."""
    sessions = [record for _, record in reader.of_type("activity", "mlf:RunSession")]
    sizes = [int(size) for s in sessions if (size := _number(s, "mlf:worldSize")) is not None]
    if not sizes:
        return None
    logged = {_number(s, "mlf:rank") for s in sessions if "mlf:worldSize" in s}
    return energy_report.Ranks(world_size=max(sizes), logged=len(logged))


# -- what is missing ---------------------------------------------------------------------


def _not_measured(reader: DocumentReader) -> tuple[energy_report.Missing, ...]:
    """Return each thing that could not be measured once, however many sessions report it."""
    missing: dict[energy_report.Missing, None] = {}
    for collector, report in (*_unavailable(reader), *_late(reader), *_failed(reader)):
        if report.get("reason"):
            texts = {key: str(report.get(key) or "") for key in ("what", "reason", "cure")}
            missing[energy_report.Missing(collector=collector, **texts)] = None
    return tuple(missing)


def _unavailable(reader: DocumentReader) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what collectors could not measure from the start."""
    for record in reader.section("entity").values():
        if (kind := next((kind for kind in types(record) if kind in _FACTS), None)) is None:
            continue
        collector = _FACTS[kind] or text(record.get("prov:label")) or ""
        facts = _mapping(_json(record.get("mlf:facts")))
        yield collector, {"reason": facts.get("unavailable"), "cure": facts.get("cure")}
        for report in _list(facts.get("missing")):
            yield collector, _mapping(report)


def _late(reader: DocumentReader) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the longest time before a collector's first sample, if it was a notable share."""
    longest: dict[str, tuple[float, float]] = {}
    for _, record in _activities(reader):
        session = reader.section("activity").get(text(record.get("dcterms:isPartOf")) or "", {})
        start = session.get("prov:startTime")
        before_s = seconds_between(start, record.get("prov:startTime"))
        session_s = seconds_between(start, session.get("prov:endTime"))
        if before_s and session_s and before_s > _LATE_SHARE * session_s:
            collector = text(record.get("mlf:collector")) or ""
            longest[collector] = max(longest.get(collector, (0.0, 0.0)), (before_s, session_s))
    for collector, (before_s, session_s) in longest.items():
        what = f"the first {before_s:.2g} s of {session_s:.4g} s"
        yield collector, {"what": what, "reason": _LATE}


def _failed(reader: DocumentReader) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the quantities that were never read, and the errors while measuring."""
    for _, record in _activities(reader):
        collector = text(record.get("mlf:collector")) or ""
        for path in _list(_json(record.get("mlf:notMeasured"))):
            # The path is device/quantity; "@node" stands for the scope of a missing device.
            device, _, name = str(path).rpartition("/")
            yield collector, {"what": f"{name} of {device.lstrip('@')}", "reason": _UNREAD}
        for problem in map(_mapping, _list(_json(record.get("mlf:problems")))):
            times = f" ({problem['count']} times)" if problem.get("count", 1) != 1 else ""
            yield collector, {"what": "some samples", "reason": f"{problem.get('reason')}{times}"}


def _json(literal: Any) -> Any:
    try:
        return json.loads(str(value(literal)))
    except (ValueError, RecursionError):
        return None


def _list(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, dict) else {}
