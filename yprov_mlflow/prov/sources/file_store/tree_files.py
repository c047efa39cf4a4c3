"""Files of one tree: read within bounds, never out of the tree, each fault told once."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Container, Iterator, Set
from functools import cached_property
from typing import NamedTuple

from yprov_mlflow.prov.sources.source import Problem

LARGEST_VALUE = 16 << 20
"""Bytes of the largest file that is one value (a param, a tag) or one description."""

LFS = b"version https://git-lfs.github.com/spec/"
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Non-blocking: what looks like a file and is a pipe must not hold us up."""
_NO_LINK = _FLAGS | getattr(os, "O_NOFOLLOW", 0)

_JUNK = frozenset(
    ".DS_Store Thumbs.db desktop.ini .ipynb_checkpoints .git .gitignore .gitkeep .gitattributes"
    " .keep .amlignore .amlignore.amltmp __pycache__ .idea .vscode .dvc .dvcignore".split()
)
"""What file managers, editors and version control leave in any folder: never MLflow's."""
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
"""Start of the files ``._name`` that macOS puts beside those it copies."""

STRAY = "is no file of MLflow's"
_SHOWN = 60
_LONGEST = 300
_WAY = re.compile(r"[/\\\0\ud800-\udfff]")


class Node(NamedTuple):
    """A plain file below some folder, by its path from there with ``/``."""

    name: str
    path: str


class _Folder(NamedTuple):
    """A folder that is still to be walked; its name ends in a slash."""

    name: str
    path: str
    is_link: bool


