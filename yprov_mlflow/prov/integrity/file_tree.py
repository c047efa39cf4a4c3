"""The files that a seal covers: those of a local folder, or of another place with their paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from yprov_mlflow.prov.errors import SealError

_CHUNK = 2**20


class FileDigest(NamedTuple):
    """SHA-256 and size of a file, or of its first bytes."""

    sha256: str
    size: int


class FileTree(Protocol):
    """Files by their relative paths with slashes."""

    def names(self) -> list[str]:
        """Return the paths of all files, sorted."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Return a context with a local copy of a file, or the file itself.

        Raises:
            OSError: The file is missing, or cannot be read.
        """

    def put(self, name: str, content: bytes) -> None:
        """Write a file, which may exist.

        Raises:
            OSError: It cannot be written.
        """


class FolderTree:
    """A local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Return the paths of all files, sorted.

        Raises:
            SealError: The folder has a link, or something else that is not a file.
        """
        names = []
        for path, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                full = Path(path, name)
                # A link could lead anywhere: its target may change without a change here.
                if full.is_symlink() or not (full.is_dir() or full.is_file()):
                    raise SealError.not_a_file(str(full))
            names += [Path(path, name).relative_to(self.folder).as_posix() for name in files]
        return sorted(names)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield the path of a file."""
        yield self.folder / name

    def put(self, name: str, content: bytes) -> None:
        """Write a file; its readers see the earlier one or this one."""
        # On the same file system as the target, so that the rename is atomic.
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        incomplete = path.with_name(f".{path.name}.{os.getpid()}")
        incomplete.write_bytes(content)
        incomplete.replace(path)


def digest_of(path: Path) -> FileDigest:
    """Return SHA-256 and size of a file.

    Raises:
        OSError: The file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(digest.hexdigest(), size)
