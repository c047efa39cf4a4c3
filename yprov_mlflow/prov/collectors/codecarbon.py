"""codecarbon's own estimate of energy and emissions.

Its offline tracker does the measuring, driven by our samples: its timers never start, it gets
an explicit value for everything that it would read from its configuration, and no output but
ours. It looks at the real machine only, whatever ``root`` is.
"""

from __future__ import annotations

import inspect
import logging
import tempfile
import threading
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors import carbon
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Device,
    Method,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.translate.measurements import JOULES_PER_KWH

_OLDEST = (3, 3)
"""Before it, each sample waits for half a second whose energy does not count."""

_UPGRADE = "Upgrade it: pip install --upgrade 'yprov-mlflow[carbon]'"

_ESTIMATES = {"cpu_load", "constant"}
_MODES = {
    "cpu_load": "a share of the thermal design power ({watts:g} W) that grows with the load",
    "constant": "half the thermal design power ({watts:g} W), whatever the load",
    "intel_rapl": "the RAPL counters",
}


class Codecarbon(Collector):
    """Energy of processors, GPUs and memory of the node, and emissions, as codecarbon has them."""

    name = "codecarbon"

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self._intensity: float | None = None
        self._parts: list[_Part] = []
        self._tracking: _Tracking | None = None
        self._origin = _Reading(0.0, {})
        self._last = self._origin

    def probe(self) -> Available | Unavailable:
        """Set the tracker up, which takes seconds, and look up the carbon intensity."""
        facts, missing = carbon.intensity(self.surroundings)
        self._intensity = facts.get("carbon_intensity_g_per_kwh")
        if find_spec("codecarbon") is None:
            return Unavailable("codecarbon is not installed", carbon.INSTALL)
        if tuple(map(int, version("codecarbon").split(".")[:2])) < _OLDEST:
            reason = f"codecarbon {version('codecarbon')} does not count the time of its looks"
            return Unavailable(reason, _UPGRADE)
        try:
            self._tracking = _set_up(self.surroundings.cpu_tdp_w)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
            return Unavailable(f"codecarbon cannot be set up: {error!r}")
        self._parts = list(_parts(self._tracking))
        return Available(
            {**facts, **_setup(self._tracking, self._parts)},
            [*_quantities(self._parts, emissions=self._intensity is not None)],
            [Device(part.id, part.label) for part in self._parts],
            "codecarbon",
            version("codecarbon"),
            _procedure(self._parts, facts),
            [*missing, *_unseen(self._tracking)],
        )

    def start(self) -> None:
        """Begin at zero: the tracker's totals go on, so they are taken off."""
        tracking = self._running()
        tracking.start()
        self._last = self._origin = tracking.read()

    def sample(self) -> Sequence[float | None]:
        """Make the tracker measure, and give its totals and what they grew by.

        codecarbon adds nothing for what it could not read. So what has not grown has no
        power, and a part that never grew, while others did, has no energy.
        """
        now, before = self._running().read(), self._last
        if now.joules != before.joules:
            self._last = now
        energies = [now.joules[part.id] - self._origin.joules[part.id] for part in self._parts]
        values: list[float | None] = []
        for part, energy in zip(self._parts, energies, strict=True):
            grown = now.joules[part.id] - before.joules[part.id]
            values.append(energy if energy or not any(energies) else None)
            values.append(grown / (now.seconds - before.seconds) if grown else None)
        if self._intensity is not None:
            complete = None not in values[::2]
            values.append(sum(energies) / JOULES_PER_KWH * self._intensity if complete else None)
        return values

    def stop(self) -> None:
        """Stop the tracker; it keeps nothing open."""
        if self._tracking is not None:
            self._tracking.stop()

    def _running(self) -> _Tracking:
        if self._tracking is None:
            raise RuntimeError("codecarbon was not set up")
        return self._tracking


class _Part(NamedTuple):
    """A kind of hardware that codecarbon tracks, and how."""

    id: str
    label: str
    method: Method
    how: str


