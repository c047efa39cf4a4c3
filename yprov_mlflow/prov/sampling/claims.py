"""What one process of a run measures for all of them: locks in the folder of its journals.

A node's energy belongs to every process on it and must be counted once. Who locks the file of
the node, or of a device, measures it; the lock goes with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.ids import quote_key

_FOLDER = "claims"


def left_to_others(ranks: Mapping[str, Json]) -> frozenset[str]:
    """Give what a rank never measures: the node if it is not its first, nor the job likewise."""
    claims = (("local_rank", "node"), ("rank", "job"))
    return frozenset(name for key, name in claims if ranks.get(key))


class Claims:
    """The locks that this process holds for one run."""

    def __init__(self, folder: Path, machine: str, never: frozenset[str] = frozenset()) -> None:
        """Name the run's ``folder`` and this ``machine``; ``never`` is for other ranks to take."""
        self._folder = folder / _FOLDER
        self._machine = machine
        self._never = never
        self._held: dict[str, int] = {}

    def take(self, names: Iterable[str]) -> set[str]:
        """Give those of the names that are this process's to measure; "" always is."""
        return {name for name in set(names) if not name or name in self._held or self._take(name)}

    def _take(self, name: str) -> bool:
        if name in self._never:
            return False
        path = self._folder / quote_key(name if name == "job" else f"{name}@{self._machine}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # the journal, too, will find that it cannot be written
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError:  # a file system without locks: the node's first rank takes all there is
            os.close(fd)
            return "node" not in self._never
        self._held[name] = fd
        return True

    def release(self) -> None:
        """Leave all to others."""
        while self._held:
            os.close(self._held.popitem()[1])
