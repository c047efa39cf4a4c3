"""What a run cost, as its document says: energy by device and context, emissions, what is missing.

A number that the document does not have is None and never 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from yprov_mlflow.prov.translate.measurements import COMPONENTS, JOULES_PER_KWH
from yprov_mlflow.prov.views.document_view import Records, Summary, View, pick, types, value

_RUN = {"id": "mlf:runId", "status": "mlf:status", "name": "prov:label"}
_COLLECTION = {
    "collector": "mlf:collector",
    "start": "prov:startTime",
    "end": "prov:endTime",
    "samples": "mlf:samples",
    "cpu_s": "mlf:cpuSeconds",
    "interval_s": "mlf:intervalSeconds",
}
_NUMBERS = {
    "value": "qudt:numericValue",
    "min": "mlf:min",
    "max": "mlf:max",
    "count": "mlf:count",
}
_NAMES = {
    "unit": "qudt:hasUnit",
    "method": "mlf:method",
    "scope": "mlf:scope",
    "component": "mlf:component",
}
_SCI = {
    "energy_kwh": "mlf:sciEnergyKwh",
    "carbon_intensity": "mlf:sciIntensity",
    "embodied_g": "mlf:sciEmbodiedGrams",
    "value_g": "qudt:numericValue",
}
# Kinds of entities with what collectors found; those of our own kinds have labels of their own.
_FACTS = {"mlf:Facts": "", "mlf:Host": "host", "mlf:Environment": "environment"}
_SUMS = ("run:energy/", "run:emissions/", "run:sci")
_UNREAD = "no sample has it"
_EARLY = "collectors look around first, and a run does not wait for them"
_EARLY_SHARE = 0.01
"""Share of a session's time from which on it is said that nothing measured yet."""
_NOTHING = (
    "the document has no measurements: no collector ran (YPROV_MLFLOW_COLLECTORS chooses them), "
    "the run was over before the collectors of its process had looked around, or the document was "
    "made from a store, which has none"
)


def draw_up(document: Mapping[str, Records]) -> Summary:
    """Give the bill of a PROV-JSON object.

    Returns:
        ``run``; ``measured`` and, where that is false, the ``reason``; ``collectors``;
        ``devices`` and ``contexts``, each context with ``devices`` of its own, of which each
        has ``energy_j``, ``power_w``, ``utilization_percent`` and under ``quantities`` all
        else; ``total``, ``emissions`` and ``sci``, None where the document lacks them;
        ``not_measured``: collector, what, reason and cure.
    """
    view = View(document)
    quantities = list(_quantities(view))
    found = {
        "run": _run(view),
        "measured": bool(quantities),
        "collectors": list(_collections(view).values()),
        "devices": _devices(view, (q for q in quantities if q.during is None)),
        "contexts": _contexts(view, quantities),
        "total": _total(view),
        "emissions": _emissions(view),
        "sci": _sci(view),
        "not_measured": _not_measured(view),
    }
    return found if quantities else {**found, "reason": _NOTHING}


class _Quantity(NamedTuple):
    """One value: by which activity, of which device, during which context if not the whole."""

    activity: str
    device: str
    label: str | None
    during: str | None
    name: str
    numbers: Summary


def _quantities(view: View) -> Iterator[_Quantity]:
    generated = {
        r.get("prov:entity"): str(r.get("prov:activity"))
        for r in view.section("wasGeneratedBy").values()
    }
    entities = view.section("entity")
    for identifier, part in view.of("entity", "mlf:Quantity"):
        if identifier.startswith(_SUMS):
            continue
        # What a part does not say again, its whole has said.
        whole_id = str(value(part.get("mlf:partOfTotal", "")))
        record = {**entities.get(whole_id, {}), **part}
        device = entities.get(str(value(record.get("mlf:ofDevice", ""))), {})
        numbers = {key: _number(part, term) for key, term in _NUMBERS.items() if term in part}
        names = {key: _local(record.get(term)) for key, term in _NAMES.items()}
        during = value(part.get("mlf:during"))
        yield _Quantity(
            generated.get(identifier) or generated.get(whole_id) or "",
            _text(record.get("mlf:deviceName")) or "",
            _text(device.get("prov:label")),
            None if during is None else str(during),
            str(value(record.get("schema:name", ""))),
            {"value": None, **numbers, **names},
        )


def _number(record: Mapping[str, Any], term: str) -> float | int | None:
    """Give a number; None for what is not one, which JSON cannot carry either."""
    found = value(record.get(term))
    usable = isinstance(found, (int, float)) and not isinstance(found, bool)
    return found if usable and math.isfinite(found) else None