def _parts(tracking: _Tracking) -> Iterator[_Part]:
    """Describe what is tracked, in the order of ``_Totals``; machines without GPU have none."""
    found: dict[str, _Part] = {}
    for hardware in tracking.hardware:
        kind = type(hardware).__name__
        name = str(getattr(hardware, "chip_part", kind)).lower()  # of what has sensors itself
        label = str(tracking.facts.get(f"{name}_model") or name.upper())
        mode = str(getattr(hardware, "_mode", kind))
        if kind == "RAM":
            watts = f"a constant {hardware.total_power().W:g} W for the size of the memory"
            found[name] = _Part(name, "memory", "estimated", watts)
        elif kind == "GPU":
            found[name] = _Part(name, label, "measured", "the sensors of each visible GPU")
        else:
            how = _MODES.get(mode, f"sensors ({mode})").format(watts=_tdp_w(hardware))
            estimate = mode in _ESTIMATES
            found[name] = _Part(name, label, "estimated" if estimate else "measured", how)
    yield from (found[name] for name in _Totals.PARTS if name in found)


def _tdp_w(hardware: Any) -> float:
    return float(getattr(hardware, "_tdp", None) or 0)


def _quantities(parts: Sequence[_Part], *, emissions: bool) -> Iterator[Quantity]:
    for part in parts:
        stem = f"codecarbon_{part.id}"
        yield Quantity(
            *("energy", "J", "ElectricEnergy", "node", part.method, part.id),
            cumulative=True,
            claim="node",
            system_metric=f"{stem}_energy_joules",
        )
        yield Quantity(
            *("power", "W", "ElectricPower", "node", part.method, part.id),
            claim="node",
            system_metric=f"{stem}_power_watts",
        )
    if emissions:
        yield Quantity(
            *("emissions", "GM", "CO2Equivalent", "node", "estimated"),
            cumulative=True,
            claim="node",
            system_metric="codecarbon_emissions_grams",
        )


def _setup(tracking: _Tracking, parts: Sequence[_Part]) -> dict[str, Json]:
    facts: dict[str, Json] = {
        "version": version("codecarbon"),
        "tracking_mode": "machine",
        "methods": {part.id: part.how for part in parts},
    }
    for key in ("cpu_model", "gpu_count", "gpu_model", "ram_total_size"):
        if tracking.facts.get(key):
            facts["ram_total_gib" if key == "ram_total_size" else key] = tracking.facts[key]
    return facts


def _procedure(parts: Sequence[_Part], facts: dict[str, Any]) -> str:
    how = "; ".join(f"{part.id} by {part.how}, {part.method}" for part in parts)
    text = (
        f"codecarbon {version('codecarbon')}, offline tracker, mode machine: {how}. "
        "Power is the mean since the sample before."
    )
    if "carbon_intensity_source" not in facts:
        return text
    return (
        f"{text} Emissions are the sum of these energies times "
        f"{facts['carbon_intensity_g_per_kwh']:g} g of CO2 equivalent per kWh "
        f"({facts['carbon_intensity_source']})."
    )


def _unseen(tracking: _Tracking) -> Iterator[Unavailable]:
    ids = tracking.facts.get("gpu_ids")
    if ids is not None:
        seen = ",".join(map(str, ids)) or "none"
        yield Unavailable(f"codecarbon sees the visible GPUs only: {seen}", "", "other GPUs")


def _set_up(cpu_tdp_w: float | None) -> _Tracking:
    """Set a tracker up; the given thermal design power counts where it must estimate."""
    tracking = _Tracking(None)
    modes = {getattr(hardware, "_mode", None) for hardware in tracking.hardware}
    return _Tracking(cpu_tdp_w) if cpu_tdp_w and modes & _ESTIMATES else tracking


