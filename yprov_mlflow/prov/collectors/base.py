"""The contract of collectors: what one is told, what it finds, what it measures.

A collector looks at one kind of thing (a vendor's devices, the machine, a scheduler's job). It
has four functions. ``probe`` says once whether it can work here and what it found; it may take
seconds, in a thread of its own. ``start``, ``sample`` and ``stop`` measure, all three in the
sampler's thread. It never guesses in silence: what it cannot measure it names, with a reason
and the cure, and every quantity says whether it is measured or estimated and of what.

A collector from elsewhere registers its class in the entry-point group
``yprov_mlflow.prov.collectors`` under its name; ``yprov_mlflow.prov.collectors.testing`` has
the tests that it must pass.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from yprov_mlflow.prov.events import Json

Scope: TypeAlias = Literal["device", "process", "job", "node"]
"""Whose quantity it is: one device's, this process's and its children's, the job's, the node's."""

Method: TypeAlias = Literal["measured", "estimated"]
"""Measured by a sensor or counted by the system; or estimated by a model, such as watts a core."""


def _cwd() -> Path:
    """Give the working directory, as the shell named it if it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return Path(os.environ.get("PWD") or "/")


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """What a collector may look at. Tests give another ``root`` or ``environ``.

    Args:
        root: Folder that ``proc`` and ``sys`` are in.
        environ: Environment variables.
        argv: Arguments of the process, the script first.
        cwd: Its working directory.
        interval_s: Seconds between samples.
        country: ISO 3166 code of three letters, None where nobody gave one: it is not guessed.
        carbon_intensity: Grams of CO2 equivalent per kWh, None where nobody gave it.
        cpu_tdp_w: Thermal design power of all processors together, in watts, where given.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    argv: Sequence[str] = field(default_factory=lambda: sys.argv)
    cwd: Path = field(default_factory=_cwd)
    interval_s: float = 1.0
    country: str | None = None
    carbon_intensity: float | None = None
    cpu_tdp_w: float | None = None


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of every sample.

    Args:
        name: What it is, in the field's words: ``energy``, ``power``, ``utilization``,
            ``memory_used``, ``temperature``; the unit is not part of it.
        unit: Local name of a QUDT unit: ``J``, ``W``, ``PERCENT``, ``BYTE``, ``DEG_C``,
            ``MegaHZ``, ``GM`` (gram), ``SEC``, ``NUM`` (a plain number).
        kind: Local name of a QUDT quantity kind, such as ``ElectricEnergy``, ``ElectricPower``,
            ``Temperature``, ``DimensionlessRatio``.
        scope: Whose it is.
        method: Measured or estimated.
        device: Id of the device, one of those that the probe names; "" for none.
        cumulative: Whether it only grows, from 0 at ``start``: a total. Energy is one. The
            collector undoes wrap-arounds and resets of the counter that it reads.
        component: ``"gpu"``, ``"cpu"`` or ``"memory"`` for an energy in joules that is part of
            the machine's bill; "" for all else, also for energies that other ones contain.
        claim: Name of what no two processes of a run may measure both: ``"node"``, ``"job"`` or
            the device's unique id; "" for what belongs to this process alone.
        system_metric: Name after ``system/`` that MLflow gives the same reading, if it has one
            (``gpu_0_utilization_percentage``), or one in that style; "" for no system metric.
        scale: Factor from ``unit`` to that of the system metric (bytes to megabytes: 1e-6).
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


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was found; ``id`` is short and stable on its node: ``gpu0``, ``cpu0-dram``."""

    id: str
    label: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Something that cannot be measured here.

    Args:
        reason: Why not.
        cure: What the user can do about it, as an imperative sentence; "" if nothing.
        what: Which part it is; "" for the whole collector.
    """

    reason: str
    cure: str = ""
    what: str = ""


@dataclass(frozen=True, slots=True)
class Available:
    """What a collector found, and what its samples will have.

    Args:
        facts: What it found out once, as JSON values.
        quantities: What ``sample`` gives, in this order; none for a collector of facts alone.
        devices: The devices that quantities refer to.
        agent: Name of the software that measures, such as ``nvidia-ml-py``; by default ours.
        version: Its version.
        procedure: How the numbers come about, in a few sentences: the plan in the document.
        missing: Parts that cannot be measured, each with its reason.
    """

    facts: Mapping[str, Json] = field(default_factory=dict)
    quantities: Sequence[Quantity] = ()
    devices: Sequence[Device] = ()
    agent: str = ""
    version: str = ""
    procedure: str = ""
    missing: Sequence[Unavailable] = ()


class Collector(ABC):
    """Base of all collectors. Made once per process; the vendor's library is imported inside.

    No function may write to standard output, install signal handlers, open sockets or leave
    threads and files behind. An exception is never the end of the run: the document says it.
    """

    name: str = ""
    """What users call it: lower-case letters, digits and hyphens."""

    def __init__(self, surroundings: CollectorContext) -> None:
        self.surroundings = surroundings

    @abstractmethod
    def probe(self) -> Available | Unavailable:
        """Find out what is here; called once, before all others, in another thread than they."""

    def start(self) -> None:  # noqa: B027 - most collectors have nothing to open
        """Open what sampling needs; totals begin here. Called again after ``stop``."""

    def sample(self) -> Sequence[float | None]:
        """Give one number for each quantity of the probe, None for what cannot be read now."""
        return ()

    def stop(self) -> None:  # noqa: B027 - most collectors have nothing to close
        """Close what ``start`` opened."""
