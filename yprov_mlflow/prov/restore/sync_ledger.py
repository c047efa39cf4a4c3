"""The ledger of synchronizations: which journals a store has, in lines that are only appended.

It saves time and decides nothing: without it, every run is compared with its store again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yprov_mlflow.prov.errors import DeliveryError
from yprov_mlflow.prov.layout import LEDGER, SYNC, SYNC_LOCK, private_folder

_LOGGER = logging.getLogger("yprov_mlflow")
_MIN_LINES = 1000  # fewer are never rewritten


class SyncLedger:
    """The ledger in a folder of journals; as a context manager it locks the folder.

    In a folder that cannot be written, there is neither a ledger nor a lock.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / SYNC / LEDGER
        self._lock = FileLock(root / SYNC / SYNC_LOCK)
        self._entries: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._writable = False

    def __enter__(self) -> SyncLedger:
        """Lock the folder and read the ledger.

        Raises:
            DeliveryError: Another process has locked it.
        """
        try:
            private_folder(self._path.parent, self._root)
            self._lock.acquire(timeout=0)
            self._writable = True
        except Timeout as error:
            raise DeliveryError.in_sync(str(self._root)) from error
        except (OSError, NotImplementedError) as error:  # read-only, or a drive without locks
            _LOGGER.warning("%s cannot be locked: %s.", self._root, error)
        self._read()
        return self

    def __exit__(self, *exception: object) -> None:
        """Unlock the folder."""
        self._lock.release()

    def _read(self) -> None:
        lines = 0
        with suppress(OSError), self._path.open(encoding="utf-8") as file:
            for line in file:
                lines += 1
                # A process that was killed leaves an incomplete line.
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self._entries[entry["to"], entry["run"]] = entry
        if self._writable and lines > max(_MIN_LINES, 2 * len(self._entries)):
            partial = self._path.with_suffix(".new")
            partial.write_text("".join(f"{json.dumps(e)}\n" for e in self._entries.values()))
            partial.replace(self._path)

    def has(self, to: str, run_id: str, sizes: Mapping[str, int]) -> bool:
        """Return whether a store has all that journals of these sizes hold about a run.

        False for runs with calls about models, traces and the like: these are replayed together
        with those of other runs.
        """
        entry = self._entries.get((to, run_id), {})
        return entry.get("sizes") == dict(sizes) and entry.get("alone") is True

    def add(self, to: str, run_id: str, sizes: Mapping[str, int], *, alone: bool) -> None:
        """Note that a store has all that journals of these sizes hold about a run."""
        entry = {"to": to, "run": run_id, "sizes": dict(sizes), "alone": alone}
        if self._entries.get((to, run_id)) == entry:
            return
        self._entries[to, run_id] = entry
        if self._writable:
            # First a newline: the last line may be incomplete.
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(entry)}")
