"""The kept code of a run on its way from the state folder to the artifacts."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from yprov_mlflow.prov.events import CODE_FACTS, NOTEBOOK_FACTS, Event, FactsCollected
from yprov_mlflow.prov.layout import KEPT, KEPT_CODE

_SHA256 = re.compile("[0-9a-f]{64}")
_DIGEST = re.compile("[0-9a-f]{16}")
_DAY_S = 86_400


class KeptCode:
    """The kept files that the events of a run name, and that are in the state folder.

    Args:
        directories: State folders.
    """

    def __init__(self, *directories: Path) -> None:
        self._folders = [directory / KEPT for directory in dict.fromkeys(directories)]
        self.files: dict[str, Path] = {}
        """The content of each file, by its path below the folder of kept code."""

    def feed(self, event: Event) -> Event:
        """Add the files of an event; return it without those that are not here any more."""
        if not isinstance(event, FactsCollected):
            return event
        if event.collector not in (CODE_FACTS, NOTEBOOK_FACTS) or "digest" not in event.facts:
            return event
        files = [file for file in event.facts["files"] if self._add(event.facts["digest"], file)]
        if len(files) == len(event.facts["files"]):
            return event
        return dataclasses.replace(event, facts={**event.facts, "files": files})

    def _add(self, digest: str, file: Mapping[str, object]) -> bool:
        name, path = str(file["sha256"]), str(file["path"])
        if ".." in path.split("/") or path.startswith("/"):
            return False
        if not (_SHA256.fullmatch(name) and _DIGEST.fullmatch(digest)):
            return False
        for content in (folder / name for folder in self._folders):
            if content.is_file():
                self.files[f"{digest}/{path}"] = content
                return True
        return False

    def copy_to(self, folder: Path) -> Path | None:
        """Copy the files to their paths below a folder, and return that of all; None without."""
        if not self.files:
            return None
        root = folder / KEPT_CODE
        for path, content in self.files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, target)
            with suppress(OSError):
                os.utime(content)  # still needed
        return root


def prune(directory: Path, days: float) -> None:
    """Remove contents that no run has kept or delivered for so many days."""
    for path in _contents(directory / KEPT):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= days * _DAY_S:
                path.unlink()


def _contents(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (Path(entry) for entry in os.scandir(folder) if _SHA256.fullmatch(entry.name))
