"""Object stores as source and output: mirrored in local folders, through fsspec.

A source is copied completely before it is converted. The output is written to a local folder that
is kept, so that a conversion can resume; new and changed files are then uploaded.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import MissingExtraError, OutputError, StoreError, UsageError
from yprov_mlflow.prov.layout import CONVERSION, STAGING, private_folder
from yprov_mlflow.prov.redaction import redact

_URL = re.compile(r"([a-z][a-z0-9+]+)://", re.IGNORECASE)
_TRACKING_URI = re.compile(
    r"(file|yprov|https?|databricks|uc|sqlite|postgres(ql)?|mysql|mariadb|mssql"
    r"|oracle|db2|ibm_db_sa|redshift|cockroachdb|snowflake|bigquery|duckdb|clickhouse)\b"
)
"""Schemes of tracking URIs and of databases, also of those that MLflow lacks: not of files."""

_UPLOADED = "uploaded.json"


def is_remote(location: str) -> bool:
    """Return whether a location is a URL of an object store, such as ``s3://bucket/mlruns``."""
    return bool(_URL.match(location)) and not _TRACKING_URI.match(location.lower())


@contextmanager
def local_source(location: str) -> Iterator[str]:
    """Yield a local location: that of a temporary copy if ``location`` is remote.

    Raises:
        MissingExtraError: fsspec, or the library for this kind of URL, is not installed.
        StoreError: The URL cannot be read.
        UsageError: The kind of URL is unknown.
    """
    if not is_remote(location):  # MLflow's own URIs and local paths
        yield location
        return
    files, path = _file_system(location)
    with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
        copy = Path(folder) / (path.rstrip("/").rpartition("/")[2] or "mlruns")
        try:
            files.get(path.rstrip("/"), str(copy), recursive=True)
        except Exception as error:  # each kind of object store has its own errors
            raise StoreError.unreadable(redact(location), _reason(error)) from error
        yield str(copy)


class RemoteOutput:
    """A remote output folder, mirrored by a local ``folder``.

    Args:
        url: URL of the remote folder.
        directory: State folder; the name of the local folder in it is derived from the URL.
        source: Location of the store, into which nothing may be written.

    Raises:
        MissingExtraError: fsspec, or the library for this kind of URL, is not installed.
        UsageError: The kind of URL is unknown, or it is inside ``source``.
    """

    def __init__(self, url: str, directory: Path, source: str) -> None:
        if f"{url.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
            raise UsageError.into_store(redact(url))
        self._url = redact(url)
        self._files, self._root = _file_system(url)
        name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
        self.folder = directory / STAGING / name
        with suppress(OSError):  # reported when the output is written
            private_folder(self.folder, directory)

    def upload(self) -> int:
        """Upload new and changed files; return their number.

        Raises:
            OutputError: The URL cannot be written.
        """
        record = self.folder / CONVERSION / _UPLOADED
        try:
            digests: dict[str, str] = json.loads(record.read_text())
        except (OSError, ValueError):
            digests = {}
        before = dict(digests)
        # Saved even after an error: files that are uploaded need not be uploaded again.
        try:
            for path in sorted(self.folder.rglob("*")):
                name = path.relative_to(self.folder).as_posix()
                if not path.is_file() or name.startswith(f"{CONVERSION}/"):
                    continue
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digests.get(name) != digest:
                    self._put(path, f"{self._root.rstrip('/')}/{name}")
                    digests[name] = digest
        finally:
            if digests != before:
                record.write_text(json.dumps(digests))
        return sum(before.get(name) != digest for name, digest in digests.items())

    def _put(self, path: Path, target: str) -> None:
        try:
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(path), target)
        except Exception as error:  # each kind of object store has its own errors
            raise OutputError.not_uploaded(self._url, _reason(error)) from error


def _file_system(url: str) -> tuple[Any, str]:
    shown = redact(url)
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError.of("fsspec", "object-store", shown) from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # its message names the library for this kind of URL
        raise MissingExtraError("a library is not installed", shown, _reason(error)) from error
    except ValueError as error:
        cure = "Give a folder, or a URL that the library fsspec supports, such as s3://BUCKET/DIR"
        raise UsageError(f"cannot open the URL: {_reason(error)}", shown, cure) from error
    return files, path


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
