"""The folder of an offline store: journals, artifacts, and what all its processes agree on."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.layout import OFFLINE, OFFLINE_ARTIFACTS, OFFLINE_STORE
from yprov_mlflow.prov.uris import offline_folder, offline_uri

_CURE = "Check the path and your permission to write there, or free disk space"


class OfflineFolder:
    """The folder that a URI ``yprov:DIR`` names; creating the object touches no disk.

    Raises:
        StoreError: The URI names no folder.
    """

    def __init__(self, uri: str) -> None:
        try:
            self.path = Path(offline_folder(uri))
        except ValueError as error:
            raise StoreError(f"{uri!r} is not an offline store: {error}") from error
        self.uri = offline_uri(str(self.path))
        self.artifacts = self.path / OFFLINE_ARTIFACTS
        self._own = self.path / OFFLINE

    def creation_time_ms(self) -> int:
        """Return when the store was created; the first process of all creates it.

        Raises:
            StoreError: The folder cannot be written or read.
        """
        file = self._own / OFFLINE_STORE
        try:
            if not file.is_file():
                self._create()
            return int(json.loads(file.read_bytes())["creation_time"])
        except OSError as error:
            raise StoreError(
                f"the offline store cannot be used: {error}", self.uri, _CURE
            ) from error
        except (ValueError, LookupError, TypeError) as error:
            cure = f"Restore {file}, or give another folder"
            raise StoreError("the offline store is damaged", str(file), cure) from error

    def _create(self) -> None:
        self.path.mkdir(0o700, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{OFFLINE}-", dir=self.path))
        try:
            text = json.dumps({"creation_time": int(time.time() * 1000)})
            (partial / OFFLINE_STORE).write_text(text)
            # A folder replaces only an empty one: the first of several processes decides, without
            # locks or hard links, which shared file systems may lack.
            with suppress(OSError):
                partial.rename(self._own)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def template(self, version: str, make: Callable[[Path], None]) -> Path:
        """Return an empty database with the tables of an MLflow version; ``make`` makes it.

        MLflow's own way to its tables is through all their earlier versions, which takes seconds.

        Raises:
            OSError: The folder cannot be written.
        """
        file = self._own / f"view-{version}.db"
        if not file.is_file():
            with tempfile.TemporaryDirectory(prefix="yprov-") as out:
                make(Path(out) / file.name)
                partial = Path(tempfile.mkdtemp(prefix=".view-", dir=self._own))
                try:
                    shutil.copyfile(Path(out) / file.name, partial / file.name)
                    (partial / file.name).replace(file)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        return file
