"""The energy report of a run as typed values, and its tables.

A number that the document lacks is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.translate.measurements import COMPONENTS, JOULES_PER_KWH
from yprov_mlflow.prov.views.view import Note, Run, Table, View, term

NOT_MEASURED = "not measured"
_MAX_NAMES = 3
_NO_EMISSIONS = (
    "unknown: set YPROV_MLFLOW_COUNTRY or YPROV_MLFLOW_CARBON_INTENSITY before the next run"
)


class Measuring(View):
    """The work of one collector in one process.

    ``cpu_s`` is the CPU time that measuring took, ``interval_s`` the time between two samples.
    """

    collector: str | None = term("mlf:collector")
    start: str | None = term("prov:startTime")
    end: str | None = term("prov:endTime")
    samples: int | None = term("mlf:samples")
    cpu_s: float | None = term("mlf:cpuSeconds")
    interval_s: float | None = term("mlf:intervalSeconds")
    session: str | None
    rank: int | None
    node: str | None


class Quantity(View):
    """A measured quantity: the growth of a counter, or the mean of a gauge with its extremes.

    ``unit`` is a QUDT unit such as ``J``; ``method`` is measured or estimated; ``scope`` is the
    device, process, job or node that the quantity belongs to; ``count`` is the number of samples.
    """

    value: float | None
    min: float | None = term("mlf:min")
    max: float | None = term("mlf:max")
    count: float | None = term("mlf:count")
    unit: str | None
    method: str | None
    scope: str | None
    component: str | None
    share_of: str | None = term()


class Gauge(View):
    """Mean and maximum of a quantity that goes up and down."""

    mean: float | None
    max: float | None


class DeviceEnergy(View):
    """The measurements of a device by one collector in one process.

    Quantities without a device are grouped by scope. ``what`` names an energy other than the
    device's own, such as a process's share of it; ``component`` is cpu, gpu or memory, and
    ``share_of`` the same for the share of a process.
    """

    session: str | None
    rank: int | None
    node: str | None
    collector: str | None
    device: str | None
    label: str | None
    what: str | None
    component: str | None = None
    share_of: str | None = None
    scope: str | None
    method: str | None
    energy_j: float | None = None
    power_w: Gauge | None = None
    utilization_percent: Gauge | None = None
    quantities: Mapping[str, Quantity]


class ContextEnergy(View):
    """The energy of a context or epoch, including those inside it.

    ``context`` is the path of labels from the outermost context; ``components`` maps cpu, gpu
    and memory to joules. These and ``energy_j`` are the hardware's, of the given ``scope``;
    ``own_j`` is the run's own share of them.
    """

    context: tuple[str, ...]
    rank: int | None
    start: str | None
    end: str | None
    seconds: float | None
    energy_j: float | None
    components: Mapping[str, float | None]
    method: str | None
    scope: str | None
    own_j: float | None
    devices: tuple[DeviceEnergy, ...]


class Energy(View):
    """An amount of energy; ``method`` is measured only if all of its parts are.

    ``scope`` is device, process, job or node: whose energy it is. Older documents lack it.
    """

    energy_j: float
    energy_kwh: float
    method: str | None
    scope: str | None


class TotalEnergy(Energy):
    """A sum of energies; ``components`` maps cpu, gpu and memory to their parts.

    ``nodes`` is the number of nodes in it.
    """

    components: Mapping[str, Energy | None]
    nodes: int | None = term()


class Emissions(View):
    """Emissions in grams of CO2 equivalent; ``carbon_intensity`` is in grams per kWh."""

    emissions_g: float
    carbon_intensity: float | None
    source: str | None
    method: str | None
    scope: str | None


class Overlap(View):
    """Runs that were measured on the same machines at the same time; ``runs`` names up to 100.

    The sums of whole nodes and devices of these runs contain the same energy.
    """

    count: int
    runs: tuple[str, ...]


class Ranks(View):
    """The ranks of a distributed run that logged to it, out of ``world_size``."""

    world_size: int
    logged: int


class Aside(View):
    """Energy that a sum lacks, and why; ``energy_j`` is None if it is unknown."""

    what: str
    energy_j: float | None
    reason: str


class CarbonIntensity(View):
    """Software Carbon Intensity (ISO/IEC 21031) per ``functional_unit``, in grams of CO2e.

    ``carbon_intensity`` is that of electricity, in grams per kWh.
    """

    energy_kwh: float | None
    carbon_intensity: float | None
    embodied_g: float | None
    value_g: float | None
    functional_unit: str | None
    scope: str | None


class Missing(View):
    """Something that a collector could not measure; texts may be empty."""

    collector: str
    what: str
    reason: str
    cure: str


class EnergyReport(View):
    """Energy, emissions and hardware use of a run, and quantities that could not be measured.

    ``total`` is the energy of the hardware while the run was measured, for all of its users.
    ``own`` is the run's share of it, an estimate; own shares of several runs can be added up.
    These, ``emissions``, ``own_emissions`` and ``sci`` are None where the document lacks them.
    ``reason`` says why nothing was measured, if ``measured`` is false.
    """

    run: Run
    measured: bool
    collectors: tuple[Measuring, ...]
    devices: tuple[DeviceEnergy, ...]
    contexts: tuple[ContextEnergy, ...]
    total: TotalEnergy | None
    own: TotalEnergy | None
    emissions: Emissions | None
    own_emissions: Emissions | None
    sci: CarbonIntensity | None
    not_in_sum: tuple[Aside, ...]
    not_measured: tuple[Missing, ...]
    overlap: Overlap | None = term()
    ranks: Ranks | None = term()
    reason: str | None = term()

    def tables(self) -> Iterator[Table]:
        """Yield the tables: run, devices, contexts, and the bills of the hardware and the run."""
        yield from self.run.tables()
        if self.measured:
            yield _device_table(self.devices)
            yield _context_table(self.contexts)
            title = _title(self.total)
            yield Table(title, (), [*_bill(self.total, self.emissions), *self._sci()])
            if self.own is not None:
                title = f"This run's own share ({self.own.scope})"
                title += ", part of the above" if self.total is not None else ""
                rows = [*_bill(self.own, self.own_emissions), *self._difference()]
                yield Table(title, (), rows)

    def notes(self) -> Iterator[Note]:
        """Yield what the sums lack and what must not be added, then what was not measured."""
        if not self.measured:
            yield Note(f"Nothing was measured: {self.reason}.", "warning")
        if self.overlap is not None:
            names = [*self.overlap.runs[:_MAX_NAMES]]
            names += ["…"] if self.overlap.count > len(names) else []
            of_devices = self.total is not None and self.total.scope == "device"
            where = "for devices that they share" if of_devices else "of the node"
            yield Note(
                f"Runs measured on the same node at the same time: {self.overlap.count}"
                f" ({', '.join(names)}). Their sums {where} contain the same energy: do not"
                " add them up. Own shares can be added.",
                "warning",
            )
        if self.ranks is not None and self.ranks.logged < self.ranks.world_size:
            yield Note(
                f"{self.ranks.world_size - self.ranks.logged} of {self.ranks.world_size} ranks"
                " logged nothing to this run: neither their own shares nor the nodes on which no"
                " rank logged are in it.",
                "warning",
            )
        for aside in self.not_in_sum:
            amount = "" if aside.energy_j is None else f" ({_joules(aside.energy_j)})"
            yield Note(f"Not counted: {aside.what}{amount}: {_sentence(aside.reason)}", "detail")
        for missing in self.not_measured:
            what = f"{missing.collector}, {missing.what}" if missing.what else missing.collector
            yield Note(f"{what}: {NOT_MEASURED}: {_sentence(missing.reason)}", "warning")
            if missing.cure:
                yield Note(f"  {_sentence(missing.cure)}", "hint")

    def _difference(self) -> Iterator[tuple[str, str]]:
        if self.total is not None and self.own is not None:
            rest_j = max(self.total.energy_j - self.own.energy_j, 0.0)
            own = self.own.components
            parts = {name: part for name, part in self.total.components.items() if part is not None}
            measured = any(part.method == "measured" for part in parts.values())
            causes = ["idle hardware"] if measured else []
            causes += [f"undivided {name}" for name in parts if own[name] is None]
            causes.append("other processes and runs")
            yield "difference", f"{_joules(rest_j)}: {', '.join(causes)}"

    def _sci(self) -> Iterator[tuple[str, str]]:
        if (sci := self.sci) is not None:
            # The letters of ISO/IEC 21031, whose formula is (E * I + M) per functional unit.
            terms = (
                f"E {_number(sci.energy_kwh, 'kWh')}, I {_number(sci.carbon_intensity, 'g/kWh')}, "
                f"M {_number(sci.embodied_g, 'g')}"
            )
            score = _number(sci.value_g, "g CO2e")
            yield f"SCI per {sci.functional_unit or 'run'}", f"{score}; {terms}"


def _title(total: TotalEnergy | None) -> str:
    if total is None or total.scope not in ("node", "device"):
        return "Total"
    hardware = "devices"
    if total.scope == "node":
        hardware = f"nodes ({total.nodes})" if (total.nodes or 1) > 1 else "node"
        hardware += " with visible GPUs" if total.components["gpu"] is not None else ""
    return f"Whole {hardware}, during the run, used by anyone"


def _bill(total: TotalEnergy | None, emissions: Emissions | None) -> Iterator[tuple[str, str]]:
    for name in COMPONENTS:
        part = total.components[name] if total else None
        # The own share of a component without one is not zero, so it has no line.
        if part is not None or total is None or total.scope != "process":
            yield f"energy, {name}", energy_text(part)
    yield "energy, sum", energy_text(total)
    if emissions is None:
        yield "emissions", _NO_EMISSIONS if total else f"unknown: energy {NOT_MEASURED}"
    else:
        source = f" ({emissions.source})" if emissions.source else ""
        intensity = _number(emissions.carbon_intensity, "g/kWh")
        yield "emissions", f"{_number(emissions.emissions_g, 'g CO2e')} at {intensity}{source}"


def _device_table(devices: tuple[DeviceEnergy, ...]) -> Table:
    # Memory and network of a whole scope, with neither device nor energy, are only in to_dict().
    shown = [row for row in devices if row.device or row.power_w or row.energy_j is not None]
    several_ranks = len({row.rank for row in shown}) > 1
    columns = ("on", "device", "part", "energy", "W: mean, max", "%: mean, max", "how, whose", "by")
    return Table(
        "Devices",
        columns,
        [
            (
                _node(row, several_ranks),
                ", ".join(t for t in (row.device, row.label, row.what) if t) or row.scope,
                row.component,
                _joules(row.energy_j),
                _gauge(row.power_w),
                _gauge(row.utilization_percent),
                ", ".join(t for t in (row.method, row.scope) if t),
                row.collector,
            )
            for row in shown
        ],
    )


def _context_table(contexts: tuple[ContextEnergy, ...]) -> Table:
    several_ranks = len({context.rank for context in contexts}) > 1
    columns = ("context", "time", *COMPONENTS, "sum", "how, whose", "own share")
    rows: list[tuple[Any, ...]] = [
        (
            "/".join(context.context) + (f" (rank {context.rank})" if several_ranks else ""),
            None if context.seconds is None else _number(context.seconds, "s"),
            *(_joules(context.components[name]) for name in COMPONENTS),
            _joules(context.energy_j),
            ", ".join(text for text in (context.method, context.scope) if text),
            _joules(context.own_j),
        )
        for context in contexts
    ]
    return Table("Contexts and epochs, each including those inside it", columns, rows)


def _node(row: DeviceEnergy, several_ranks: bool) -> str:
    session = (row.session or "").rpartition(":")[2]
    return f"{row.node or session}{f', rank {row.rank}' if several_ranks else ''}"


def energy_text(energy: Energy | None) -> str:
    """Return an energy in joules and kWh with its method and scope."""
    if energy is None:
        return NOT_MEASURED
    amount = f"{_joules(energy.energy_j)} = {energy.energy_j / JOULES_PER_KWH:.3g} kWh"
    return ", ".join(text for text in (amount, energy.method, energy.scope) if text)


def _joules(energy_j: float | None) -> str:
    if energy_j is None:
        return NOT_MEASURED
    for factor, unit in ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")):
        if energy_j >= factor:
            return f"{energy_j / factor:.4g} {unit}"
    return f"{energy_j:.4g} J"


def _gauge(gauge: Gauge | None) -> str:
    if gauge is None:
        return NOT_MEASURED
    return ", ".join("?" if n is None else f"{n:.4g}" for n in (gauge.mean, gauge.max))


def _number(number: float | None, unit: str) -> str:
    return "unknown" if number is None else f"{number:.4g} {unit}"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