def _local(given: Any) -> str | None:
    """Give the local part of a qualified name, such as ``device`` of ``mlf:device``."""
    found = value(given)
    return None if found is None else str(found).rpartition(":")[2]


# -- where and by what -------------------------------------------------------------------


def _run(view: View) -> Summary:
    record = view.section("activity").get("run:run", {})
    times = {"start": record.get("prov:startTime"), "end": record.get("prov:endTime")}
    return {**pick(record, _RUN), **times}


def _collections(view: View) -> dict[str, Summary]:
    """Give who measured, by activity, each with its session, rank and node."""
    activities = view.section("activity")
    entities = view.section("entity")
    nodes = {
        r.get("prov:activity"): _text(entities[str(r.get("prov:entity"))].get("prov:label"))
        for r in view.section("used").values()
        if "mlf:Host" in types(entities.get(str(r.get("prov:entity")), {}))
    }
    found = {}
    for identifier, record in view.of("activity", "mlf:Collection"):
        session = _text(record.get("dcterms:isPartOf"))
        found[identifier] = {
            **pick(record, _COLLECTION),
            "session": session,
            "rank": value(activities.get(session or "", {}).get("mlf:rank")),
            "node": nodes.get(session),
        }
    return found


def _text(given: Any) -> str | None:
    found = value(given)
    return None if found is None else str(found)


def _devices(view: View, quantities: Iterable[_Quantity]) -> list[Summary]:
    """Give a row for each device of each activity; for what is of no device, one a scope."""
    collections = _collections(view)
    rows: dict[tuple[str, ...], Summary] = {}
    for quantity in quantities:
        numbers = quantity.numbers
        is_energy = numbers["unit"] == "J"
        # A second energy of the same device, such as a process's share, is a row of its own.
        which = quantity.name if is_energy and quantity.name != "energy" else ""
        key = (quantity.activity, quantity.device, numbers["scope"] or "", which)
        row = rows.get(key)
        if row is None:
            by = collections.get(quantity.activity, {})
            row = rows[key] = {
                **{key: by.get(key) for key in ("session", "rank", "node", "collector")},
                "device": quantity.device or None,
                "label": quantity.label,
                "what": which or None,
                "component": None,
                "scope": numbers["scope"],
                "method": numbers["method"],
                "energy_j": None,
                "power_w": None,
                "utilization_percent": None,
                "quantities": {},
            }
        row["quantities"][quantity.name] = numbers
        if is_energy:
            row["energy_j"], row["component"] = numbers["value"], numbers["component"]
            row["method"] = numbers["method"]
        elif quantity.name == "power" and numbers["unit"] == "W":
            row["power_w"] = _gauge(numbers)
        elif quantity.name == "utilization" and numbers["unit"] == "PERCENT":
            row["utilization_percent"] = _gauge(numbers)
    return list(rows.values())


def _gauge(numbers: Summary) -> Summary:
    return {"mean": numbers["value"], "max": numbers.get("max")}


# -- when --------------------------------------------------------------------------------


def _contexts(view: View, quantities: Iterable[_Quantity]) -> list[Summary]:
    """Give what was measured during each context and epoch, those around others first."""
    by_context: dict[str, list[_Quantity]] = {}
    for quantity in quantities:
        if quantity.during is not None:
            by_context.setdefault(quantity.during, []).append(quantity)
    found = []
    for identifier, parts in by_context.items():
        record = view.section("activity").get(identifier, {})
        start, end = record.get("prov:startTime"), record.get("prov:endTime")
        devices = _devices(view, parts)
        counted = [row for row in devices if row["component"] and row["energy_j"] is not None]
        sums = {
            name: _sum(row for row in counted if row["component"] == name) for name in COMPONENTS
        }
        found.append(
            {
                "context": _path(view, identifier),
                "rank": _rank(view, record),
                "start": start,
                "end": end,
                "seconds": _seconds(start, end),
                "energy_j": _sum(counted),
                "components": sums,
                "method": _method(row["method"] for row in counted),
                "devices": devices,
            }
        )
    return sorted(found, key=lambda context: (str(context["start"]), len(context["context"])))


def _path(view: View, identifier: str) -> list[str]:
    """Give the labels of a context and of those around it, the outermost first."""
    activities = view.section("activity")
    path: list[str] = []
    seen: set[str] = set()
    while identifier not in seen and (record := activities.get(identifier)) is not None:
        seen.add(identifier)
        if not {"mlf:Context", "mlf:Epoch"} & set(types(record)):
            break
        path.insert(0, _text(record.get("prov:label")) or identifier)
        identifier = _text(record.get("dcterms:isPartOf")) or ""
    return path or [identifier]


def _rank(view: View, context: Mapping[str, Any]) -> Any:
    session = view.section("activity").get(_text(context.get("mlf:session")) or "", {})
    return value(session.get("mlf:rank"))