class _Tracking:
    """A tracker of codecarbon's without its timers: it measures when it is read."""

    def __init__(self, cpu_tdp_w: float | None) -> None:
        with _Silence() as silence:
            from codecarbon import OfflineEmissionsTracker

            self._totals = _Totals()
            arguments = _arguments(OfflineEmissionsTracker, self._totals, cpu_tdp_w)
            log = logging.getLogger("codecarbon")
            handlers, level = [*log.handlers], log.level
            self._tracker = OfflineEmissionsTracker(**arguments)
            log.handlers[:] = handlers  # the user may have trackers of his own
            log.setLevel(level)
        silence.check()
        # The first of each is slow: it looks for hardware and reads tables.
        self.start()
        self.read()
        self.stop()
        self.hardware: list[Any] = self._tracker._hardware
        self.facts: dict[str, Any] = self._tracker._conf

    def start(self) -> None:
        with _Silence() as silence:
            self._tracker._start_time = None  # early versions do not start again otherwise
            self._tracker._scheduler = self._tracker._scheduler_monitor_power = _NoTimer()
            self._tracker.start()
        silence.check()

    def read(self) -> _Reading:
        """Measure and give the totals; codecarbon does so only 50 ms after it last did."""
        self._totals.readings.clear()
        with _Silence() as silence:
            self._tracker.flush()
        silence.check()
        if not self._totals.readings:
            raise RuntimeError("codecarbon gave no totals")
        return self._totals.readings[-1]

    def stop(self) -> None:
        with _Silence():
            self._tracker.stop()


class _Reading(NamedTuple):
    """Seconds since the tracker's start, and the joules of each kind of hardware in all."""

    seconds: float
    joules: dict[str, float]


class _Totals:
    """An output of the tracker; the names of its functions are codecarbon's."""

    PARTS = ("cpu", "gpu", "ram")

    def __init__(self) -> None:
        self.readings: list[_Reading] = []

    def out(self, total: Any, delta: Any) -> None:
        joules = {part: getattr(total, f"{part}_energy") * JOULES_PER_KWH for part in self.PARTS}
        self.readings.append(_Reading(total.duration, joules))

    def exit(self) -> None:
        pass


class _NoTimer:
    """In the place of codecarbon's timers, which would be threads of their own."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class _Silence(logging.Filter):
    """Keeps back what this thread, and threads begun meanwhile, make codecarbon log.

    Other threads may be the user's, who may use codecarbon himself. The tracker logs what
    its functions raise and swallows it: ``error`` has it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._others: set[int | None] = set()

    def __enter__(self) -> _Silence:
        own = threading.get_ident()
        self._others = {thread.ident for thread in threading.enumerate()} - {own}
        logging.getLogger("codecarbon").addFilter(self)
        return self

    def __exit__(self, *raised: object) -> None:
        logging.getLogger("codecarbon").removeFilter(self)

    def check(self) -> None:
        """Raise what was swallowed."""
        if self.error is not None:
            raise self.error

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread in self._others:
            return True
        if record.funcName == "suppress" and record.exc_info:
            self.error = record.exc_info[1]
        return False


def _arguments(tracker: Any, totals: _Totals, cpu_tdp_w: float | None) -> dict[str, Any]:
    """Give a value for all that codecarbon would else take from its files and environment."""
    wanted: dict[str, Any] = {
        "project_name": "yprov-mlflow",
        "measure_power_secs": 15.0,
        "api_call_interval": -1,
        "api_endpoint": "",
        "api_key": "",
        "output_dir": tempfile.gettempdir(),
        "output_file": "emissions.csv",
        "output_handlers": [totals],
        "output_methods": [],
        "gpu_ids": None,
        "emissions_endpoint": None,
        "experiment_id": "",
        "experiment_name": "",
        "electricitymaps_api_token": "",
        "tracking_mode": "machine",
        "log_level": logging.getLogger("codecarbon").level,
        "on_csv_write": "append",
        "logger_preamble": "",
        "force_cpu_power": cpu_tdp_w,
        "force_ram_power": None,
        "pue": 1.0,
        "wue": 0.0,
        "force_carbon_intensity_g_co2e_kwh": 0.0,  # emissions are ours, spares it its tables
        "force_mode_cpu_load": False,
        "allow_multiple_runs": True,  # otherwise a lock file, an exit and two signal handlers
        "rapl_include_dram": False,
        "rapl_prefer_psys": False,
        "metadata": None,
        "logging_logger": None,
        "prometheus_url": "",
    }
    known = {
        name
        for cls in tracker.__mro__[:-1]
        if "__init__" in vars(cls)
        for name in inspect.signature(cls.__init__).parameters
    }
    wanted |= dict.fromkeys("country_iso_code region cloud_provider cloud_region".split())
    return {name: value for name, value in wanted.items() if name in known}
