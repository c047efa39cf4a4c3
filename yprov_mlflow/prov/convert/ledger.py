"""The ledger of a conversion: what is done, beside the output, one JSON line a unit.

Lines are only ever appended, and a later one counts more than an earlier one. A conversion
that is killed leaves at most one torn line, which counts for nothing: its unit is done again.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from filelock import FileLock, Timeout

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.units import Result
from yprov_mlflow.prov.errors import OutputError
from yprov_mlflow.prov.sources.source import Problem


class Ledger:
    """The units that are done; a context manager that keeps other conversions out."""

    def __init__(self, out: Path, digest: str) -> None:
        """Name the output folder and the digest of the request."""
        self.folder = out / output.FOLDER
        self.done: dict[str, Result] = {}
        self._out = out
        self._digest = digest
        self._path = self.folder / "ledger.jsonl"
        self._lock = FileLock(self.folder / "lock")
        self._file: TextIO | None = None

    def __enter__(self) -> Ledger:
        """Lock the output, forget what was half done, read what is done."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError.in_use(str(self._out)) from error
        except OSError as error:
            raise OutputError.unwritable(str(self._out), error) from error
        try:
            self._tidy()
            (self.folder / output.SCRATCH).mkdir()
            whole = self.read()
            self._file = self._path.open("a", encoding="utf-8")
            if not whole:
                self._file.write("\n")
        except OSError as error:
            self._lock.release()
            raise OutputError.unwritable(str(self._out), error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close and unlock."""
        if self._file is not None:
            self._file.close()
        self._tidy()
        self._lock.release()

    def _tidy(self) -> None:
        shutil.rmtree(self.folder / output.SCRATCH, ignore_errors=True)

    def read(self) -> bool:
        """Read what is done, writing nothing; tells whether the last line is whole."""
        if not self._path.exists():
            return True
        content = self._path.read_bytes()
        for line in content.split(b"\n"):
            try:
                found = json.loads(line)
                current = found.pop("digest") == self._digest
                result = _result(found)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            # What was done otherwise since then has taken the place of what was done like this.
            if current:
                self.done[result.key] = result
            else:
                self.done.pop(result.key, None)
        return content[-1:] in (b"", b"\n")

    def known(self, key: str) -> str | None:
        """Give the fingerprint of a unit that is done and whose files are all there."""
        found = self.done.get(key)
        if found is None or not all(self._there(p, size) for p, size in found.sizes.items()):
            return None
        return found.fingerprint

    def _there(self, path: str, size: int) -> bool:
        try:
            found = (self._out / path).stat()
        except OSError:
            return False
        return found.st_size == size

    def add(self, result: Result) -> None:
        """Note that a unit is done."""
        assert self._file is not None
        self.done[result.key] = result
        problems = [dataclasses.asdict(problem) for problem in result.problems]
        line = json.dumps({"digest": self._digest, **vars(result), "problems": problems})
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError.unwritable(str(self._path), error) from error


def _result(found: dict[str, Any]) -> Result:
    problems = tuple(Problem(**problem) for problem in found.pop("problems"))
    return Result(problems=problems, **found)
