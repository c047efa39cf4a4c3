"""Where journals lie: a folder per run, in it a file per process that wrote to the run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from yprov_mlflow.prov.ids import quote_key, unquote_key

_SUFFIX = ".journal"
_DELIVERED = "delivered.json"


class JournalDirectory:
    """The journals of one run, or of what belongs to a store (see ``identity.store_id``)."""

    def __init__(self, directory: Path, run_id: str) -> None:
        """Name the folder of ``run_id`` under the state ``directory``; touches no disk."""
        self.run_id = run_id
        # A run called ".." would lead out of the folder; dots may be quoted, too.
        self.path = directory / "journal" / quote_key(run_id).replace(".", "%2E")

    @classmethod
    def all(cls, directory: Path) -> Iterator[JournalDirectory]:
        """Give the folders of all runs that have a journal, by name."""
        try:
            names = sorted(entry.name for entry in os.scandir(directory / "journal"))
        except FileNotFoundError:
            return
        for name in names:
            folder = cls(directory, unquote_key(name))
            if folder.path.is_dir():
                yield folder

    def file(self, session: str) -> Path:
        """Give the path of the journal of one session."""
        return self.path / f"{session}{_SUFFIX}"

    def files(self) -> list[Path]:
        """Give the paths of all journals of the run, by name."""
        return sorted(self.path.glob(f"*{_SUFFIX}"))

    def sizes(self) -> dict[str, int]:
        """Give the size of every journal in bytes, by file name."""
        return {path.name: path.stat().st_size for path in self.files()}

    @property
    def lock(self) -> Path:
        """The file to lock while the run's document is written."""
        return self.path / "delivery.lock"

    def delivered(self) -> dict[str, int]:
        """Give the sizes that the journals had when the document was last written."""
        try:
            sizes = json.loads((self.path / _DELIVERED).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return sizes if isinstance(sizes, dict) else {}

    def mark_delivered(self, sizes: dict[str, int]) -> None:
        """Note the sizes of the journals that the document was made from."""
        partial = self.path / f"{_DELIVERED}.{os.getpid()}"
        partial.write_text(json.dumps(sizes, sort_keys=True), "utf-8")
        partial.replace(self.path / _DELIVERED)

    def is_current(self) -> bool:
        """Tell whether the last document has all that the journals hold."""
        return self.delivered() == self.sizes()
