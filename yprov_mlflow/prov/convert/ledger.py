"""The ledger of a conversion: the units that are done, one JSON line each, beside the output.

Lines are only appended, and later lines override earlier ones. A killed conversion leaves at most
one incomplete line. That line is ignored, so its unit is converted again.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from yprov_mlflow.prov.convert.request import Result
from yprov_mlflow.prov.errors import OutputError
from yprov_mlflow.prov.layout import CONVERSION, CONVERSION_LOCK, LEDGER, SCRATCH
from yprov_mlflow.prov.sources.source import Problem


class Ledger:
    """The units that are done; as a context manager it locks the output folder.

    Args:
        out: The output folder.
        digest: Digest of the request; only units converted with the same digest count as done.
    """

    def __init__(self, out: Path, digest: str) -> None:
        self.folder = out / CONVERSION
        self.done: dict[str, Result] = {}
        self._out = out
        self._digest = digest
        self._path = self.folder / LEDGER
        self._lock = FileLock(self.folder / CONVERSION_LOCK)
        self._file: TextIO | None = None

    def __enter__(self) -> Ledger:
        """Lock the output, remove incomplete files and read the ledger."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError.in_use(str(self._out)) from error
        except OSError as error:
            raise OutputError.unwritable(str(self._out), error) from error
        try:
            self._remove_scratch()
            (self.folder / SCRATCH).mkdir()
            complete = self.read()
            self._file = self._path.open("a", encoding="utf-8")
            if not complete:
                # Otherwise the next entry would be appended to the incomplete line and be lost.
                self._file.write("\n")
        except OSError as error:
            self._lock.release()
            raise OutputError.unwritable(str(self._out), error) from error
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the ledger and unlock the output."""
        if self._file is not None:
            self._file.close()
        self._remove_scratch()
        self._lock.release()

    def _remove_scratch(self) -> None:
        shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)

    def read(self) -> bool:
        """Read the ledger without writing; return whether its last line is complete."""
        if not self._path.exists():
            return True
        content = self._path.read_bytes()
        for line in content.split(b"\n"):
            try:
                fields = json.loads(line)
                current = fields.pop("digest") == self._digest
                problems = tuple(Problem(**problem) for problem in fields.pop("problems"))
                result = Result(problems=problems, **fields)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            # A later conversion with other options has replaced the unit's files.
            if current:
                self.done[result.key] = result
            else:
                self.done.pop(result.key, None)
        return content[-1:] in (b"", b"\n")

    def fingerprint(self, key: str) -> str | None:
        """Return the fingerprint of a unit that is done and whose files all still exist."""
        result = self.done.get(key)
        if result is None or not all(self._exists(p, size) for p, size in result.sizes.items()):
            return None
        return result.fingerprint

    def _exists(self, path: str, size: int) -> bool:
        try:
            return (self._out / path).stat().st_size == size
        except OSError:
            return False

    def add(self, result: Result) -> None:
        """Record that a unit is done."""
        assert self._file is not None
        self.done[result.key] = result
        problems = [dataclasses.asdict(problem) for problem in result.problems]
        line = json.dumps({"digest": self._digest, **vars(result), "problems": problems})
        try:
            self._file.write(line + "\n")
            # Not fsync: after a power failure, units of missing lines are converted again.
            self._file.flush()
        except OSError as error:
            raise OutputError.unwritable(str(self._path), error) from error
