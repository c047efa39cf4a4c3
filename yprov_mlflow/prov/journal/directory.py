"""Where journals are: a folder for each run, with a file for each process that wrote to it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from yprov_mlflow.prov.ids import quote_key, unquote_key
from yprov_mlflow.prov.layout import DELIVERED, DELIVERY_LOCK, JOURNAL_SUFFIX, JOURNALS


class JournalDirectory:
    """The journals of one run, or of the events that belong to a store (see ``ids.store_id``).

    Args:
        directory: State folder.
        run_id: Run, or id of the store. Creating the object touches no disk.
    """

    def __init__(self, directory: Path, run_id: str) -> None:
        self.run_id = run_id
        # Dots are quoted, too: a run with the id ".." must not lead out of the folder.
        self.path = directory / JOURNALS / quote_key(run_id).replace(".", "%2E")

    @classmethod
    def all(cls, directory: Path) -> Iterator[JournalDirectory]:
        """Yield the folders of all runs that have a journal, sorted by name."""
        try:
            names = sorted(entry.name for entry in os.scandir(directory / JOURNALS))
        except FileNotFoundError:
            return
        for name in names:
            folder = cls(directory, unquote_key(name))
            if folder.path.is_dir():
                yield folder

    def file(self, session: str) -> Path:
        """Return the path of the journal of a session."""
        return self.path / f"{session}{JOURNAL_SUFFIX}"

    def files(self) -> list[Path]:
        """Return the paths of all journals of the run, sorted by name."""
        return sorted(self.path.glob(f"*{JOURNAL_SUFFIX}"))

    def sizes(self) -> dict[str, int]:
        """Return the size of every journal in bytes, by filename."""
        # Journals only grow: with equal sizes their content is equal, too.
        return {path.name: path.stat().st_size for path in self.files()}

    @property
    def lock(self) -> Path:
        """The file to lock while the run's document is written."""
        return self.path / DELIVERY_LOCK

    def delivered(self) -> dict[str, int]:
        """Return the sizes that the journals had when the document was last written."""
        try:
            sizes = json.loads((self.path / DELIVERED).read_text("utf-8"))
        except (FileNotFoundError, ValueError):  # a broken file only means another delivery
            return {}
        return sizes if isinstance(sizes, dict) else {}

    def mark_delivered(self, sizes: dict[str, int]) -> None:
        """Save the sizes of the journals that the document was made from."""
        partial = self.path / f"{DELIVERED}.{os.getpid()}"
        partial.write_text(json.dumps(sizes, sort_keys=True), "utf-8")
        partial.replace(self.path / DELIVERED)  # atomic: readers see the old or the new sizes

    def is_current(self) -> bool:
        """Return whether the last document contains everything in the journals."""
        return self.delivered() == self.sizes()
