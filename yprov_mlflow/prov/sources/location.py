"""Which kind of store a location refers to: a file store, a database or a server."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError, StoreError
from yprov_mlflow.prov.formats.file_formats import HEAD, detect_format, documents_below
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sources.document_source import DocumentSource
from yprov_mlflow.prov.sources.plugin_sources import open_plugin
from yprov_mlflow.prov.sources.source import Source
from yprov_mlflow.prov.sources.yprov4ml import YProv4MLSource
from yprov_mlflow.prov.sources.yprov4ml.run_folders import find_runs, run_of_document
from yprov_mlflow.prov.uris import strip_prefix

# At least two letters: C: is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_DATABASES = frozenset({"sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql"})
_SERVERS = frozenset({"http", "https", "databricks"})
_SQLITE_HEADER = b"SQLite format 3\0"
_SCHEMES_OF_THINGS = frozenset({"run", "runs", "models", "prompts"})
_CURE = (
    "Give a folder of runs (mlruns), a database (a SQLite file, sqlite:///FILE, postgresql://…,"
    " mysql://…, mssql://…), a tracking server (http://…, https://…, databricks) or documents"
)


def is_store_uri(location: str) -> bool:
    """Return whether a location has the form of a URI of a store, rather than of a name."""
    target = strip_prefix(location)
    match = _SCHEME.match(target)
    return target == "databricks" or bool(match and match[1].lower() not in _SCHEMES_OF_THINGS)


def open_source(location: str, *, artifacts: str | None = None, uri: str | None = None) -> Source:
    """Return the source at ``location``; databases and servers are contacted on first use.

    Args:
        location: A folder with an ``mlruns`` tree, a SQLite file, or a tracking URI of MLflow,
            with or without the prefix ``yprov+``; else a store that a plugin recognizes.
        artifacts: Folder to search for artifacts whose URIs in the store are not valid here.
        uri: The original location of a file store or of documents, if ``location`` is a copy.

    Raises:
        StoreError: Nothing exists there, or it is not a store of runs.
        MissingExtraError: A library for databases is not installed.
    """
    try:
        return _open_own(location, artifacts, uri)
    except StoreError:
        source = open_plugin(strip_prefix(location))
        if source is None:
            raise
        return source


def _open_own(location: str, artifacts: str | None, uri: str | None) -> Source:
    target = strip_prefix(location)
    match = _SCHEME.match(target)
    # A path may look like a URI: "runs:2019" is a valid file name.
    scheme = match[1].lower() if match and not os.path.exists(target) else ""
    dialect = scheme.partition("+")[0]
    if dialect in _DATABASES:
        return _open_database(target, artifacts)
    # The readers are imported on demand: each needs libraries that the others do not.
    if dialect in _SERVERS or target == "databricks":
        from yprov_mlflow.prov.sources.rest import ServerSource

        return ServerSource(target, artifacts=artifacts)
    if scheme == "file":
        parts = urlsplit(target)
        target = unquote(parts.path or parts.netloc)
    elif scheme:
        raise StoreError(f"the scheme {scheme!r} is not supported", redact(location), _CURE)
    return _open_path(location, target, artifacts, uri)


def _open_database(location: str, artifacts: str | None) -> Source:
    if importlib.util.find_spec("sqlalchemy") is None:
        raise MissingExtraError.of("SQLAlchemy", "sql", "Reading MLflow databases")
    from yprov_mlflow.prov.sources.sql import DatabaseSource

    return DatabaseSource(location, artifacts=artifacts)


def _open_path(location: str, path: str, artifacts: str | None, uri: str | None) -> Source:
    if os.path.isdir(path):
        from yprov_mlflow.prov.sources.file_store import FileStoreSource

        try:
            return FileStoreSource(path, artifacts=artifacts, location=uri or location, uri=uri)
        except StoreError:
            if next(documents_below(Path(path)), None) is not None:
                return DocumentSource(path, uri or location)
            if next(find_runs(Path(path)), None) is None:
                raise
            return YProv4MLSource(path, uri or location)
    if not os.path.exists(path):
        raise StoreError("no such file or folder", location, _CURE)
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", location, _CURE) from error
    if head.startswith(_SQLITE_HEADER):
        return _open_database(path, artifacts)
    try:
        detect_format(os.path.splitext(path)[1], head)
    except DocumentError as error:
        reason = "this file is neither a SQLite database nor a document"
        raise StoreError(reason, location, _CURE) from error
    if run_of_document(Path(path).absolute()) is not None:
        return YProv4MLSource(path, uri or location)
    return DocumentSource(path, uri or location)
