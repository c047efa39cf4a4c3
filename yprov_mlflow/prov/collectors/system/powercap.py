"""RAPL energy counters of Intel and AMD processors in the kernel's powercap tree."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Unavailable
from yprov_mlflow.prov.collectors.counters import Rate
from yprov_mlflow.prov.collectors.system import node
from yprov_mlflow.prov.collectors.system.node import read_bytes, read_text

_FOLDER = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl(?P<mmio>-mmio)?(?P<numbers>(:[\da-f]+)+)")
_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")

# Vendors whose processors have one counter per package. Linux 6.10 and 6.11 show it once per die.
_ONE_COUNTER_PER_PACKAGE = ("AuthenticAMD", "HygonGenuine")

# Zones that are added up. Core and uncore are parts of a package, and psys contains the packages.
_COMPONENTS = {"package": "cpu", "dram": "memory"}

_ALLOW = (
    "Allow users to read the counters, until the next boot with `sudo chmod a+r"
    " /sys/class/powercap/intel-rapl*:*/energy_uj`, or permanently with the udev rule"
    ' `SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"` in'
    " /etc/udev/rules.d/70-powercap.rules. On a shared machine ask the administrator: the"
    " counters can reveal secrets of other users' processes."
)

# No single zone draws more: a counter that seems to have grown faster was reset.
_MAX_POWER_W = 2000.0


@dataclass(frozen=True, slots=True)
class Zone:
    """A powercap zone: a part of the machine with an energy counter."""

    id: str  # "cpu0", "cpu0-dram", "psys"
    kind: str  # "package", "dram", "core", "uncore" or "psys"
    label: str
    metric: str  # prefix of its system metrics
    path: Path
    range_j: float  # joules at which its counter overflows to 0

    @property
    def component(self) -> str:
        """Component of the total energy; ``""`` if other zones contain or overlap this one."""
        return _COMPONENTS.get(self.kind, "")

    def obstacle(self) -> Unavailable | None:
        """Return why the counter cannot be read; None if it can."""
        try:
            int((self.path / "energy_uj").read_bytes())
        except PermissionError:
            return Unavailable("only root may read its energy counter", _ALLOW, self.id)
        except (OSError, ValueError) as error:
            return Unavailable(f"its energy counter cannot be read: {error}", "", self.id)
        return None


def zones(root: Path) -> list[Zone]:
    """Return all zones, each once, although one may be listed as both MSR and MMIO."""
    tree = root / _FOLDER
    folders = {path.name: path for pattern in ("*:*", "*:*/*:*") for path in tree.glob(pattern)}
    by_package = node.cpu_vendor(root) in _ONE_COUNTER_PER_PACKAGE
    unique: dict[str, Zone] = {}
    for name in sorted(folders, key=_sort_key):
        zone = _zone(folders, name, by_package=by_package)
        if zone is not None:
            unique.setdefault(zone.id, zone)
    return list(unique.values())


def is_hidden(root: Path) -> bool:
    """Return whether zones exist that this process cannot see, provided that it sees none."""
    # A container runtime masks the devices; the links in the class folder then lead nowhere.
    try:
        names = [path.name for path in (root / _FOLDER).iterdir()]
    except OSError:
        return False
    return any(map(_ZONE.fullmatch, names))


def _sort_key(name: str) -> tuple[bool, list[int]]:
    match = _ZONE.fullmatch(name)
    if match is None:
        return True, []
    return bool(match["mmio"]), [int(number, 16) for number in match["numbers"][1:].split(":")]


def _zone(folders: dict[str, Path], name: str, *, by_package: bool) -> Zone | None:
    title = read_text(folders[name] / "name")
    if _ZONE.fullmatch(name) is None or not title:
        return None
    parent = name.rpartition(":")[0]
    nested = parent in folders
    package = _PACKAGE.fullmatch(read_text(folders[parent] / "name") if nested else title)
    if package is not None:
        number, die = package.groups()
        if by_package:
            if title == "core":  # a counter of one core out of many
                return None
            die = None
        id_ = f"cpu{number}" + (f"-die{die}" if die else "")
        metric = f"cpu_package_{number}" + (f"_die_{die}" if die else "")
        label = f"processor package {number}" + (f", die {die}" if die else "")
        kind = title if nested else "package"
        if nested:
            id_, metric, label = f"{id_}-{title}", f"{metric}_{title}", f"{title} of {label}"
    elif nested:
        return None
    else:
        id_, kind, metric, label = title, title, title, f"{title} domain of the machine"
    range_uj = read_text(folders[name] / "max_energy_range_uj")
    range_j = int(range_uj) / 1e6 if range_uj.isdigit() else 0.0
    return Zone(id_, kind, label, metric, folders[name], range_j)


class ZoneCounter:
    """Energy and power of one zone since ``start``."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self._path = zone.path / "energy_uj"

    def start(self) -> None:
        """Reset the total to 0."""
        self.total_j, self._power = 0.0, Rate()
        self._last: tuple[float, float] | None = None
        self.read()

    def read(self) -> tuple[float | None, float | None]:
        """Return the joules since ``start`` and the current watts; None for unknown values."""
        try:
            now_j = int(read_bytes(self._path)) / 1e6
        except ValueError:
            return None, None
        now_s = time.monotonic()
        last, self._last = self._last, (now_s, now_j)
        if last is not None:
            elapsed_s, growth_j = now_s - last[0], now_j - last[1]
            if growth_j < 0:
                growth_j += self.zone.range_j
            if not 0 <= growth_j <= _MAX_POWER_W * max(elapsed_s, 0.01):
                self._power = Rate()
                self._power.update(self.total_j, now_s)
                return None, None
            self.total_j += growth_j
        return self.total_j, self._power.update(self.total_j, now_s)
