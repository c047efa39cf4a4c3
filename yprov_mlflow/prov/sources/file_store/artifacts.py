"""Artifacts: found beside what they belong to, or where their URI leads in the trees at hand."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.ids import OF_CAPTURE
from yprov_mlflow.prov.sources.file_store.meta import LONGEST_URI, without_password
from yprov_mlflow.prov.sources.file_store.tree_files import LFS, Files, reason_of

ARTIFACTS = "artifacts"
_SERVED = "mlartifacts"
"""Where ``mlflow server`` keeps artifacts, beside ``mlruns``."""

_DEEPEST = 16
"""Folders above a run's that are looked for in other places."""

_DRIVE = re.compile(r"/?[A-Za-z]:[\\/]")
_LFS_NAMES = re.compile(rb"^oid sha256:([0-9a-f]{64})$.*?^size ([0-9]{1,18})$", re.M | re.S)
_SMALL = 1 << 16
_CHUNK = 1 << 20


class Place(NamedTuple):
    """Where artifacts are; ``path`` is None where they are not to be had, and ``fault`` why."""

    path: str | None
    fault: str = ""


def find_artifacts(files: Files, owner: str, uri: str | None, bases: tuple[str, ...]) -> Place:
    """Find the artifacts of a run, model or trace.

    Args:
        files: The tree.
        owner: Its folder; what lies in ``artifacts`` there comes first.
        uri: Where the store says that they are, perhaps on another machine.
        bases: Folders below which the end of the URI's path is looked for.
    """
    beside = os.path.join(owner, ARTIFACTS)
    if files.has_folder(beside):
        return Place(beside)
    if not uri:
        return Place(None)
    if len(uri) > LONGEST_URI:
        return Place(None, "its artifact URI is longer than any is")
    parts = _path_of(uri)
    named = os.path.basename(owner)
    if named not in parts:
        return Place(None, f"its artifacts are elsewhere: {without_password(uri)}")
    last = len(parts) - 1 - parts[::-1].index(named)
    for base in bases:
        for start in range(max(0, last - _DEEPEST), last + 1):
            found = os.path.join(base, *parts[start:])
            if os.path.isdir(found) and files.inside(found):
                return Place(found)
    local = _is_local(uri)
    there = "/" + "/".join(parts)
    if local and parts[-2:] == [named, ARTIFACTS] and os.path.isdir(there):
        return Place(there)
    if local and parts[max(0, last - 1) : last] == [os.path.basename(os.path.dirname(owner))]:
        # They would be beside: there are none, or version control left out an empty folder.
        return Place(None)
    return Place(None, f"its artifacts are not within reach: {without_password(uri)}")


def bases_of(root: str, artifacts: str | None) -> tuple[str, ...]:
    """Give the folders in which artifacts of a tree may be, the likeliest first."""
    beside = os.path.join(os.path.dirname(root), _SERVED)
    given = (artifacts,) if artifacts else ()
    return (*given, root, *((beside,) if os.path.isdir(beside) else ()))


def _path_of(uri: str) -> list[str]:
    """Give the path of a URI, or of a path of any system, in its parts."""
    if _DRIVE.match(uri) or ("://" not in uri and uri.startswith("\\\\")):
        return [part for part in re.split(r"[\\/]+", uri) if part]
    try:
        split = urlsplit(uri)
    except ValueError:
        return []
    path = unquote(split.path) if split.scheme else uri
    parts = [part for part in re.split(r"[\\/]+", path) if part and part != "."]
    # Upwards leads out of the tree; what comes after may be in it.
    return parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts


def _is_local(uri: str) -> bool:
    scheme, colon, _ = uri.partition(":")
    return not colon or scheme == "file" or len(scheme) == 1 or "/" in scheme


def list_artifacts(files: Files, folder: str) -> Iterator[dict[str, Any]]:
    """Give path, size and sha256 of all files in a folder, as events have them.

    What earlier capture put there is about the run and not of it: it is left out.
    """
    for node in files.walk(folder):
        if not OF_CAPTURE.match(node.name):
            yield {"path": node.name, **_content(files, node.path)}


def _content(files: Files, path: str) -> dict[str, Any]:
    try:
        descriptor = files.open(path)
        try:
            data = os.read(descriptor, _SMALL)
            if len(data) < _SMALL:
                return _small(files, path, data)
            digest, size = hashlib.sha256(data), len(data)
            while data := os.read(descriptor, _CHUNK):
                digest.update(data)
                size += len(data)
            return {"size": size, "sha256": digest.hexdigest()}
        finally:
            os.close(descriptor)
    except OSError as error:
        files.report(path, f"cannot be read: {reason_of(error)}", "its hash")
        try:
            return {"size": os.stat(path).st_size, "sha256": None}
        except OSError:
            return {"size": None, "sha256": None}


def _small(files: Files, path: str, data: bytes) -> dict[str, Any]:
    if data.startswith(LFS) and (found := _LFS_NAMES.search(data)):
        reason = "a git-lfs pointer stands for the file; size and hash are those it names"
        files.note(path, reason)
        return {"size": int(found[2]), "sha256": found[1].decode()}
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
