"""The contract between collectors and the sampler.

A collector covers one kind of source: a vendor's GPUs, the host, a scheduler's job. ``probe`` runs
once, in its own thread, and may take seconds: it reports whether the collector works here and what
it can measure. ``start``, ``sample`` and ``stop`` run in the sampler's thread. A collector lists
everything that it cannot measure, with a reason and a cure, and labels each quantity as measured
or estimated.

Other packages register a collector class in the entry-point group
``yprov_mlflow.prov.collectors`` and test it with ``yprov_mlflow.prov.collectors.testing``.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from yprov_mlflow.prov.events import Json

Scope: TypeAlias = Literal["device", "process", "job", "node"]
"""The part of the system that a quantity covers; a process includes its children."""

Method: TypeAlias = Literal["measured", "estimated"]
"""Read from a sensor or a system counter; or derived from a model, such as watts per core."""


def _cwd() -> Path:
    try:
        return Path.cwd()
    except OSError:  # the folder was deleted; the shell still has its name
        return Path(os.environ.get("PWD") or "/")


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """The environment of a collector. Tests pass their own ``root`` or ``environ``.

    Args:
        root: Folder that contains ``proc``, ``sys`` and ``dev``.
        environ: Environment variables.
        argv: Arguments of the process, starting with the script.
        cwd: Working directory of the process.
        command: The command of the process, with the interpreter and its options.
        keep: Folder for files that become artifacts of the run; None to keep none.
        interval_s: Seconds between samples.
        country: Three-letter ISO 3166 code; None if not configured, it is never guessed.
        carbon_intensity: Grams of CO2 equivalent per kWh; None if not configured.
        cpu_tdp_w: Thermal design power of all processors together in watts, if configured.
        about: Facts of the project file about authors and work, see ``authorship.read``.
        files_limit: The largest data file that is hashed, in bytes.
        files_exclude: Patterns of data files that are not recorded.
        children_cpu_s: Returns the CPU seconds of child processes that measure runs of their own.
        children_pids: Returns the ids of such processes and of their children.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    argv: Sequence[str] = field(default_factory=lambda: sys.argv)
    cwd: Path = field(default_factory=_cwd)
    command: Sequence[str] = field(default_factory=lambda: sys.orig_argv)
    keep: Path | None = None
    interval_s: float = 1.0
    country: str | None = None
    carbon_intensity: float | None = None
    cpu_tdp_w: float | None = None
    about: Mapping[str, Json] = field(default_factory=dict)
    files_limit: int = 0
    files_exclude: Sequence[str] = ()
    children_cpu_s: Callable[[], float] = float
    children_pids: Callable[[], set[int]] = set


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in every sample.

    Args:
        name: ``energy``, ``power``, ``utilization``, ``memory_used``, ``temperature`` and so on,
            without the unit.
        unit: Local name of a QUDT unit: ``J``, ``W``, ``PERCENT``, ``BYTE``, ``DEG_C``,
            ``MegaHZ``, ``GM`` (gram), ``SEC``, ``NUM`` (a plain number).
        kind: Local name of a QUDT quantity kind, such as ``ElectricEnergy``, ``ElectricPower``,
            ``Temperature``, ``DimensionlessRatio``.
        scope: The part of the system that the number covers.
        method: Measured or estimated.
        device: Id of a device that the probe lists; "" for no device.
        cumulative: Whether it is a total, such as energy: 0 at ``start``, never decreasing. The
            collector corrects overflows and resets of the counter that it reads.
        component: ``"gpu"``, ``"cpu"`` or ``"memory"`` for energy in joules that is added to the
            total energy of the run; "" for everything else, including energy that another
            quantity already contains.
        share_of: The same for energy of the scope ``"process"`` that estimates how much of the
            energy of that component is the process's; it is divided among the runs of the process.
        claim: Lock that makes sure that only one process of a run measures this: ``"node"``,
            ``"job"`` or the device's unique id; "" for quantities of this process alone.
        system_metric: MLflow's name for this reading, without ``system/``
            (``gpu_0_utilization_percentage``), or a name in that style; "" for no system metric.
        scale: Factor from ``unit`` to the unit of the system metric (bytes to megabytes: 1e-6).
    """

    name: str
    unit: str
    kind: str
    scope: Scope
    method: Method
    device: str = ""
    cumulative: bool = False
    component: str = ""
    claim: str = ""
    system_metric: str = ""
    scale: float = 1.0
    share_of: str = ""


energy = partial(Quantity, "energy", "J", "ElectricEnergy", cumulative=True)
"""Energy in joules since ``start``; takes the fields of ``Quantity`` from ``scope`` on."""

power = partial(Quantity, "power", "W", "ElectricPower")
"""Power in watts; takes the fields of ``Quantity`` from ``scope`` on."""


@dataclass(frozen=True, slots=True)
class Device:
    """A measured device; ``id`` is short and stable on its node: ``gpu0``, ``cpu0-dram``."""

    id: str
    label: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A collector, or a part of it, that does not work here.

    Args:
        reason: Why it does not work.
        cure: Instruction for the user, an imperative sentence; "" if nothing helps.
        what: Name of the missing part; "" for the whole collector.
    """

    reason: str
    cure: str = ""
    what: str = ""


@dataclass(frozen=True, slots=True)
class Available:
    """The result of a successful probe.

    Args:
        facts: Facts that do not change, as JSON values.
        quantities: What each sample contains, in this order; empty for facts only.
        devices: The devices that quantities refer to.
        agent: Name of the measuring software, such as ``nvidia-ml-py``; yprov-mlflow by default.
        version: Version of that software.
        procedure: How the numbers are obtained, in a few sentences: the plan in the document.
        missing: Parts that cannot be measured.
    """

    facts: Mapping[str, Json] = field(default_factory=dict)
    quantities: Sequence[Quantity] = ()
    devices: Sequence[Device] = ()
    agent: str = ""
    version: str = ""
    procedure: str = ""
    missing: Sequence[Unavailable] = ()


class Collector(ABC):
    """Base class of collectors; the sampler creates one instance per process.

    Methods must not write to standard output, install signal handlers, open sockets, or leave
    threads or files behind. An exception never ends the run; it is recorded in the document.
    """

    name: str = ""
    """Name in settings: lower-case letters, digits and hyphens."""

    def __init__(self, context: CollectorContext) -> None:
        self.context = context

    @abstractmethod
    def probe(self) -> Available | Unavailable:
        """Detect what can be measured; called once, first, in another thread than the rest."""

    def start(self) -> None:  # noqa: B027 - optional: most collectors have nothing to open
        """Open resources and reset all totals to 0. Called again after ``stop``."""

    def sample(self) -> Sequence[float | None]:
        """Return one number per quantity of the probe; None for a failed reading."""
        return ()

    def stop(self) -> None:  # noqa: B027 - optional: most collectors have nothing to close
        """Release what ``start`` opened."""
