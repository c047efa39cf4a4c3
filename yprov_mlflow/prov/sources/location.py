"""What a location names: a tree, a database or a server."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.sources.source import Source

_PREFIX = "yprov+"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
"""Two letters at least: ``C:`` is a drive."""
_DATABASES = frozenset({"sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql"})
_SERVERS = frozenset({"http", "https", "databricks"})
_SQLITE = b"SQLite format 3\0"
_KNOWN = (
    "Give a folder of runs (mlruns), a database (a SQLite file, sqlite:///FILE, postgresql://…,"
    " mysql://…, mssql://…) or a tracking server (http://…, https://…, databricks)"
)


def open_source(location: str, *, artifacts: str | None = None, uri: str | None = None) -> Source:
    """Give the source that ``location`` names; whether it answers shows when it is asked.

    Args:
        location: A folder with an ``mlruns`` tree, a SQLite file, or a tracking URI of MLflow;
            ``file:`` and our own prefix ``yprov+`` are understood.
        artifacts: Folder in which artifacts are looked for, where the store's own URIs of them
            lead nowhere.
        uri: Where a tree really is, if ``location`` is a copy of it.

    Raises:
        StoreError: There is nothing there, or nothing that holds runs.
    """
    place = location.removeprefix(_PREFIX)
    found = _SCHEME.match(place)
    scheme = found[1].lower() if found and not os.path.exists(place) else ""
    family = scheme.partition("+")[0]
    if family in _DATABASES:
        from yprov_mlflow.prov.sources.sql import DatabaseSource

        return DatabaseSource(place, artifacts=artifacts)
    if family in _SERVERS or place == "databricks":
        from yprov_mlflow.prov.sources.rest import ServerSource

        return ServerSource(place, artifacts=artifacts)
    if scheme == "file":
        return _open_path(location, _path_of(place), artifacts, uri)
    if scheme:
        shown = ids.redact(location)
        raise StoreError(f"no store of runs is known by the scheme {scheme!r}", shown, _KNOWN)
    return _open_path(location, place, artifacts, uri)


def _path_of(uri: str) -> str:
    parts = urlsplit(uri)
    return unquote(parts.path or parts.netloc)


def _open_path(location: str, path: str, artifacts: str | None, uri: str | None) -> Source:
    if os.path.isdir(path):
        from yprov_mlflow.prov.sources.file_store import TreeSource

        return TreeSource(path, artifacts=artifacts, location=uri or location, uri=uri)
    if not os.path.exists(path):
        raise StoreError("there is nothing at this place", location, _KNOWN)
    try:
        with open(path, "rb") as file:
            start = file.read(len(_SQLITE))
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", location, _KNOWN) from error
    if start == _SQLITE:
        from yprov_mlflow.prov.sources.sql import DatabaseSource

        return DatabaseSource(path, artifacts=artifacts)
    raise StoreError("this file is no SQLite database", location, _KNOWN)
