"""What this process would capture, for ``yprov-mlflow doctor``. No store is opened."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.switch import VARIABLE, switch
from yprov_mlflow.prov.drivers import with_driver
from yprov_mlflow.prov.errors import MissingExtraError, first_line
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.uris import (
    PREFIX,
    SCHEME,
    has_prefix,
    is_offline,
    offline_folder,
    strip_prefix,
)

_GROUPS = ("mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository")
_SQL = ("sqlite", "postgresql", "mysql", "mssql")
_TRACKING_URI = "MLFLOW_TRACKING_URI"
_ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
_KINDS = "sqlite:///mlflow.db, another database, http://…, databricks or a folder"
_FIRST_WITHOUT_FILES = (3, 13)  # first MLflow that refuses file stores by default


class Tracking(NamedTuple):
    """A tracking URI and what becomes of it, without passwords."""

    uri: str
    inner: str  # the URI that MLflow opens
    origin: str  # "argument", "environment MLFLOW_TRACKING_URI" or "MLflow's default"
    captured: bool
    why: str  # why it is captured or not
    obstacles: tuple[str, ...]  # reasons why MLflow cannot open it here


def tracking(uri: str | None = None) -> Tracking:
    """Return what becomes of ``uri``, by default of the URI that MLflow would use."""
    import mlflow  # reported by doctor if it cannot be imported

    origin = "argument"
    if uri is None:
        uri, origin = os.environ.get(_TRACKING_URI), f"environment {_TRACKING_URI}"
    if not uri:
        uri, origin = str(mlflow.get_tracking_uri()), "MLflow's default"
    inner = strip_prefix(uri)
    if switch.everything:
        why = f"{VARIABLE} is set, so every run is captured"
    elif has_prefix(uri):
        why = f"the URI begins with {PREFIX}"
    else:
        why = (
            f"the URI does not begin with {PREFIX} and {VARIABLE} is not set; "
            "only scripts with `import yprov_mlflow as mlflow` are captured"
        )
    captured = switch.everything or has_prefix(uri)
    return Tracking(
        redact(uri), redact(inner), origin, captured, why, _obstacles(uri, mlflow.version.VERSION)
    )


def missing_entry_points() -> list[str]:
    """Return MLflow's plugin groups in which this package is not registered."""
    return [group for group in _GROUPS if not entry_points(group=group, name=SCHEME)]


def is_sql(uri: str) -> bool:
    """Return whether a store is a database."""
    return _scheme(uri) in _SQL


def needs_full_mlflow(uri: str) -> bool:
    """Return whether a store is SQL and only mlflow-skinny, without SQLAlchemy, is installed.

    MLflow's own error would be about model registries.
    """
    kinds = (*_SQL, SCHEME)  # an offline store shows its runs by MLflow's SQL store
    return _scheme(uri) in kinds and importlib.util.find_spec("sqlalchemy") is None


def require_full_mlflow(uri: str) -> None:
    """Refuse a store that mlflow-skinny cannot open.

    Raises:
        MissingExtraError: The store needs SQLAlchemy, which is not installed.
    """
    if needs_full_mlflow(uri):
        kind = "offline" if is_offline(uri) else "SQL"
        raise MissingExtraError(
            f"{kind} stores need the whole of MLflow, not mlflow-skinny",
            redact(uri),
            "Install it with: pip install mlflow",
        )


def is_missing(uri: str) -> bool:
    """Return whether a store is a file or folder that is not there, and MLflow would create it."""
    path = local_path(uri)
    if path is None:
        return False
    # MLflow makes its tables in an empty file.
    return not (_has_content(path) if _scheme(uri) == "sqlite" else path.is_dir())


def local_path(uri: str) -> Path | None:
    """Return the database file or folder of a store; None for those in memory or elsewhere."""
    if _scheme(uri) == "sqlite":
        path = uri.partition(":///")[2].partition("?")[0]
        return None if not path or path.startswith((":memory:", "file:")) else Path(path)
    if is_offline(uri):
        return Path(offline_folder(uri))
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    return Path(uri) if "://" not in uri and uri != "databricks" else None


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0] if ":" in uri else ""


def _obstacles(uri: str, version: str) -> tuple[str, ...]:
    inner = strip_prefix(uri)
    scheme = _scheme(inner)
    if needs_full_mlflow(inner):
        return ("this store needs the whole of MLflow, not mlflow-skinny: pip install mlflow",)
    if scheme == SCHEME:
        return _offline_obstacles(inner)
    if not mlflow_private.has_store_type(inner):
        return (f"MLflow has no tracking store for {scheme}: URIs; use {_KINDS}",)
    if scheme in ("", "file") and inner != "databricks" and not _file_stores_allowed(version):
        return (f"this MLflow refuses file stores unless {_ALLOW_FILES}=true is set",)
    reason = _sql_obstacle(uri) if scheme in _SQL else _address_obstacle(inner)
    reason = reason or _path_obstacle(inner)
    return (reason,) if reason else ()


def _offline_obstacles(uri: str) -> tuple[str, ...]:
    """Return why the folder of an offline store cannot be used."""
    try:
        reason = _path_obstacle(uri)
    except ValueError as error:
        reason = str(error)
    return (reason,) if reason else ()


def _sql_obstacle(uri: str) -> str | None:
    """Return why SQLAlchemy cannot use a database's URI here."""
    from sqlalchemy.engine import make_url  # mlflow-skinny has no SQLAlchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # Capture chooses a driver; plain MLflow leaves that to SQLAlchemy.
        url = make_url(with_driver(strip_prefix(uri)) if has_prefix(uri) else uri)
        dialect: Any = url.get_dialect()
        (getattr(dialect, "import_dbapi", None) or dialect.dbapi)()  # the latter before 2.0
    except ImportError as error:
        return f"the driver of this database is not installed ({first_line(error)})"
    except (SQLAlchemyError, ValueError) as error:
        return first_line(error)
    if url.get_backend_name() == "sqlite" and url.host:
        return (
            "a path of SQLite comes after three slashes: sqlite:///mlflow.db, and an absolute one "
            "after four: sqlite:////home/me/mlflow.db"
        )
    return None


def _address_obstacle(uri: str) -> str | None:
    """Return why the address of a server is not one."""
    try:
        parts = urlsplit(uri)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # the port is not a number
        return str(error)
    is_server = parts.scheme in ("http", "https")
    return "the address lacks the name of a host" if is_server and not has_host else None


def _path_obstacle(uri: str) -> str | None:
    """Return why MLflow could not write the file or folder of a local store."""
    path = local_path(uri)
    if path is None:
        return None
    # Unlike ``Path.exists``, this does not raise in a folder that must not be entered.
    if os.path.exists(path) and path.is_dir() == (_scheme(uri) == "sqlite"):
        return f"{path} is a {'folder' if path.is_dir() else 'file'}"
    parent = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
    return None if os.access(parent, os.W_OK) else f"{parent} is not writable"


def _file_stores_allowed(version: str) -> bool:
    release = tuple(int(part) for part in version.split(".")[:2])
    allowed = os.environ.get(_ALLOW_FILES, "").lower() in ("1", "true")
    return release < _FIRST_WITHOUT_FILES or allowed
