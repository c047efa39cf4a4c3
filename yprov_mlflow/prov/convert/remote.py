"""Object stores as source and output: mirrored to local folders, through fsspec.

A source is copied whole before it is converted. The output is written to a folder on this
machine that stays, so that a conversion can go on where it stopped; what is new or different in
it is then uploaded.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.convert.output import FOLDER
from yprov_mlflow.prov.errors import MissingExtraError, OutputError, StoreError, UsageError
from yprov_mlflow.prov.ids import redact

_URL = re.compile(r"([a-z][a-z0-9+]+)://", re.IGNORECASE)
_OTHERS = re.compile(r"(file|yprov|https?|databricks|sqlite|postgres(ql)?|mysql|mariadb|mssql)\b")
"""Schemes of tracking URIs, which are no files in an object store."""

_UPLOADED = "uploaded.json"


def is_remote(location: str) -> bool:
    """Tell whether a location is a URL of files elsewhere, such as ``s3://bucket/mlruns``."""
    return bool(_URL.match(location)) and not _OTHERS.match(location.lower())


@contextmanager
def local_source(location: str) -> Iterator[str]:
    """Give a location that is here: a copy, for the time being, of one that is not.

    Raises:
        MissingExtraError: fsspec, or what it needs for this kind of URL, is not installed.
        StoreError: The URL cannot be read.
        UsageError: There is no such kind of URL.
    """
    if not is_remote(location):
        yield location
        return
    files, path = _files(location)
    with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
        copy = Path(folder) / (path.rstrip("/").rpartition("/")[2] or "mlruns")
        try:
            files.get(path.rstrip("/"), str(copy), recursive=True)
        except Exception as error:  # each kind of store has its own errors
            raise StoreError.unreadable(redact(location), _reason(error)) from error
        yield str(copy)


class RemoteOutput:
    """A folder elsewhere, by its URL, with the folder here that it mirrors."""

    def __init__(self, url: str, staging: Path, source: str) -> None:
        """Name both; ``staging`` gets a folder for this URL.

        Raises:
            MissingExtraError: fsspec, or what it needs for this kind of URL, is not installed.
            UsageError: There is no such kind of URL, or it is in that of ``source``.
        """
        if f"{url.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
            raise UsageError.into_store(redact(url))
        self._url = redact(url)
        self._files, self._root = _files(url)
        name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
        self.folder = staging / name

    def upload(self) -> int:
        """Upload what is new or changed; gives the number of files.

        Raises:
            OutputError: The URL cannot be written.
        """
        record = self.folder / FOLDER / _UPLOADED
        try:
            known: dict[str, str] = json.loads(record.read_text())
        except (OSError, ValueError):
            known = {}
        before = dict(known)
        try:
            for path in sorted(self.folder.rglob("*")):
                place = path.relative_to(self.folder).as_posix()
                if not path.is_file() or place.startswith(f"{FOLDER}/"):
                    continue
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if known.get(place) != digest:
                    self._put(path, f"{self._root.rstrip('/')}/{place}")
                    known[place] = digest
        finally:
            if known != before:
                record.write_text(json.dumps(known))
        return sum(before.get(place) != digest for place, digest in known.items())

    def _put(self, path: Path, place: str) -> None:
        try:
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(path), place)
        except Exception as error:  # each kind of store has its own errors
            raise OutputError.not_uploaded(self._url, _reason(error)) from error


def _files(url: str) -> tuple[Any, str]:
    shown = redact(url)
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError.of("fsspec", "object-store", shown) from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # it names the library for this kind of URL
        raise MissingExtraError("a library is not installed", shown, _reason(error)) from error
    except ValueError as error:
        cure = "Give a folder, or a URL that the library fsspec knows, such as s3://BUCKET/FOLDER"
        raise UsageError(f"files cannot be reached there: {_reason(error)}", shown, cure) from error
    return files, path


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
