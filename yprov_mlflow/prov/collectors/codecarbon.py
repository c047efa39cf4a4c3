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

# Earlier versions sleep half a second in each measurement, and that energy does not count.
_MIN_VERSION = (3, 3)

_UPGRADE = "Upgrade it: pip install --upgrade 'yprov-mlflow[carbon]'"

_PARTS = ("cpu", "gpu", "ram")
_ESTIMATES = {"cpu_load", "constant"}
_MODES = {
    "cpu_load": "a share of the thermal design power ({watts:g} W) that grows with the load",
    "constant": "half the thermal design power ({watts:g} W), whatever the load",
    "intel_rapl": "the RAPL counters",
}


class Codecarbon(Collector):
    """Energy of the node's processors, GPUs and memory, and emissions, by codecarbon."""

    name = "codecarbon"

    def __init__(self, context: CollectorContext) -> None:
        super().__init__(context)
        self._intensity: float | None = None
        self._parts: list[_Part] = []
        self._tracker: _Tracker | None = None
        self._start = _Reading(0.0, {})
        self._last = self._start

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
            self._tracker = _create_tracker(self.context.cpu_tdp_w)
        except Exception as error:  # noqa: BLE001 - codecarbon raises anything; the run continues
            return Unavailable(f"codecarbon cannot be set up: {error!r}")
        self._parts = list(_parts(self._tracker))
        return Available(
            {**facts, **_setup_facts(self._tracker, self._parts)},
            [*_quantities(self._parts, emissions=self._intensity is not None)],
            [Device(part.id, part.label) for part in self._parts],
            "codecarbon",
            version("codecarbon"),
            _procedure(self._parts, facts),
            [*missing, *_hidden_gpus(self._tracker)],
        )

    def start(self) -> None:
        """Reset the totals to 0; the tracker's own continue, so they are subtracted."""
        tracker = self._require_tracker()
        tracker.start()
        self._last = self._start = tracker.read()

    def sample(self) -> Sequence[float | None]:
        """Measure; return each part's energy and power, then the emissions."""
        now, last = self._require_tracker().read(), self._last
        if now.joules != last.joules:
            self._last = now
        energies = [now.joules[part.id] - self._start.joules[part.id] for part in self._parts]
        values: list[float | None] = []
        # codecarbon adds nothing for a failed reading. So a part that has not grown has no power,
        # and a part that never grew, while others did, has no energy.
        for part, energy in zip(self._parts, energies, strict=True):
            growth = now.joules[part.id] - last.joules[part.id]
            values.append(energy if energy or not any(energies) else None)
            values.append(growth / (now.seconds - last.seconds) if growth else None)
        if self._intensity is not None:
            complete = None not in values[::2]
            values.append(sum(energies) / JOULES_PER_KWH * self._intensity if complete else None)
        return values

    def stop(self) -> None:
        """Stop the tracker; it keeps nothing open."""
        if self._tracker is not None:
            self._tracker.stop()

    def _require_tracker(self) -> _Tracker:
        if self._tracker is None:
            raise RuntimeError("codecarbon was not set up")
        return self._tracker


class _Part(NamedTuple):
    """A kind of hardware that codecarbon tracks, and how."""

    id: str
    label: str
    method: Method
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
            method: Method = "estimated" if mode in _ESTIMATES else "measured"
            parts[name] = _Part(name, label, method, how)
    yield from (parts[name] for name in _PARTS if name in parts)


def _quantities(parts: Sequence[_Part], *, emissions: bool) -> Iterator[Quantity]:
    for part in parts:
        prefix = f"codecarbon_{part.id}"
        yield Quantity(
            *("energy", "J", "ElectricEnergy", "node", part.method, part.id),
            cumulative=True,
            claim="node",
            system_metric=f"{prefix}_energy_joules",
        )
        yield Quantity(
            *("power", "W", "ElectricPower", "node", part.method, part.id),
            claim="node",
            system_metric=f"{prefix}_power_watts",
        )
    if emissions:
        yield Quantity(
            *("emissions", "GM", "CO2Equivalent", "node", "estimated"),
            cumulative=True,
            claim="node",
            system_metric="codecarbon_emissions_grams",
        )


def _setup_facts(tracker: _Tracker, parts: Sequence[_Part]) -> dict[str, Json]:
    facts: dict[str, Json] = {
        "version": version("codecarbon"),
        "tracking_mode": "machine",
        "methods": {part.id: part.how for part in parts},
    }
    for key in ("cpu_model", "gpu_count", "gpu_model", "ram_total_size"):
        if tracker.facts.get(key):
            facts["ram_total_gib" if key == "ram_total_size" else key] = tracker.facts[key]
    return facts


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


def _hidden_gpus(tracker: _Tracker) -> Iterator[Unavailable]:
    ids = tracker.facts.get("gpu_ids")
    if ids is not None:
        visible = ",".join(map(str, ids)) or "none"
        yield Unavailable(f"codecarbon measures visible GPUs only: {visible}", "", "other GPUs")


