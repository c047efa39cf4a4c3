"""codecarbon's estimate of energy and emissions.

codecarbon's offline tracker measures whenever this collector is sampled: its timers never start,
every option that it would read from its configuration is set explicitly, and its results go to
this collector only. It always reads the real machine, regardless of ``root``.
"""

from __future__ import annotations

import inspect
import logging
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors import base, carbon
from yprov_mlflow.prov.collectors.base import Available, Quantity, Unavailable
from yprov_mlflow.prov.translate.measurements import JOULES_PER_KWH

# Earlier versions sleep half a second in each measurement, and that energy does not count.
_MIN_VERSION = (3, 3)

_UPGRADE = "Upgrade it: pip install --upgrade 'codecarbon>=3.3,<4'"

_PARTS = ("cpu", "gpu", "ram")
_ESTIMATES = {"cpu_load", "constant"}
_MODES = {
    "cpu_load": "a share of the thermal design power ({watts:g} W) that grows with the load",
    "constant": "half the thermal design power ({watts:g} W), regardless of the load",
    "intel_rapl": "the RAPL counters",
}

_EMPTY_OPTIONS = (
    "api_endpoint api_key experiment_id experiment_name electricitymaps_api_token logger_preamble "
    "prometheus_url"
).split()
_UNSET_OPTIONS = (
    "gpu_ids emissions_endpoint force_ram_power metadata logging_logger country_iso_code region "
    "cloud_provider cloud_region"
).split()


# Replaces codecarbon's timers, each of which would be a thread.
_NO_TIMER = SimpleNamespace(start=lambda: None, stop=lambda: None)


class Codecarbon(base.Collector):
    """Energy of the node's processors, GPUs and memory, and emissions, by codecarbon."""

    name = "codecarbon"

    def probe(self) -> Available | Unavailable:
        """Create the tracker, which takes seconds, and look up the carbon intensity."""
        facts, missing = carbon.intensity(self.context)
        self._intensity = facts.get("carbon_intensity_g_per_kwh")
        if find_spec("codecarbon") is None:
            return Unavailable("codecarbon is not installed", carbon.INSTALL)
        if tuple(map(int, version("codecarbon").split(".")[:2])) < _MIN_VERSION:
            reason = f"codecarbon {version('codecarbon')} ignores energy while it measures"
            return Unavailable(reason, _UPGRADE)
        try:
            self._tracker = _Tracker(None)
            modes = {getattr(hardware, "_mode", None) for hardware in self._tracker.hardware}
            if self.context.cpu_tdp_w and modes & _ESTIMATES:
                self._tracker = _Tracker(self.context.cpu_tdp_w)
        except Exception as error:  # noqa: BLE001 - codecarbon raises anything; the run continues
            return Unavailable(f"codecarbon cannot be set up: {error!r}")
        self._parts = list(_parts(self._tracker))
        setup = self._tracker.facts
        if (ids := setup.get("gpu_ids")) is not None:
            visible = ",".join(map(str, ids)) or "none"
            reason = f"codecarbon measures visible GPUs only: {visible}"
            missing.append(Unavailable(reason, "", "other GPUs"))
        facts |= {"version": version("codecarbon"), "tracking_mode": "machine"}
        facts["methods"] = {part.id: part.how for part in self._parts}
        for key in ("cpu_model", "gpu_count", "gpu_model", "ram_total_size"):
            if setup.get(key):
                facts["ram_total_gib" if key == "ram_total_size" else key] = setup[key]
        return Available(
            facts,
            [*_quantities(self._parts, emissions=self._intensity is not None)],
            [base.Device(part.id, part.label) for part in self._parts],
            "codecarbon",
            version("codecarbon"),
            _procedure(self._parts, facts),
            missing,
        )

    def start(self) -> None:
        """Reset the totals to 0; the tracker's own continue, so they are subtracted."""
        self._tracker.start()
        self._last = self._start = self._tracker.read()

    def sample(self) -> Sequence[float | None]:
        """Measure; return each part's energy and power, then the emissions."""
        now, last = self._tracker.read(), self._last
        if now.joules != last.joules:
            self._last = now
        energies = [now.joules[part.id] - self._start.joules[part.id] for part in self._parts]
        values: list[float | None] = []
        # codecarbon adds nothing for a failed reading. So the power of a part that has not grown is
        # unknown, and so is the energy of a part that never grew while others did.
        for part, energy_j in zip(self._parts, energies, strict=True):
            growth = now.joules[part.id] - last.joules[part.id]
            values.append(energy_j if energy_j or not any(energies) else None)
            values.append(growth / (now.seconds - last.seconds) if growth else None)
        if self._intensity is not None:
            complete = None not in values[::2]
            values.append(sum(energies) / JOULES_PER_KWH * self._intensity if complete else None)
        return values

    def stop(self) -> None:
        """Stop the tracker; it keeps nothing open."""
        self._tracker.stop()


