"""The design power of processors, looked up by their name in codecarbon's table."""

from __future__ import annotations

import csv
import re
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors import carbon
from yprov_mlflow.prov.collectors.system import node

_TABLE = "data/hardware/cpu_power.csv"

# Words in the kernel's names or the table's that do not distinguish processors.
_MARKS = re.compile(r"\((r|tm)\)|[®™]|\bwith radeon.*|@.*")
_NOISE = re.compile(r"cpu|processor|\d+(\.\d+)?ghz|[\w-]+-cores?|\d+th|gen")


class DesignPower(NamedTuple):
    """Watts of all processors of the node together, and their source."""

    watts: float
    source: str


def look_up(root: Path) -> DesignPower | None:
    """Return the design power of the node's processors; None if the table does not have it.

    A name has to match in all of its words: a similar processor may draw twice the power.
    """
    words = _words(node.cpu_model(root) or "")
    if not any(char.isdigit() for word in words for char in word):
        return None  # such as "AMD EPYC" in a virtual machine
    lines = carbon.data(_TABLE).splitlines()
    # Few lines are worth comparing: the table has thousands.
    number = max(words, key=lambda word: (sum(map(str.isdigit, word)), len(word)))
    rows = [row for row in csv.reader(line for line in lines if number in line.lower()) if row[1:]]
    watts = {float(row[1]): row[0] for row in rows if _words(row[0]) == words}
    if len(watts) != 1:
        return None
    ((per_package_w, name),) = watts.items()
    packages = node.cpu_packages(root)
    source = f"codecarbon {version('codecarbon')}, {Path(_TABLE).name}: {name}, {packages} of them"
    return DesignPower(per_package_w * packages, source)


def _words(name: str) -> frozenset[str]:
    words = _MARKS.sub(" ", name.lower()).split()
    return frozenset(word for word in words if not _NOISE.fullmatch(word))