def _create_tracker(cpu_tdp_w: float | None) -> _Tracker:
    """Return a tracker; the thermal design power is used only if it must estimate."""
    tracker = _Tracker(None)
    modes = {getattr(hardware, "_mode", None) for hardware in tracker.hardware}
    return _Tracker(cpu_tdp_w) if cpu_tdp_w and modes & _ESTIMATES else tracker


class _Tracker:
    """codecarbon's offline tracker without its timers: it measures when it is read."""

    def __init__(self, cpu_tdp_w: float | None) -> None:
        with _LogFilter() as log_filter:
            from codecarbon import OfflineEmissionsTracker

            self._output = _Output()
            arguments = _arguments(OfflineEmissionsTracker, self._output, cpu_tdp_w)
            log = logging.getLogger("codecarbon")
            handlers, level = [*log.handlers], log.level
            self._tracker = OfflineEmissionsTracker(**arguments)
            log.handlers[:] = handlers  # the user may have trackers too
            log.setLevel(level)
        log_filter.check()
        # The first measurement is slow: it detects hardware and reads tables. Do it in the probe.
        self.start()
        self.read()
        self.stop()
        self.hardware: list[Any] = self._tracker._hardware
        self.facts: dict[str, Any] = self._tracker._conf

    def start(self) -> None:
        with _LogFilter() as log_filter:
            self._tracker._start_time = None  # early versions refuse to start again otherwise
            self._tracker._scheduler = self._tracker._scheduler_monitor_power = _NoTimer()
            self._tracker.start()
        log_filter.check()

    def read(self) -> _Reading:
        """Measure and return the totals; unchanged within 50 ms of the last measurement."""
        self._output.readings.clear()
        with _LogFilter() as log_filter:
            self._tracker.flush()
        log_filter.check()
        if not self._output.readings:
            raise RuntimeError("codecarbon returned no totals")
        return self._output.readings[-1]

    def stop(self) -> None:
        with _LogFilter():
            self._tracker.stop()


class _Reading(NamedTuple):
    """Seconds since the tracker's start, and total joules per part."""

    seconds: float
    joules: dict[str, float]


class _Output:
    """An output handler of codecarbon that keeps its totals."""

    def __init__(self) -> None:
        self.readings: list[_Reading] = []

    def out(self, total: Any, delta: Any) -> None:
        joules = {part: getattr(total, f"{part}_energy") * JOULES_PER_KWH for part in _PARTS}
        self.readings.append(_Reading(total.duration, joules))

    def exit(self) -> None:
        pass


class _NoTimer:
    """Replacement for codecarbon's timers, each of which would be a thread."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class _LogFilter(logging.Filter):
    """Suppresses codecarbon's log of this thread and of threads started meanwhile.

    Other threads belong to the user, who may use codecarbon too. codecarbon logs exceptions of its
    functions instead of raising them: ``check`` raises the last one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._error: BaseException | None = None
        self._other_threads: set[int | None] = set()

    def __enter__(self) -> _LogFilter:
        own = threading.get_ident()
        self._other_threads = {thread.ident for thread in threading.enumerate()} - {own}
        logging.getLogger("codecarbon").addFilter(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        logging.getLogger("codecarbon").removeFilter(self)

    def check(self) -> None:
        """Raise the exception that codecarbon suppressed."""
        if self._error is not None:
            raise self._error

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread in self._other_threads:
            return True
        if record.funcName == "suppress" and record.exc_info:
            self._error = record.exc_info[1]
        return False


def _arguments(tracker: Any, output: _Output, cpu_tdp_w: float | None) -> dict[str, Any]:
    """Return a value for every option, as codecarbon reads unset ones from files and variables."""
    options: dict[str, Any] = {
        "project_name": "yprov-mlflow",
        "measure_power_secs": 15.0,
        "api_call_interval": -1,
        "api_endpoint": "",
        "api_key": "",
        "output_dir": tempfile.gettempdir(),
        "output_file": "emissions.csv",
        "output_handlers": [output],
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
        # Emissions are computed here; a fixed intensity saves codecarbon's tables.
        "force_carbon_intensity_g_co2e_kwh": 0.0,
        "force_mode_cpu_load": False,
        # Otherwise codecarbon takes a lock file, registers an exit and two signal handlers.
        "allow_multiple_runs": True,
        "rapl_include_dram": False,
        "rapl_prefer_psys": False,
        "metadata": None,
        "logging_logger": None,
        "prometheus_url": "",
    }
    options |= dict.fromkeys("country_iso_code region cloud_provider cloud_region".split())
    accepted = {
        name
        for cls in tracker.__mro__[:-1]
        if "__init__" in vars(cls)
        for name in inspect.signature(cls.__init__).parameters
    }
    return {name: value for name, value in options.items() if name in accepted}
