"""Claims: file locks that decide which process of a run measures a node, a job or a device.

The energy of a node belongs to all processes on it and must be counted once. The process that
holds the node's lock measures it; the operating system releases the lock when the process ends,
however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.layout import CLAIMS


def excluded_claims(ranks: Mapping[str, Json]) -> frozenset[str]:
    """Return the claims that this rank never takes."""
    # Only the first rank of a node measures the node, and only the first rank measures the job:
    # their processes usually live longest, and a claim that moves would split a total.
    claims = (("local_rank", "node"), ("rank", "job"))
    return frozenset(name for key, name in claims if ranks.get(key))


class Claims:
    """The locks that this process holds for one run.

    Args:
        folder: Folder of the run's journals.
        machine: Id of this machine; processes on several machines may share the folder.
        excluded: Claims that are left to other ranks.
        on_release: Called when the process stops measuring for the run.
    """

    def __init__(
        self,
        folder: Path,
        machine: str,
        excluded: frozenset[str] = frozenset(),
        on_release: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_release = on_release
        self._folder = folder / CLAIMS
        self._machine = machine
        self._excluded = excluded
        self._locks: dict[str, int] = {}

    def take(self, names: Iterable[str]) -> set[str]:
        """Return the claims that this process holds after trying to take all; "" always works."""
        return {name for name in set(names) if not name or name in self._locks or self._take(name)}

    def _take(self, name: str) -> bool:
        if name in self._excluded:
            return False
        path = self._folder / quote_key(name if name == "job" else f"{name}@{self._machine}")
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # nothing can be written here; the journal reports that
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError:  # a file system without locks: the first rank of the node measures all
            os.close(fd)
            return "node" not in self._excluded
        self._locks[name] = fd
        return True

    def release(self) -> None:
        """Release all claims, because the process does not measure for the run any more."""
        self._on_release()
        self.close()

    def close(self) -> None:
        """Close the locks; in a forked child, without effect on the parent's."""
        # Closed, not unlocked: parent and child share the locks, and an unlock in the child would
        # release the parent's.
        while self._locks:
            os.close(self._locks.popitem()[1])
