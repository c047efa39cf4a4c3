"""Documents on their way to the index: files that the next question adds.

This module does not load pyoxigraph: the process that trains uses it.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.layout import INCOMING, PRIVATE_FILE, TAKEN, private_folder

_SUFFIX = ".json.gz"


def hand_over(index: Path, run_id: str, document: bytes) -> None:
    """Leave the current document of a run, or of a store, for the index.

    It replaces an earlier one that is not in the index yet.

    Args:
        index: Folder of the index.
        run_id: The run, or id of the store (``ids.store_id``).
        document: Its PROV-JSON.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = index / INCOMING
    private_folder(folder, index)
    name = quote_key(run_id).replace(".", "%2E")
    partial = folder / f"{name}.{os.getpid()}"
    partial.touch(PRIVATE_FILE)
    # Level 1 takes 1 ms for 100 kB, and a tenth of the space.
    partial.write_bytes(gzip.compress(document, 1, mtime=0))
    partial.replace(folder / f"{name}{_SUFFIX}")


def waiting(index: Path) -> int:
    """Return the number of documents that the index has not got."""
    return sum(len(list((index / name).glob(f"*{_SUFFIX}"))) for name in (INCOMING, TAKEN))


def take(index: Path) -> Iterator[Path]:
    """Yield the files that wait; the caller removes each once its document is in the index.

    The caller holds the lock of the index. A file is moved first, so that a newer document
    that comes meanwhile is not removed with it.
    """
    claimed = index / TAKEN
    private_folder(claimed, index)
    # Those of a process that was killed come first: newer ones replace them.
    yield from sorted(claimed.glob(f"*{_SUFFIX}"))
    for file in sorted((index / INCOMING).glob(f"*{_SUFFIX}")):
        with suppress(FileNotFoundError):
            file.replace(claimed / file.name)
            yield claimed / file.name


def content(file: Path) -> bytes:
    """Return the document in a file that waits.

    Raises:
        OSError: The file cannot be read, or is damaged.
        EOFError: The file is cut off.
    """
    return gzip.decompress(file.read_bytes())
