"""Files of a store: read within bounds, never outside the store, each problem reported once.

A store may come from anywhere. Links must not lead to other files of this machine, special files
must not block, and no size may exhaust memory.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Set
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.meta import (
    META,
    Decoded,
    Meta,
    decode_meta,
    to_time,
    to_whole,
)
from yprov_mlflow.prov.sources.source import Problem

MAX_VALUE_BYTES = 16 << 20
"""Largest file that is read as one value (a param, a tag) or as a description."""

_BLOCK = 65_536
# Non-blocking: a pipe in place of a file would otherwise block forever.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_FLAGS_NO_LINK = _FLAGS | getattr(os, "O_NOFOLLOW", 0)
_MAX_DESCRIPTIONS = 256
_MAX_REASON = 300

# Files that file managers, editors and version control leave in any folder.
_IGNORED = frozenset(
    ".DS_Store Thumbs.db desktop.ini .ipynb_checkpoints .git .gitignore .gitkeep .gitattributes"
    " .keep .amlignore .amlignore.amltmp __pycache__ .idea .vscode .dvc .dvcignore".split()
)
# Start of the files "._name" in which macOS keeps attributes of copied files.
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_PATH_CHARACTERS = re.compile(r"[/\\\0\ud800-\udfff]")


class FileEntry(NamedTuple):
    """A file below some folder; ``name`` is its POSIX path relative to that folder."""

    name: str
    path: str


class _Folder(NamedTuple):
    """A folder that remains to be walked; ``name`` is its relative path with a final slash."""

    name: str
    path: str
    is_link: bool


class StoreFiles:
    """Reads files and folders below ``root``, and collects problems.

    Links are followed if their target is below ``root`` or a folder in ``also``, and if they do
    not form a loop.
    """

    def __init__(self, root: str, *also: str) -> None:
        self.root = root
        self._also = also
        self._problems: dict[Problem, None] = {}
        self._allowed = tuple(os.path.join(os.path.realpath(path), "") for path in (root, *also))
        self._notes: dict[str, tuple[str, int]] = {}
        self._descriptions: dict[str, Decoded] = {}

    @cached_property
    def quiet(self) -> StoreFiles:
        """The same files, without problems: for readers whose problems others report."""
        files = _QuietFiles(self.root, *self._also)
        # Shared: whichever of both reads a description first decodes it for the other.
        files._descriptions = self._descriptions
        return files

    # -- problems ----------------------------------------------------------------------

    def report(self, path: str, reason: str, lost: str, kind: str = "data") -> None:
        """Add a problem with a file or folder."""
        # Exceptions may quote whole files. A password that is cut before its @ is not recognized.
        reason = redact(reason)
        short = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}..."
        problem = Problem(decoding.printable(path), decoding.printable(short), lost, kind)
        self._problems[problem] = None

    def note(self, path: str, reason: str) -> None:
        """Add a problem that loses nothing; the same one of several files is reported once."""
        first, count = self._notes.get(reason, (path, 0))
        self._notes[reason] = (first, count + 1)

    def flush_notes(self) -> None:
        """Turn the notes so far into problems."""
        for reason, (path, count) in self._notes.items():
            more = f" (also {count - 1} more files here)" if count > 1 else ""
            self.report(path, reason + more, "")
        self._notes.clear()

    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""
        self.flush_notes()
        problems = list(self._problems)
        self._problems.clear()
        return problems

    def report_bad_times(
        self,
        path: str,
        meta: Meta,
        keys: Iterable[str],
        parse: Callable[[Json], int | None] = to_time,
    ) -> None:
        """Report values that are not times, and times in ms with a fraction, which is cut off."""
        for key in keys:
            value = meta.get(key)
            if value in (None, ""):
                continue
            if parse(value) is None:
                self.report(path, f"has a {key} that is not a time: {value!r}", f"its {key}")
            elif to_time(value) is not None and to_whole(value) is None:
                reason = f"has a {key} with a fraction, which is cut off: {value!r}"
                self.report(path, reason, "the fraction")

    def report_unknown_status(
        self, path: str, status: str | None, words: Mapping[int, str | None]
    ) -> None:
        """Report a status that MLflow does not define; it is kept."""
        if status is not None and status not in words.values():
            self.report(path, f"has a status that MLflow does not define: {status!r}", "")

    def report_missing_keys(self, path: str, meta: Meta, keys: Iterable[str]) -> None:
        """Report keys that each MLflow version writes but a description lacks."""
        missing = [key for key in keys if key not in meta]
        if missing and meta:
            reason = f"lacks {', '.join(missing)}; it may have been cut off"
            self.report(path, reason, "the missing values")

    def report_unknown_file(self, path: str) -> None:
        """Report a file that MLflow does not write."""
        self.report(path, decoding.UNKNOWN_FILE, decoding.THE_FILE)

    # -- files -------------------------------------------------------------------------

    def open(self, path: str) -> int:
        """Open a file below the root for reading; return its descriptor.

        Raises:
            OSError: It cannot be opened, or is a link to a file outside the store.
        """
        try:
            # One system call for nearly all files. Only links need the costlier check of their
            # target, which is not safe against somebody who exchanges links at the same time.
            return os.open(path, _FLAGS_NO_LINK)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        if not self.is_inside(path):
            raise OSError(errno.ELOOP, "it is a link to a file outside the store", path)
        return os.open(path, _FLAGS)

    def read(self, path: str, limit: int = MAX_VALUE_BYTES) -> bytes | None:
        """Return a file's bytes; None, and a problem, if it is unreadable or too large."""
        try:
            descriptor = self.open(path)
            try:
                data = os.read(descriptor, _BLOCK)
                # Values are mostly smaller than a block: a short read is the end of the file.
                if len(data) < _BLOCK:
                    return data
                parts, size = [data], len(data)
                while size <= limit:
                    data = os.read(descriptor, min(1 << 20, limit + 1 - size))
                    if not data:
                        return b"".join(parts)
                    parts.append(data)
                    size += len(data)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.report(path, f"cannot be read: {decoding.os_reason(error)}", decoding.CONTENT)
            return None
        self.report(path, f"has more than {limit} bytes", decoding.CONTENT)
        return None

    def decode(self, path: str, data: bytes) -> str:
        """Return the text of a file; a note says if it is not plain UTF-8."""
        text, reason = decoding.decode_text(data)
        if reason is not None:
            self.note(path, reason)
        return text

    def value(self, path: str) -> str | None:
        """Return the text of a file that is one value; None, and a problem, if unreadable."""
        data = self.read(path)
        if data is None:
            return None
        if data.startswith(decoding.LFS):
            self.report(path, decoding.IS_LFS_POINTER, decoding.CONTENT)
            return None
        # Most files of a store are values: keep the usual path short.
        if b"<<<<<<< " in data and decoding.has_conflict(data):
            self.note(path, decoding.HAS_CONFLICT)
        text, reason = decoding.decode_text(data)
        if reason is not None:
            self.note(path, reason)
        return text

    def values(self, folder: str) -> dict[str, str]:
        """Return the params or tags in a folder: a file is a value, its relative path the key."""
        if not self.has_folder(folder):
            return {}
        values = {}
        read = self.value
        for name, path in self.walk(folder):
            value = read(path)
            if value is not None:
                values[name] = value
        return values

    def meta(self, path: str) -> Meta:
        """Return the values of a description; what cannot be read becomes a problem.

        Descriptions are kept until ``forget_descriptions``, so that each is decoded once even
        though several readers of a run need it.
        """
        decoded = self._descriptions.get(path)
        if decoded is None:
            data = self.read(path)
            if data is None:
                return Meta()
            decoded = decode_meta(data)
            if len(data) < _BLOCK:
                if len(self._descriptions) >= _MAX_DESCRIPTIONS:
                    self._descriptions.clear()
                self._descriptions[path] = decoded
        for reason in decoded.notes:
            self.note(path, reason)
        if decoded.problem is not None:
            self.report(path, *decoded.problem)
        return decoded.values

    def folder_meta(self, folder: str) -> Meta:
        """Return the values of the ``meta.yaml`` in a folder; empty without one."""
        path = os.path.join(folder, META)
        return self.meta(path) if os.path.lexists(path) else Meta()

    def forget_descriptions(self) -> None:
        """Read descriptions again when they are next needed."""
        self._descriptions.clear()

    # -- folders -----------------------------------------------------------------------

    def scan(self, path: str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        """Return the files and the folders in a folder, sorted by name, without ignored ones."""
        files: list[os.DirEntry[str]] = []
        folders: list[os.DirEntry[str]] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name in _IGNORED or (
                        entry.name[:2] == "._" and _is_apple_double(entry)
                    ):
                        continue
                    if entry.is_symlink() and not self._may_follow(entry.path):
                        continue
                    if entry.is_dir():
                        folders.append(entry)
                    elif entry.is_file():
                        files.append(entry)
                    else:
                        self.report(entry.path, "is neither a file nor a folder", decoding.THE_FILE)
        except OSError as error:
            self.report(path, f"cannot be listed: {decoding.os_reason(error)}", decoding.CONTENT)
        files.sort(key=attrgetter("name"))
        folders.sort(key=attrgetter("name"))
        return files, folders

    def folders(self, path: str) -> list[os.DirEntry[str]]:
        """Return the folders in a folder that should have nothing else; report files in it."""
        if not self.has_folder(path):
            return []
        strays, folders = self.scan(path)
        for stray in strays:
            self.report_unknown_file(stray.path)
        return folders

    def can_list(self, folder: str) -> bool:
        """Return whether a folder can be listed; report why not."""
        try:
            os.scandir(folder).close()
        except OSError as error:
            self.report(folder, f"cannot be listed: {decoding.os_reason(error)}", decoding.CONTENT)
            return False
        return True

    def parts(self, folder: str, meta_name: str, expected: Set[str]) -> dict[str, str]:
        """Return the paths of the description and the expected folders; report other entries."""
        files, folders = self.scan(folder)
        for entry in files:
            if entry.name != meta_name:
                self.report_unknown_file(entry.path)
        for entry in folders:
            if entry.name not in expected:
                self.report(entry.path, decoding.UNKNOWN_FOLDER, decoding.CONTENT)
        paths = {entry.name: entry.path for entry in files if entry.name == meta_name}
        return paths | {entry.name: entry.path for entry in folders if entry.name in expected}

    def described_parts(
        self, folder: str, expected: Set[str], lost: str
    ) -> tuple[Meta, dict[str, str]]:
        """Return the values of the ``meta.yaml`` in a folder, and ``parts``.

        Without a ``meta.yaml``, the values are empty, and ``lost`` is reported.
        """
        parts = self.parts(folder, META, expected)
        if META in parts:
            return self.meta(parts[META]), parts
        self.report(folder, decoding.NO_META, lost)
        return Meta(), parts

    def walk(self, top: str) -> Iterator[FileEntry]:
        """Yield all files below a folder, sorted by relative path; linked folders only once."""
        linked: set[str] = set()
        # A stack instead of recursion: folders may be nested deeper than Python can recurse.
        stack: list[FileEntry | _Folder] = [_Folder("", top, False)]
        while stack:
            item = stack.pop()
            if isinstance(item, FileEntry):
                yield item
                continue
            if item.is_link:
                target = os.path.realpath(item.path)
                if target in linked:
                    self.report(item.path, "links to a folder that is already read", "")
                    continue
                linked.add(target)
            files, folders = self.scan(item.path)
            entries = [FileEntry(item.name + self.name_of(e), e.path) for e in files]
            if not folders:
                yield from entries
                continue
            below = [
                _Folder(f"{item.name}{self.name_of(entry)}/", entry.path, entry.is_symlink())
                for entry in folders
            ]
            stack += sorted([*entries, *below], key=attrgetter("name"), reverse=True)

    def name_of(self, entry: os.DirEntry[str]) -> str:
        """Return the name of an entry as text; a name that is not UTF-8 is read as Latin-1."""
        name = entry.name
        if name.isascii():
            return name
        try:
            name.encode()
        except UnicodeEncodeError:
            self.note(entry.path, "has a name that is not UTF-8, and was read as Latin-1")
            return os.fsencode(name).decode("latin-1")
        return name

    def is_inside(self, path: str) -> bool:
        """Return whether a path, with links resolved, is below a folder that may be read."""
        return os.path.join(os.path.realpath(path), "").startswith(self._allowed)

    def has_folder(self, path: str) -> bool:
        """Return whether there is a folder that may be read; report anything else there."""
        try:
            mode = os.lstat(path).st_mode
        except (OSError, ValueError):  # ValueError: a null character in the path
            return False
        if stat.S_ISDIR(mode):
            return True
        if stat.S_ISLNK(mode):
            return self._may_follow(path) and os.path.isdir(path)
        self.report(path, "is not a folder", decoding.CONTENT)
        return False

    def _may_follow(self, path: str) -> bool:
        """Return whether a link may be followed; report why not."""
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            self.report(path, f"is a broken link: {decoding.os_reason(error)}", "its target")
            return False
        if not self.is_inside(path):
            self.report(path, "is a link to a target outside the store", "its target")
            return False
        if stat.S_ISDIR(mode):
            target = os.path.join(os.path.realpath(path), "")
            parent = os.path.join(os.path.realpath(os.path.dirname(path)), "")
            if parent.startswith(target):
                self.report(path, "is a link to a folder that contains it", "")
                return False
        return True

    def resolve_name(
        self, path: str, stated: str | None, folder: str, name: str, used: Container[str]
    ) -> str:
        """Return the name of something whose description states another name than its folder.

        The stated name counts if the folder was renamed, that is if no other folder has that name
        and ``used`` does not contain it. Otherwise the folder is a copy, and ``name`` counts.

        Args:
            path: Path of the description, for the report.
            stated: The name in the description.
            folder: Path of the folder.
            name: The folder's own name.
            used: Names that others already have.
        """
        if stated is None or stated == name:
            return name
        other = os.path.join(os.path.dirname(folder), stated)
        free = is_name(stated) and stated not in used and not os.path.lexists(other)
        chosen = stated if free else name
        reason = f"states the name {stated!r}, but its folder is {name}; read as {chosen}"
        self.report(path, reason, "")
        return chosen


class _QuietFiles(StoreFiles):
    def report(self, path: str, reason: str, lost: str, kind: str = "data") -> None:
        """Ignore a problem; notes end here, too."""


def is_name(text: str) -> bool:
    """Return whether text is a valid name of a folder, and not a path to another one."""
    return text not in ("", ".", "..") and len(text) < 256 and not _PATH_CHARACTERS.search(text)


def start_of(path: str, size: int) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _is_apple_double(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and start_of(entry.path, 4) == _APPLE_DOUBLE
