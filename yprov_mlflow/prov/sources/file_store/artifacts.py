"""Artifacts: in the folder of their owner, or where their URI points to within the store."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.layout import OWN_ARTIFACT
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles

ARTIFACTS = "artifacts"
# Where "mlflow server" keeps artifacts, beside mlruns.
_SERVER_ARTIFACTS = "mlartifacts"
# Folders above a run's in its URI that are looked for in other locations.
_MAX_PARENTS = 16
_LONGEST_URI = 4_096
_DRIVE = re.compile(r"/?[A-Za-z]:[\\/]")
_LFS_FIELDS = re.compile(rb"^oid sha256:([0-9a-f]{64})$.*?^size ([0-9]{1,18})$", re.M | re.S)
_SMALL = 1 << 16
_CHUNK = 1 << 20


class ArtifactFolder(NamedTuple):
    """Where artifacts are; without a path, ``reason`` says why they are out of reach, if any."""

    path: str | None
    reason: str = ""


def find_artifacts(
    files: StoreFiles, owner: str, uri: str | None, bases: tuple[str, ...]
) -> ArtifactFolder:
    """Find the artifacts of a run, model or trace.

    Args:
        files: The store.
        owner: Folder of the run, model or trace; its subfolder ``artifacts`` has precedence.
        uri: Artifact URI in the store, perhaps of another machine.
        bases: Folders below which the end of the URI's path is looked for.
    """
    beside = os.path.join(owner, ARTIFACTS)
    if files.has_folder(beside):
        return ArtifactFolder(beside)
    if not uri:
        return ArtifactFolder(None)
    if len(uri) > _LONGEST_URI:
        return ArtifactFolder(None, "its artifact URI is too long")
    parts = _path_parts(uri)
    name = os.path.basename(owner)
    # Only folders named after their owner are read, so that a URI cannot point to other files.
    if name not in parts:
        return ArtifactFolder(None, f"its artifacts are elsewhere: {uri}")
    last = len(parts) - 1 - parts[::-1].index(name)
    for base in bases:
        for start in range(max(0, last - _MAX_PARENTS), last + 1):
            path = os.path.join(base, *parts[start:])
            if os.path.isdir(path) and files.is_inside(path):
                return ArtifactFolder(path)
    local = _is_local(uri)
    path = "/" + "/".join(parts)
    if local and parts[-2:] == [name, ARTIFACTS] and os.path.isdir(path):
        return ArtifactFolder(path)
    if local and parts[max(0, last - 1) : last] == [os.path.basename(os.path.dirname(owner))]:
        # They would be beside the owner: there are none, and version control omits empty folders.
        return ArtifactFolder(None)
    return ArtifactFolder(None, f"its artifacts are out of reach: {uri}")


def artifact_bases(root: str, artifacts: str | None) -> tuple[str, ...]:
    """Return the folders that may have artifacts of a store, in order of precedence."""
    server = os.path.join(os.path.dirname(root), _SERVER_ARTIFACTS)
    chosen = (artifacts,) if artifacts else ()
    return (*chosen, root, *((server,) if os.path.isdir(server) else ()))


def _path_parts(uri: str) -> list[str]:
    """Return the parts of the path of a URI, or of a path of any operating system."""
    if _DRIVE.match(uri) or ("://" not in uri and uri.startswith("\\\\")):
        return [part for part in re.split(r"[\\/]+", uri) if part]
    try:
        split = urlsplit(uri)
    except ValueError:
        return []
    path = unquote(split.path) if split.scheme else uri
    parts = [part for part in re.split(r"[\\/]+", path) if part and part != "."]
    # ".." leads out of the store; the parts after the last one may be in it.
    return parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts


def _is_local(uri: str) -> bool:
    scheme, colon, _ = uri.partition(":")
    return not colon or scheme == "file" or len(scheme) == 1 or "/" in scheme


def list_artifacts(files: StoreFiles, folder: str) -> Iterator[dict[str, Any]]:
    """Yield ``path``, ``size`` and ``sha256`` of all files in a folder, as events have them.

    Documents that capture has put there describe the run; they are not artifacts of it.
    """
    for name, path in files.walk(folder):
        if not OWN_ARTIFACT.match(name):
            yield {"path": name, **_describe(files, path)}


def _describe(files: StoreFiles, path: str) -> dict[str, Any]:
    try:
        descriptor = files.open(path)
        try:
            data = os.read(descriptor, _SMALL)
            if len(data) < _SMALL:
                return _describe_small(files, path, data)
            digest, size = hashlib.sha256(data), len(data)
            while data := os.read(descriptor, _CHUNK):
                digest.update(data)
                size += len(data)
            return {"size": size, "sha256": digest.hexdigest()}
        finally:
            os.close(descriptor)
    except OSError as error:
        files.report(path, f"cannot be read: {decoding.os_reason(error)}", "its hash")
        try:
            return {"size": os.stat(path).st_size, "sha256": None}
        except OSError:
            return {"size": None, "sha256": None}


def _describe_small(files: StoreFiles, path: str, data: bytes) -> dict[str, Any]:
    if data.startswith(decoding.LFS) and (match := _LFS_FIELDS.search(data)):
        # The pointer has size and hash of the file that the run logged.
        files.note(path, f"{decoding.IS_LFS_POINTER}; size and hash are those in the pointer")
        return {"size": int(match[2]), "sha256": match[1].decode()}
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
