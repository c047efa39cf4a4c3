"""Energy beside the sums of a report: what they lack, and what contains the same energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yprov_mlflow.prov.views.energy_report import Aside, DeviceEnergy, TotalEnergy

_MEMORY = (
    "none of its energy counters was read. Tools that assume a power for it have higher totals:"
    " codecarbon assumes one by its size, often 20 W, which can be more than all the rest"
)
_IDLE = "the estimate counts busy CPU seconds only"
_IDLE_OF_RUN = "the sum of the hardware has it, but no run's own share"
_GPU = (
    "it is that of whole devices, and the run's own share has none of it: the use by each process"
    " is unknown, as with MIG, AMD, and in containers with process ids of their own"
)
_CODECARBON = (
    "its own account of the same hardware, {factor}which contains {memory:.3g} J that it assumes"
    " for memory: do not add it"
)
_JOB = "energy of the job's nodes, which contains that of their processors: do not add it"


def asides(
    devices: Sequence[DeviceEnergy], total: TotalEnergy | None, own: TotalEnergy | None
) -> Iterator[Aside]:
    """Yield what is not in the sum of the hardware or in the run's own share, and why."""
    if total is not None:
        yield from _missing(devices, total, own)
    energies = [row for row in devices if row.energy_j is not None and not row.component]
    codecarbon = [row for row in energies if row.collector == "codecarbon"]
    if codecarbon:
        energy_j = sum(row.energy_j or 0.0 for row in codecarbon)
        memory_j = sum(row.energy_j or 0.0 for row in codecarbon if row.device == "ram")
        factor = (
            f"{energy_j / total.energy_j:.3g} times the sum, " if total and total.energy_j else ""
        )
        reason = _CODECARBON.format(factor=factor, memory=memory_j)
        yield Aside(what="codecarbon's total", energy_j=energy_j, reason=reason)
    for row in energies:
        if row.scope == "job":
            yield Aside(what=f"{row.collector} job", energy_j=row.energy_j, reason=_JOB)


def _missing(
    devices: Sequence[DeviceEnergy], total: TotalEnergy, own: TotalEnergy | None
) -> Iterator[Aside]:
    if total.components["memory"] is None:
        yield Aside(what="memory", energy_j=None, reason=_MEMORY)
    if (cpu := total.components["cpu"]) is not None and cpu.method == "estimated":
        yield Aside(what="idle power of processors", energy_j=None, reason=_IDLE)
    if own is None:
        return
    if cpu is not None and cpu.method == "measured":
        yield Aside(what="idle power in the own share", energy_j=None, reason=_IDLE_OF_RUN)
    divided = {(row.node, row.device) for row in devices if row.share_of == "gpu"}
    gpus = [row for row in devices if row.component == "gpu"]
    if whole := [row for row in gpus if (row.node, row.device) not in divided]:
        energy_j = sum(row.energy_j or 0.0 for row in whole)
        yield Aside(what="GPUs in the own share", energy_j=energy_j, reason=_GPU)
