"""Packing of journals: many folders into one zip file, and the removal of runs from packs.

A new pack is complete and on disk before anything else is removed: if the process is killed, files
are in two places at worst, which readers recognize, and the next call removes one of them.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from yprov_mlflow.prov.journal.directory import JournalDirectory
from yprov_mlflow.prov.journal.packs import (
    PackedFile,
    Packs,
    digest_of_names,
    is_continued,
    members,
)
from yprov_mlflow.prov.journal.reader import open_regular, reason_to_refuse
from yprov_mlflow.prov.layout import (
    CLAIMS,
    DELIVERY_LOCK,
    JOURNAL_SUFFIX,
    PACK_LOCK,
    PACK_SUFFIX,
    PRIVATE_FILE,
    private_folder,
)

_SMALL = 2**26  # bytes; smaller packs are merged into the next one
_CHUNK = 2**20
_INCOMPLETE = ".incomplete"
_MOVED = ".packed"
_LOCK_TIMEOUT_S = 60.0
_NOTICED_S = 1.2  # a writer notices within a second that its file is not in its place


@contextmanager
def _turn(directory: Path, root: Path) -> Iterator[Packs]:
    """Let one process at a time replace packs; remove what one that was killed has left."""
    folder = Packs(directory).folder
    private_folder(folder, root)
    with FileLock(folder / PACK_LOCK, _LOCK_TIMEOUT_S, mode=PRIVATE_FILE):
        for path in folder.glob(f"*{_INCOMPLETE}"):
            path.unlink()
        yield Packs(directory)


def pack(directory: Path, folders: Iterable[JournalDirectory], root: Path) -> int:
    """Move the files of runs into a pack, and return the number of runs.

    A folder with anything that is not a regular file stays as it is.

    Args:
        directory: State folder, or that of a server in it.
        folders: Runs that have ended; a process that still writes to one loses nothing.
        root: The user's state folder.

    Raises:
        OSError: The pack cannot be written; then nothing is removed.
    """
    with _turn(directory, root) as packs:
        chosen = []
        for folder in folders:
            _settle(folder)
            _remove(folder.path)
            if _is_plain(folder.path):
                chosen.append(folder)
        if not chosen:
            return 0
        small = [path for path in packs.files() if path.stat().st_size < _SMALL]
        merged = [path for path in small if path not in packs.unreadable()]
        replaced = {folder.path.name for folder in chosen}
        with _new_pack(packs) as archive:
            for path in reversed(merged):  # the newest first: its members replace older ones
                _copy_members(
                    archive, path, lambda run, name: _is_journal(name) or run not in replaced
                )
            files = [file for folder in chosen for file in _add(archive, folder)]
        for path in merged:
            path.unlink()
        for path, inode in files:
            if path.stat().st_ino == inode:
                path.rename(path.with_name(path.name + _MOVED))
        # Until then, a writer may still append to a file that was renamed.
        time.sleep(_NOTICED_S)
        for folder in chosen:
            _settle(folder)
            _remove(folder.path)
    return len(chosen)


def unpack(directory: Path, runs: Iterable[str], root: Path) -> None:
    """Remove runs from all packs; ``runs`` are the names of their folders.

    Raises:
        OSError: A pack is damaged, or a new one cannot be written; then the old one remains.
    """
    names = frozenset(runs)
    if names.isdisjoint(Packs(directory).runs()):
        return
    with _turn(directory, root) as packs:
        for path in packs.files():
            if names.isdisjoint(run for run, _, _ in members(path)):
                continue
            if reason := packs.unreadable().get(path):
                raise OSError(None, reason, str(path))
            with _new_pack(packs) as archive:
                _copy_members(archive, path, lambda run, _: run not in names)
            path.unlink()


def _is_journal(name: str) -> bool:
    return name.endswith(JOURNAL_SUFFIX)


def _is_plain(folder: Path) -> bool:
    """Return whether a folder has journals and nothing that a pack cannot hold."""
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name != CLAIMS]
        reasons = [reason_to_refuse(e.stat(follow_symlinks=False), folder) for e in entries]
    except OSError:
        return False
    return any(_is_journal(entry.name) for entry in entries) and not any(reasons)


@contextmanager
def _new_pack(packs: Packs) -> Iterator[zipfile.ZipFile]:
    """Yield a pack to write to; it gets its name when it is complete and on disk."""
    path = packs.folder / f"{time.time_ns():020}{PACK_SUFFIX}"
    incomplete = path.with_name(path.name + _INCOMPLETE)
    incomplete.touch(PRIVATE_FILE)
    with incomplete.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            yield archive
            archive.comment = digest_of_names(archive)
        file.flush()
        os.fsync(file.fileno())
    if not archive.namelist():
        incomplete.unlink()
        return
    incomplete.rename(path)
    _sync_folder(packs.folder)


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file on disk; some file systems cannot."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


def _add(archive: zipfile.ZipFile, folder: JournalDirectory) -> Iterator[tuple[Path, int]]:
    """Copy the files of a run into a pack; yield the paths and inodes of those that it has now."""
    packed = folder.packed()
    for path in sorted(folder.path.iterdir()):
        if path.name in (CLAIMS, DELIVERY_LOCK):
            continue
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            parts = packed.get(path.name, []) if _is_journal(path.name) else []
            if parts and is_continued([part.open for part in parts], partial(open_regular, path)):
                # All that it has more is a part of its own, as no pack is ever changed.
                file.seek(sum(part.size for part in parts))
            size = status.st_size - file.tell()
            if size or not parts:
                number = parts[-1].part + 1 if parts else 1
                info = zipfile.ZipInfo(
                    f"{folder.path.name}/{number}/{path.name}", time.gmtime(status.st_mtime)[:6]
                )
                _copy(archive, info, file, size)
            yield path, status.st_ino


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: BinaryIO, size: int) -> None:
    """Copy so many bytes into a new member; what is written to the file later is not of them."""
    info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, size
    with archive.open(info, "w") as target:
        while size:
            chunk = source.read(min(size, _CHUNK))
            if not chunk:
                raise OSError(None, f"{info.filename} became shorter while it was packed")
            target.write(chunk)
            size -= len(chunk)


def _copy_members(
    archive: zipfile.ZipFile, path: Path, is_kept: Callable[[str, str], bool]
) -> None:
    """Copy the members of a pack for which ``is_kept``, given run and filename, is true.

    Members that the new pack has are skipped: a killed process may have left a pack twice.
    """
    existing = set(archive.namelist())
    for run, name, file in members(path):
        if file.member not in existing and is_kept(run, name):
            info = zipfile.ZipInfo(file.member, time.gmtime(file.time_ns // 10**9)[:6])
            with file.open() as source:
                _copy(archive, info, source, file.size)


def _settle(folder: JournalDirectory) -> None:
    """Remove files that are in a pack; return those that a process has written to meanwhile."""
    packed = folder.packed()
    for moved in folder.path.glob(f"*{_MOVED}"):
        path = moved.with_name(moved.name.removesuffix(_MOVED))
        if _is_packed(moved, packed.get(path.name, [])) or not _is_journal(path.name):
            moved.unlink()
        elif not path.exists():
            moved.rename(path)
        elif is_continued([partial(open_regular, moved)], partial(open_regular, path)):
            moved.unlink()  # its process has written all of it again


def _is_packed(path: Path, parts: Sequence[PackedFile]) -> bool:
    """Return whether packs have the content of a file: as its last part, or in all its parts."""
    size, opened = path.stat().st_size, partial(open_regular, path)
    return any(
        size == sum(part.size for part in some) and is_continued([p.open for p in some], opened)
        for some in (parts[-1:], parts)
        if some
    )


def _remove(folder: Path) -> None:
    """Remove the empty folder of a run, unless a process begins to write to it."""
    with suppress(OSError):
        if any(path.name not in (CLAIMS, DELIVERY_LOCK) for path in folder.iterdir()):
            return
        shutil.rmtree(folder / CLAIMS, ignore_errors=True)
        (folder / DELIVERY_LOCK).unlink(missing_ok=True)
        folder.rmdir()
