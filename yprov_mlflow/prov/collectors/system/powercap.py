"""Energy counters of processors in the kernel's powercap tree (RAPL of Intel and AMD)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Unavailable
from yprov_mlflow.prov.collectors.sums import Rate
from yprov_mlflow.prov.collectors.system import processors
from yprov_mlflow.prov.collectors.system.sysfiles import content, text

_FOLDER = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl(?P<mmio>-mmio)?(?P<numbers>(:[\da-f]+)+)")
_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")
_BY_PACKAGE = ("AuthenticAMD", "HygonGenuine")
"""Makers of processors with one counter a package, whatever the number of its dies."""

_COMPONENTS = {"package": "cpu", "dram": "memory"}
"""What is added up: core and uncore are parts of the package, psys contains the packages."""

_ALLOW = (
    "Let users read the counters until the machine starts anew with `sudo chmod a+r"
    " /sys/class/powercap/intel-rapl*:*/energy_uj`, or for good with the udev rule"
    ' `SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"` in'
    " /etc/udev/rules.d/70-powercap.rules. On a machine of many users ask the administrator:"
    " the counters can betray secrets of other processes."
)

_MOST_W = 2000.0
"""More than one domain can take: a counter that seems to have grown faster was reset."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A domain that has an energy counter.

    Args:
        id: ``cpu0``, ``cpu0-dram``, ``psys``.
        kind: ``package``, ``dram``, ``core``, ``uncore`` or ``psys``.
        label: What it is, in words.
        metric: Beginning of the names of its system metrics.
        path: Its folder.
        range_j: Joules at which its counter starts again from 0.
    """

    id: str
    kind: str
    label: str
    metric: str
    path: Path
    range_j: float

    @property
    def component(self) -> str:
        """Part of the machine's bill that it is, ``""`` for what other zones contain."""
        return _COMPONENTS.get(self.kind, "")


def zones(root: Path) -> list[Zone]:
    """Find all domains, each once.

    One may be there through registers and memory-mapped. Linux 6.10 and 6.11 show the counter of
    an AMD package as one of each of its dies.
    """
    tree = root / _FOLDER
    folders = {path.name: path for pattern in ("*:*", "*:*/*:*") for path in tree.glob(pattern)}
    by_package = processors.maker(root) in _BY_PACKAGE
    found: dict[str, Zone] = {}
    for name in sorted(folders, key=_order):
        zone = _zone(folders, name, by_package=by_package)
        if zone is not None:
            found.setdefault(zone.id, zone)
    return list(found.values())


def hidden(root: Path) -> bool:
    """Say, where no domain was found, whether there are some that this process is not shown."""
    tree = root / _FOLDER
    try:
        names = [path.name for path in tree.iterdir()]
    except OSError:
        return False
    return any(map(_ZONE.fullmatch, names))


def _order(name: str) -> tuple[bool, list[int]]:
    match = _ZONE.fullmatch(name)
    if match is None:
        return True, []
    return bool(match["mmio"]), [int(number, 16) for number in match["numbers"][1:].split(":")]


def _zone(folders: dict[str, Path], name: str, *, by_package: bool) -> Zone | None:
    match = _ZONE.fullmatch(name)
    title = text(folders[name] / "name")
    if match is None or not title:
        return None
    above = name.rpartition(":")[0]
    nested = above in folders
    package = _PACKAGE.fullmatch(text(folders[above] / "name") if nested else title)
    if package is not None:
        number, die = package.groups()
        if by_package:
            if title == "core":  # that of one core of many
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
    micro = text(folders[name] / "max_energy_range_uj")
    range_j = int(micro) / 1e6 if micro.isdigit() else 0.0
    return Zone(id_, kind, label, metric, folders[name], range_j)


class Counter:
    """The counter of one domain as energy and power since ``start``."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.total_j = 0.0
        self._path = zone.path / "energy_uj"
        self._last: tuple[float, float] | None = None
        self._power = Rate()

    def start(self) -> None:
        """Begin at 0."""
        self.total_j, self._last, self._power = 0.0, None, Rate()
        self.read()

    def read(self) -> tuple[float | None, float | None]:
        """Give the joules since ``start`` and the watts since the last ones; None for unknown."""
        try:
            now_j = int(content(self._path)) / 1e6
        except ValueError:
            return None, None
        now_s = time.monotonic()
        last, self._last = self._last, (now_s, now_j)
        if last is not None:
            took_s, grown_j = now_s - last[0], now_j - last[1]
            if grown_j < 0:
                grown_j += self.zone.range_j
            if not 0 <= grown_j <= _MOST_W * max(took_s, 0.01):
                self._power = Rate()
                self._power.of(self.total_j, now_s)
                return None, None
            self.total_j += grown_j
        return self.total_j, self._power.of(self.total_j, now_s)


def obstacle(zone: Zone) -> Unavailable | None:
    """Say why the counter of a domain cannot be read; None if it can."""
    try:
        int((zone.path / "energy_uj").read_bytes())
    except PermissionError:
        return Unavailable("only root may read its energy counter", _ALLOW, zone.id)
    except (OSError, ValueError) as error:
        return Unavailable(f"its energy counter cannot be read: {error}", "", zone.id)
    return None