class _Part(NamedTuple):
    """A kind of hardware that codecarbon tracks, and how."""

    id: str
    label: str
    method: base.Method
    how: str


def _parts(tracker: _Tracker) -> Iterator[_Part]:
    """Yield the tracked kinds of hardware in the order of ``_PARTS``."""
    parts: dict[str, _Part] = {}
    for hardware in tracker.hardware:
        kind = type(hardware).__name__
        # Chips with their own sensors (Apple) name the part that they are.
        name = str(getattr(hardware, "chip_part", kind)).lower()
        label = str(tracker.facts.get(f"{name}_model") or name.upper())
        mode = str(getattr(hardware, "_mode", kind))
        if kind == "RAM":
            watts = f"a constant {hardware.total_power().W:g} W for the size of the memory"
            parts[name] = _Part(name, "memory", "estimated", watts)
        elif kind == "GPU":
            parts[name] = _Part(name, label, "measured", "the sensors of each visible GPU")
        else:
            tdp_w = float(getattr(hardware, "_tdp", None) or 0)
            how = _MODES.get(mode, f"sensors ({mode})").format(watts=tdp_w)
            method: base.Method = "estimated" if mode in _ESTIMATES else "measured"
            parts[name] = _Part(name, label, method, how)
    yield from (parts[name] for name in _PARTS if name in parts)


def _quantities(parts: Sequence[_Part], *, emissions: bool) -> Iterator[Quantity]:
    for part in parts:
        prefix = f"codecarbon_{part.id}"
        common: tuple[base.Scope, base.Method, str] = ("node", part.method, part.id)
        yield base.energy(*common, claim="node", system_metric=f"{prefix}_energy_joules")
        yield base.power(*common, claim="node", system_metric=f"{prefix}_power_watts")
    if emissions:
        yield Quantity(
            *("emissions", "GM", "CO2Equivalent", "node", "estimated", "", True),
            claim="node",
            system_metric="codecarbon_emissions_grams",
        )


def _procedure(parts: Sequence[_Part], facts: dict[str, Any]) -> str:
    how = "; ".join(f"{part.id} by {part.how}, {part.method}" for part in parts)
    text = (
        f"codecarbon {version('codecarbon')}, offline tracker, mode machine: {how}. "
        "Power is the mean since the previous sample."
    )
    if "carbon_intensity_source" not in facts:
        return text
    return (
        f"{text} Emissions are the sum of these energies times "
        f"{facts['carbon_intensity_g_per_kwh']:g} g of CO2 equivalent per kWh "
        f"({facts['carbon_intensity_source']})."
    )