def _seconds(start: Any, end: Any) -> float | None:
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (TypeError, ValueError):  # it has no end, or is no time
        return None


def _sum(rows: Iterable[Summary]) -> float | None:
    energies = [row["energy_j"] for row in rows]
    return math.fsum(energies) if energies else None


def _method(methods: Iterable[str | None]) -> str | None:
    """Give what holds for a sum: it is measured only if all parts are."""
    kinds = set(methods)
    return None if not kinds else "measured" if kinds == {"measured"} else "estimated"


# -- the sum -----------------------------------------------------------------------------


def _energy(record: Mapping[str, Any]) -> Summary | None:
    energy_j = _number(record, "qudt:numericValue")
    if energy_j is None:
        return None
    return {
        "energy_j": energy_j,
        "energy_kwh": energy_j / JOULES_PER_KWH,
        "method": _local(record.get("mlf:method")),
    }


def _total(view: View) -> Summary | None:
    entities = view.section("entity")
    total = _energy(entities.get("run:energy/total", {}))
    if total is None:
        return None
    parts = {name: _energy(entities.get(f"run:energy/{name}", {})) for name in COMPONENTS}
    return {**total, "components": parts}


def _emissions(view: View) -> Summary | None:
    record = view.section("entity").get("run:emissions/total", {})
    grams = _number(record, "qudt:numericValue")
    if grams is None:
        return None
    return {
        "emissions_g": grams,
        "carbon_intensity": _number(record, "mlf:carbonIntensity"),
        "source": _text(record.get("mlf:carbonIntensitySource")),
        "method": _local(record.get("mlf:method")),
    }


def _sci(view: View) -> Summary | None:
    record = view.section("entity").get("run:sci")
    if record is None:
        return None
    numbers = {key: _number(record, term) for key, term in _SCI.items()}
    return {**numbers, "functional_unit": _text(record.get("mlf:sciFunctionalUnit"))}


# -- what is not in it -------------------------------------------------------------------


def _not_measured(view: View) -> list[Summary]:
    """Give what collectors could not measure, each reason once however many sessions say it."""
    found: dict[tuple[str, ...], Summary] = {}
    for collector, lack in (*_absent(view), *_early(view), *_failed(view)):
        if lack.get("reason"):
            lacking = {key: str(lack.get(key) or "") for key in ("what", "reason", "cure")}
            found[(collector, *lacking.values())] = {"collector": collector, **lacking}
    return list(found.values())


def _absent(view: View) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give what collectors said from the first that they cannot measure."""
    for record in view.section("entity").values():
        kind = next((kind for kind in types(record) if kind in _FACTS), None)
        if kind is None:
            continue
        collector = _FACTS[kind] or _text(record.get("prov:label")) or ""
        facts = _mapping(_json(record.get("mlf:facts")))
        yield collector, {"reason": facts.get("unavailable"), "cure": facts.get("cure")}
        for lack in _list(facts.get("missing")):
            yield collector, _mapping(lack)


def _early(view: View) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the time of sessions that was over when a collector's first sample was taken."""
    longest: dict[str, tuple[float, float]] = {}
    for _, record in view.of("activity", "mlf:Collection"):
        session = view.section("activity").get(_text(record.get("dcterms:isPartOf")) or "", {})
        start = session.get("prov:startTime")
        early_s = _seconds(start, record.get("prov:startTime"))
        whole_s = _seconds(start, session.get("prov:endTime"))
        if early_s and whole_s and early_s > _EARLY_SHARE * whole_s:
            collector = _text(record.get("mlf:collector")) or ""
            longest[collector] = max(longest.get(collector, (0.0, 0.0)), (early_s, whole_s))
    for collector, (early_s, whole_s) in longest.items():
        what = f"the first {early_s:.2g} s of {whole_s:.4g} s"
        yield collector, {"what": what, "reason": _EARLY}


def _failed(view: View) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give what collectors that measured could not read, and what went wrong meanwhile."""
    for _, record in view.of("activity", "mlf:Collection"):
        collector = _text(record.get("mlf:collector")) or ""
        for path in _list(_json(record.get("mlf:notMeasured"))):
            device, _, name = str(path).rpartition("/")
            yield collector, {"what": f"{name} of {device.lstrip('@')}", "reason": _UNREAD}
        for problem in map(_mapping, _list(_json(record.get("mlf:problems")))):
            times = f" ({problem['count']} times)" if problem.get("count", 1) != 1 else ""
            yield collector, {"what": "some samples", "reason": f"{problem.get('reason')}{times}"}


def _json(given: Any) -> Any:
    try:
        return json.loads(str(value(given)))
    except ValueError:
        return None


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}
