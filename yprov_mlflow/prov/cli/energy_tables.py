"""The bill of a run as tables for people; what has no number is said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from yprov_mlflow.prov.cli import summary_tables
from yprov_mlflow.prov.cli.console import printable
from yprov_mlflow.prov.translate.measurements import COMPONENTS, JOULES_PER_KWH

NOT_MEASURED = "not measured"
_NO_EMISSIONS = (
    "not known: set YPROV_MLFLOW_COUNTRY or YPROV_MLFLOW_CARBON_INTENSITY before the next run"
)


def show(bill: Mapping[str, Any]) -> None:
    """Print the bill: devices, contexts, sums, and what could not be measured."""
    console = Console()
    run = bill["run"]
    keys = ("name", "id", "status", "start", "end")
    summary_tables.section(console, "Run", (), [(key, run[key]) for key in keys if run.get(key)])
    if not bill["measured"]:
        _say(console, f"Nothing was measured: {bill['reason']}.", "bold yellow")
    else:
        _show_devices(console, bill["devices"])
        _show_contexts(console, bill["contexts"])
        summary_tables.section(console, "Sum", (), _sums(bill))
    for lack in bill["not_measured"]:
        what = f"{lack['collector']}, {lack['what']}" if lack["what"] else lack["collector"]
        _say(console, f"{what}: {NOT_MEASURED}: {_sentence(lack['reason'])}", "yellow")
        if lack["cure"]:
            _say(console, f"  {_sentence(lack['cure'])}", "")


def _show_devices(console: Console, devices: Sequence[Mapping[str, Any]]) -> None:
    # What is of no device and neither energy nor power (memory, network) is for --json.
    shown = [
        row for row in devices if row["device"] or row["power_w"] or row["energy_j"] is not None
    ]
    ranks = len({row["rank"] for row in shown}) > 1
    rows = [
        (
            _place(row, ranks=ranks),
            ", ".join(row[key] for key in ("device", "label", "what") if row[key]) or row["scope"],
            row["component"],
            _joules(row["energy_j"]),
            _gauge(row["power_w"]),
            _gauge(row["utilization_percent"]),
            _how(row),
            row["collector"],
        )
        for row in shown
    ]
    heads = ("on", "device", "part", "energy", "W: mean, max", "%: mean, max", "how, whose", "by")
    summary_tables.section(console, "Devices", heads, rows)


def _show_contexts(console: Console, contexts: Sequence[Mapping[str, Any]]) -> None:
    ranks = len({context["rank"] for context in contexts}) > 1
    rows = [
        (
            "/".join(context["context"]) + (f" (rank {context['rank']})" if ranks else ""),
            _number(context["seconds"], "s") if context["seconds"] is not None else None,
            *(_joules(context["components"][name]) for name in COMPONENTS),
            _joules(context["energy_j"]),
            context["method"],
        )
        for context in contexts
    ]
    heads = ("context", "time", *COMPONENTS, "together", "how")
    summary_tables.section(console, "Contexts and epochs, each with those inside it", heads, rows)


def _sums(bill: Mapping[str, Any]) -> list[Sequence[object]]:
    total, emissions, sci = bill["total"], bill["emissions"], bill["sci"]
    rows: list[Sequence[object]] = []
    for name in COMPONENTS:
        part = total["components"][name] if total else None
        rows.append((f"energy, {name}", _energy(part)))
    rows.append(("energy, together", _energy(total)))
    if emissions is None:
        rows.append(("emissions", _NO_EMISSIONS if total else f"not known: energy {NOT_MEASURED}"))
    else:
        by = f" ({emissions['source']})" if emissions["source"] else ""
        intensity = _number(emissions["carbon_intensity"], "g/kWh")
        grams = _number(emissions["emissions_g"], "g CO2e")
        rows.append(("emissions", f"{grams} at {intensity}{by}"))
    if sci is not None:
        rows.append(
            (
                f"SCI per {sci['functional_unit'] or 'run'}",
                f"{_number(sci['value_g'], 'g CO2e')}; "
                f"E {_number(sci['energy_kwh'], 'kWh')}, "
                f"I {_number(sci['carbon_intensity'], 'g/kWh')}, "
                f"M {_number(sci['embodied_g'], 'g')}",
            )
        )
    return rows


def _place(row: Mapping[str, Any], *, ranks: bool) -> str:
    """Give the node, else the session; the rank only where there is more than one."""
    session = (row["session"] or "").rpartition(":")[2]
    rank = f", rank {row['rank']}" if ranks else ""
    return f"{row['node'] or session}{rank}"


def _how(row: Mapping[str, Any]) -> str:
    return ", ".join(row[key] for key in ("method", "scope") if row[key])


def _energy(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOT_MEASURED
    energy_j = found["energy_j"]
    kwh = f"{energy_j / JOULES_PER_KWH:.3g} kWh"
    return ", ".join(part for part in (f"{_joules(energy_j)} = {kwh}", found["method"]) if part)


def _joules(energy_j: float | None) -> str:
    if energy_j is None:
        return NOT_MEASURED
    for factor, unit in ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")):
        if energy_j >= factor:
            return f"{energy_j / factor:.4g} {unit}"
    return f"{energy_j:.4g} J"


def _gauge(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOT_MEASURED
    return ", ".join("?" if found[key] is None else f"{found[key]:.4g}" for key in ("mean", "max"))


def _number(number: float | None, unit: str) -> str:
    return "not known" if number is None else f"{number:.4g} {unit}"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _say(console: Console, text: str, style: str) -> None:
    console.print(Text(printable(text), style=style), soft_wrap=True)