class _Tracker:
    """codecarbon's offline tracker without its timers: it measures when it is read.

    Args:
        cpu_tdp_w: Thermal design power of the processors, for estimates; None for codecarbon's.
    """

    def __init__(self, cpu_tdp_w: float | None) -> None:
        self._readings: list[_Reading] = []
        with _silenced():
            # Takes a second or two, and only the probe needs it.
            from codecarbon import OfflineEmissionsTracker

            log = logging.getLogger("codecarbon")
            handlers, level = [*log.handlers], log.level
            output = SimpleNamespace(out=self._keep, exit=lambda: None)
            self._tracker = OfflineEmissionsTracker(
                **_arguments(OfflineEmissionsTracker, output, cpu_tdp_w)
            )
            log.handlers[:] = handlers  # the user may have trackers too
            log.setLevel(level)
        # The first measurement is slow: it detects hardware and reads tables. Do it in the probe.
        self.start()
        self.read()
        self.stop()
        self.hardware: list[Any] = self._tracker._hardware
        self.facts: dict[str, Any] = self._tracker._conf

    def _keep(self, total: Any, delta: Any) -> None:
        joules = {part: getattr(total, f"{part}_energy") * JOULES_PER_KWH for part in _PARTS}
        self._readings.append(_Reading(total.duration, joules))

    def start(self) -> None:
        with _silenced():
            self._tracker._start_time = None  # early versions refuse to start again otherwise
            self._tracker._scheduler = self._tracker._scheduler_monitor_power = _NO_TIMER
            self._tracker.start()

    def read(self) -> _Reading:
        """Measure and return the totals; unchanged within 50 ms of the last measurement."""
        self._readings.clear()
        with _silenced():
            self._tracker.flush()
        if not self._readings:
            raise RuntimeError("codecarbon returned no totals")
        return self._readings[-1]

    def stop(self) -> None:
        with _silenced(check=False):
            self._tracker.stop()


class _Reading(NamedTuple):
    """Seconds since the tracker's start, and total joules per part."""

    seconds: float
    joules: dict[str, float]


@contextmanager
def _silenced(*, check: bool = True) -> Iterator[None]:
    """Suppress codecarbon's log of this thread and of threads started meanwhile.

    Other threads belong to the user, who may use codecarbon too. codecarbon logs exceptions of its
    functions instead of raising them: with ``check``, the last one is raised.
    """
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    errors: list[BaseException] = []

    def accept(record: logging.LogRecord) -> bool:
        if record.thread in others:
            return True
        if record.funcName == "suppress" and record.exc_info and record.exc_info[1]:
            errors.append(record.exc_info[1])
        return False

    log = logging.getLogger("codecarbon")
    log.addFilter(accept)
    try:
        yield
    finally:
        log.removeFilter(accept)
    if errors and check:
        raise errors[-1]


def _arguments(tracker: Any, output: Any, cpu_tdp_w: float | None) -> dict[str, Any]:
    """Return a value for every option, as codecarbon reads unset ones from files and variables."""
    options: dict[str, Any] = {
        "project_name": "yprov-mlflow",
        "measure_power_secs": 15.0,
        "api_call_interval": -1,
        "output_dir": tempfile.gettempdir(),
        "output_file": "emissions.csv",
        "output_handlers": [output],
        "output_methods": [],
        "tracking_mode": "machine",
        "log_level": logging.getLogger("codecarbon").level,
        "on_csv_write": "append",
        "force_cpu_power": cpu_tdp_w,
        "pue": 1.0,
        "wue": 0.0,
        # Emissions are computed by the collector; a fixed intensity saves codecarbon's tables.
        "force_carbon_intensity_g_co2e_kwh": 0.0,
        "force_mode_cpu_load": False,
        # Otherwise codecarbon takes a lock file, registers an exit and two signal handlers.
        "allow_multiple_runs": True,
        "rapl_include_dram": False,
        "rapl_prefer_psys": False,
    }
    options |= dict.fromkeys(_EMPTY_OPTIONS, "") | dict.fromkeys(_UNSET_OPTIONS)
    accepted = {
        name
        for cls in tracker.__mro__[:-1]
        if "__init__" in vars(cls)
        for name in inspect.signature(cls.__init__).parameters
    }
    return {name: value for name, value in options.items() if name in accepted}
