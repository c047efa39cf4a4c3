"""Packs: zip files with the journals of many runs, read as if each were still in its folder.

The members of a pack are named ``<folder of the run>/1/<file>``. If a run goes on after it was
packed, its folder is made again, and the next pack has the later parts of a file in ``2`` and so
on. A pack is never changed, only replaced as a whole.
"""

from __future__ import annotations

import functools
import hashlib
import io
import mmap
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from yprov_mlflow.prov.journal.reader import open_regular
from yprov_mlflow.prov.layout import PACK_SUFFIX, PACKS

_BUFFER = 2**16
_NS = 1_000_000_000

# What zipfile raises for damaged files; a RuntimeError asks for a password.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError),
    *(NotImplementedError, RuntimeError),
)

Opener = Callable[[], BinaryIO]
"""Opens a file, or a part of one, for reading."""


class PackedFile(NamedTuple):
    """A file of a run in a pack."""

    pack: Path
    member: str
    size: int
    time_ns: int  # when it was last written, to two seconds
    part: int

    def open(self) -> BinaryIO:
        """Open the file for reading.

        Raises:
            OSError: The pack cannot be read.
        """
        try:
            stream = _archive(*_identity(self.pack)).open(self.member)
        except _DAMAGE as error:
            raise OSError(None, f"the pack is damaged: {error}") from error
        return io.BufferedReader(_Member(stream), _BUFFER)


class _Member(io.RawIOBase):
    """A file in a pack; damage of the pack raises ``OSError``, as that of a disk does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except _DAMAGE as error:
            raise OSError(None, f"the pack is damaged: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def is_continued(packed: Sequence[Opener], open_file: Opener) -> bool:
    """Return whether a file starts with all the packed parts of its content."""
    try:
        with open_file() as file:
            for open_part in packed:
                with open_part() as part:
                    while chunk := part.read(_BUFFER):
                        if file.read(len(chunk)) != chunk:
                            return False
    except OSError:  # the reader of the journal reports it
        return False
    return True


class Packs:
    """The packs of a state folder, as they are now."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / PACKS
        # Taken once: a pack that is replaced meanwhile stays readable for who has it open.
        self._identities = tuple(_identity(path) for path in self.files())

    def files(self) -> list[Path]:
        """Return the paths of all packs, oldest first."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return []
        return [self.folder / name for name in names if name.endswith(PACK_SUFFIX)]

    def runs(self) -> list[str]:
        """Return the names of the folders of all packed runs."""
        return sorted(_index(self._identities)[0]) if self._identities else []

    def run(self, folder: str) -> Mapping[str, list[PackedFile]]:
        """Return the parts of the packed files of a run by name; empty if it is not packed."""
        return _index(self._identities)[0].get(folder, {}) if self._identities else {}

    def unreadable(self) -> Mapping[Path, str]:
        """Return the packs of which something cannot be read, and why."""
        return _index(self._identities)[1] if self._identities else {}

    def may_lack(self, folder: str) -> bool:
        """Return whether a damaged pack may have had more files of a run than it lists.

        A pack has the name of each file twice: before the file, and in its list of files.
        """
        listed: dict[Path, list[str]] = {}
        for parts in self.run(folder).values():
            for part in parts:
                listed.setdefault(part.pack, []).append(part.member)
        return any(
            not _has_each_name_twice(path, folder, listed.get(path, []))
            for path in self.unreadable()
        )


def _has_each_name_twice(path: Path, folder: str, names: Sequence[str]) -> bool:
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            mentions = len(re.findall(re.escape(f"{folder}/".encode()), data))
            whole = all(len(re.findall(re.escape(name.encode()), data)) == 2 for name in names)
    except (OSError, ValueError):  # nothing can be said of a file that is empty
        return False
    return whole and mentions == 2 * len(names)


_Identity = tuple[Path, int, int, int, int]


def _identity(path: Path) -> _Identity:
    """Return what changes with the content of a pack, and with the process.

    A process that was forked must not share the position in an open file with its parent.
    """
    try:
        status = path.lstat()
    except OSError:
        return path, 0, 0, 0, os.getpid()
    return path, status.st_ino, status.st_size, status.st_mtime_ns, os.getpid()


@functools.lru_cache(maxsize=32)
def _archive(path: Path, *_: int) -> zipfile.ZipFile:
    """Return an open pack; the directory of a large one takes a while to read."""
    try:
        return zipfile.ZipFile(open_regular(path))
    except _DAMAGE as error:
        raise OSError(None, f"the pack is damaged: {error}") from error


@functools.lru_cache(maxsize=4)
def _index(
    identities: tuple[_Identity, ...],
) -> tuple[dict[str, dict[str, list[PackedFile]]], dict[Path, str]]:
    """Return the packed files by folder and name, and the packs that are damaged, with reasons."""
    numbered: dict[str, dict[str, dict[int, PackedFile]]] = {}
    unreadable: dict[Path, str] = {}
    for path, *identity in identities:
        try:
            for folder, name, file in members(path):
                # A later pack replaces an earlier one that its process could not remove.
                numbered.setdefault(folder, {}).setdefault(name, {})[file.part] = file
            archive = _archive(path, *identity)
            if archive.comment != digest_of_names(archive):
                unreadable[path] = "the pack is damaged: its list of files has changed"
        except (OSError, ValueError) as error:
            unreadable[path] = getattr(error, "strerror", None) or str(error)
    files = {
        folder: {
            name: [parts[number] for number in sorted(parts)] for name, parts in by_name.items()
        }
        for folder, by_name in numbered.items()
    }
    return files, unreadable


def members(pack: Path) -> list[tuple[str, str, PackedFile]]:
    """Return folder, name and file of each member of a pack.

    Raises:
        OSError: The pack cannot be read.
        ValueError: It is another program's file.
    """
    rows = []
    for info in _archive(*_identity(pack)).infolist():
        folder, number, name = info.filename.split("/", 2)
        time_ns = int(datetime(*info.date_time, tzinfo=UTC).timestamp()) * _NS
        file = PackedFile(pack, info.filename, info.file_size, time_ns, int(number))
        rows.append((folder, name, file))
    return rows


def digest_of_names(archive: zipfile.ZipFile) -> bytes:
    """Return a digest of the names, times and sizes of all files: the comment of a pack.

    The format itself protects the contents of files only: one under another name would be that of
    another run.
    """
    digest = hashlib.sha256()
    for info in archive.infolist():
        *minute, second = info.date_time
        row = info.filename, *minute, second // 2, info.file_size, info.CRC  # zip keeps two seconds
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
    return digest.hexdigest().encode()
