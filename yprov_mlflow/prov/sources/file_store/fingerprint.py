"""Fingerprints: what changes when any file of a run changes, without reading one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable


def fingerprint(paths: Iterable[str], root: str) -> str:
    """Give a digest over path, size and time of change of all files below these paths.

    Folders count with their names; links with what they are, and not what they lead to.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        lines: list[str] = []
        _add(path, path.removeprefix(root), lines)
        digest.update("\n".join(lines).encode("utf-8", "surrogateescape"))
        digest.update(b"\0")
    return digest.hexdigest()


def _add(top: str, place: str, lines: list[str]) -> None:
    waiting = [(top, place)]
    while waiting:
        path, place = waiting.pop()
        lines.append(place)
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=_name)
        except NotADirectoryError:
            lines.append(_line(place, os.lstat(path)))
            continue
        except OSError:
            continue
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, f"{place}/{entry.name}"))
                continue
            try:
                lines.append(_line(entry.name, entry.stat(follow_symlinks=False)))
            except OSError:
                continue


def _line(name: str, status: os.stat_result) -> str:
    return f"{name}\0{status.st_size}\0{status.st_mtime_ns}"


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