class Files:
    """Reads files and folders below ``root``; what it cannot read becomes a problem.

    Links are followed while they stay below ``root`` (or a folder in ``also``) and lead into no
    loop.
    """

    def __init__(self, root: str, *also: str) -> None:
        self.root = root
        self._also = also
        self._problems: dict[Problem, None] = {}
        self._bounds = tuple(os.path.join(os.path.realpath(one), "") for one in (root, *also))
        self._notes: dict[str, tuple[str, int]] = {}

    @cached_property
    def quiet(self) -> Files:
        """The same files, read without telling problems: for what someone else tells of."""
        return _QuietFiles(self.root, *self._also)

    # -- problems ----------------------------------------------------------------------

    def report(self, place: str, reason: str, lost: str) -> None:
        """Tell a problem with ``place``, the path of a file or folder."""
        told = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        self._problems[Problem(shown(place), shown(told), lost)] = None

    def note(self, place: str, reason: str) -> None:
        """Tell of a fault that costs nothing; the same one of many files is told once."""
        first, count = self._notes.get(reason, (place, 0))
        self._notes[reason] = (first, count + 1)

    def settle(self) -> None:
        """Make problems of the notes taken so far."""
        for reason, (place, count) in self._notes.items():
            more = f" (so are {count - 1} more files here)" if count > 1 else ""
            self.report(place, reason + more, "")
        self._notes.clear()

    def problems(self) -> list[Problem]:
        """Give each problem since the last call once, and forget them."""
        self.settle()
        found = list(self._problems)
        self._problems.clear()
        return found

    # -- reading -----------------------------------------------------------------------

    def open(self, path: str) -> int:
        """Open a file below the root for reading; give its descriptor.

        Raises:
            OSError: It cannot be opened, or is a link that leads out of the tree.
        """
        try:
            return os.open(path, _NO_LINK)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        if not self.inside(path):
            raise OSError(errno.ELOOP, "it is a link that leads out of the tree", path)
        return os.open(path, _FLAGS)

    def read(self, path: str, most: int = LARGEST_VALUE) -> bytes | None:
        """Give a file's bytes; None, and a problem, if it cannot be had or has too many."""
        try:
            descriptor = self.open(path)
            try:
                data = os.read(descriptor, 65536)
                if len(data) < 65536:
                    return data
                return self._rest(path, descriptor, data, most)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.report(path, f"cannot be read: {reason_of(error)}", "all that is in it")
            return None

    def _rest(self, path: str, descriptor: int, data: bytes, most: int) -> bytes | None:
        parts, size = [data], len(data)
        while size <= most:
            data = os.read(descriptor, min(1 << 20, most + 1 - size))
            if not data:
                return b"".join(parts)
            parts.append(data)
            size += len(data)
        self.report(path, f"has more than {most} bytes", "all that is in it")
        return None

    def text(self, path: str) -> str | None:
        """Give a file that is one value, to the byte; None and a problem if it cannot be had.

        What is no UTF-8 is read as Latin-1, in which each byte is a character: nothing is lost,
        and a problem says so.
        """
        data = self.read(path)
        if data is None:
            return None
        if data.startswith(LFS):
            self.report(path, "a git-lfs pointer stands for the file", "its value")
            return None
        if data.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in data:
            self.note(path, "has merge-conflict markers, which are kept in the value")
        try:
            value = data.decode()
        except UnicodeDecodeError:
            return self.foreign(path, data)
        if value.startswith("\ufeff"):
            self.note(path, "starts with a byte order mark, which is kept in the value")
        return value

    def foreign(self, path: str, data: bytes) -> str:
        """Decode what is no UTF-8: as UTF-16 if it says so, else as Latin-1."""
        if data.startswith((b"\xff\xfe", b"\xfe\xff")) and len(data) % 2 == 0:
            try:
                value = data.decode("utf-16")
            except UnicodeDecodeError:
                pass
            else:
                self.note(path, "is UTF-16 and not UTF-8, and was read as that")
                return value
        self.note(path, "is not UTF-8, and was read as Latin-1")
        return data.decode("latin-1")

    # -- folders -----------------------------------------------------------------------

    def scan(self, path: str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        """Give the plain files and the folders in a folder, by name; without junk."""
        files: list[os.DirEntry[str]] = []
        folders: list[os.DirEntry[str]] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name in _JUNK or (entry.name[:2] == "._" and _is_apples(entry)):
                        continue
                    if entry.is_symlink() and not self._may_follow(entry.path):
                        continue
                    if entry.is_dir():
                        folders.append(entry)
                    elif entry.is_file():
                        files.append(entry)
                    else:
                        self.report(entry.path, "is neither a file nor a folder", "all of it")
        except OSError as error:
            self.report(path, f"cannot be listed: {reason_of(error)}", "all that is in it")
        files.sort(key=_name)
        folders.sort(key=_name)
        return files, folders

    def folders(self, path: str) -> list[os.DirEntry[str]]:
        """Give the folders in a folder that has nothing else, if it is there; tell of strays."""
        if not self.has_folder(path):
            return []
        strays, found = self.scan(path)
        for stray in strays:
            self.report(stray.path, STRAY, "the file")
        return found

    def can_list(self, folder: str) -> bool:
        """Tell whether a folder can be listed; a problem says why not."""
        try:
            os.scandir(folder).close()
        except OSError as error:
            self.report(folder, f"cannot be listed: {reason_of(error)}", "all that is in it")
            return False
        return True

    def parts(self, folder: str, described_in: str, known: Set[str]) -> dict[str, str]:
        """Give the paths of the known folders, and the description, in a folder; tell of others."""
        strays, folders = self.scan(folder)
        found = {}
        for stray in strays:
            if stray.name == described_in:
                found[stray.name] = stray.path
            else:
                self.report(stray.path, STRAY, "the file")
        for entry in folders:
            if entry.name in known:
                found[entry.name] = entry.path
            else:
                self.report(entry.path, "is no folder of MLflow's", "what is in it")
        return found

    def walk(self, top: str) -> Iterator[Node]:
        """Give all plain files below a folder in the order of their names; a link's once."""
        linked: set[str] = set()
        waiting: list[Node | _Folder] = [_Folder("", top, False)]
        while waiting:
            one = waiting.pop()
            if isinstance(one, Node):
                yield one
                continue
            if one.is_link:
                real = os.path.realpath(one.path)
                if real in linked:
                    self.report(one.path, "links to what was read already", "")
                    continue
                linked.add(real)
            files, folders = self.scan(one.path)
            nodes = [Node(one.name + self.key(entry), entry.path) for entry in files]
            if not folders:
                yield from nodes
                continue
            waiting += nodes
            start = len(waiting) - len(nodes)
            for entry in folders:
                name = f"{one.name}{self.key(entry)}/"
                waiting.append(_Folder(name, entry.path, entry.is_symlink()))
            waiting[start:] = sorted(waiting[start:], key=_name_of, reverse=True)

    def key(self, entry: os.DirEntry[str]) -> str:
        """Give the name of an entry as text: what is no UTF-8 is read as Latin-1."""
        name = entry.name
        if name.isascii():
            return name
        try:
            name.encode()
        except UnicodeEncodeError:
            self.note(entry.path, "has a name that is not UTF-8, and was read as Latin-1")
            return os.fsencode(name).decode("latin-1")
        return name

    def inside(self, path: str) -> bool:
        """Tell whether a path is below a folder that may be read, links resolved."""
        real = os.path.join(os.path.realpath(path), "")
        return real.startswith(self._bounds)

    def has_folder(self, path: str) -> bool:
        """Tell whether there is a folder that may be read; what is no folder is a problem."""
        try:
            mode = os.lstat(path).st_mode
        except (OSError, ValueError):
            return False
        if stat.S_ISDIR(mode):
            return True
        if stat.S_ISLNK(mode):
            return self._may_follow(path) and os.path.isdir(path)
        self.report(path, "is not a folder", "all that should be in it")
        return False

    def _may_follow(self, path: str) -> bool:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            reason = f"is a link that leads nowhere: {reason_of(error)}"
            self.report(path, reason, "what it links to")
            return False
        if not self.inside(path):
            self.report(path, "is a link that leads out of the tree", "what it links to")
            return False
        if stat.S_ISDIR(mode):
            real = os.path.join(os.path.realpath(path), "")
            here = os.path.join(os.path.realpath(os.path.dirname(path)), "")
            if here.startswith(real):
                self.report(path, "is a link to a folder that it is in", "")
                return False
        return True


class _QuietFiles(Files):
    def report(self, place: str, reason: str, lost: str) -> None:
        """Tell nobody."""

    def note(self, place: str, reason: str) -> None:
        """Tell nobody."""


def _name_of(one: Node | _Folder) -> str:
    return one.name


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_apples(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False
    try:
        with open(entry.path, "rb") as file:
            return file.read(4) == _APPLE_DOUBLE
    except OSError:
        return False


def reason_of(error: OSError) -> str:
    """Give the system's words for an error."""
    return error.strerror or type(error).__name__


def shown(text: str) -> str:
    """Give text so that every encoding can carry it: lone surrogates as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_name(text: str) -> bool:
    """Tell whether text can be the name of one folder, and not the way to another."""
    return text not in ("", ".", "..") and len(text) < 256 and not _WAY.search(text)


def is_free(name: str, folder: str, taken: Container[str]) -> bool:
    """Tell whether what says that this is its name may have it: its folder was renamed.

    If there is a folder of that name, or another took it already, it was copied.
    """
    return is_name(name) and name not in taken and not os.path.lexists(os.path.join(folder, name))


def excerpt(data: bytes | str) -> str:
    """Give the start of something odd, to be shown in a problem."""
    start = data[:_SHOWN]
    text = start if isinstance(start, str) else start.decode("utf-8", "backslashreplace")
    return ascii(text) + ("..." if len(data) > _SHOWN else "")
