"""Artifacts of a store whose own addresses of them may mean nothing here."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import unquote

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.ids import redact
from yprov_mlflow.prov.sources.file_store.artifacts import ARTIFACTS, list_artifacts
from yprov_mlflow.prov.sources.file_store.tree_files import Files
from yprov_mlflow.prov.sources.source import Problem

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):(?://[^/]*)?")
"""Two letters at least: ``C:`` is a drive."""
_BESIDE = ("", "mlruns", "mlartifacts", os.pardir)
"""Where artifacts are, seen from the database: where MLflow puts them, or the folder above."""

_OF_EXPERIMENT = re.compile(r"([/\\]+\d+)?([/\\]+(models|traces))?[/\\]*\Z")
_UNREACHABLE = "artifacts cannot be reached here; give a folder that has them with --artifacts"
_LOST = "names, sizes and hashes of the artifacts, and spans of traces that are kept there"

File = dict[str, Json]


class Artifacts:
    """Finds the files of runs, logged models and traces, and hashes them.

    Looked for in the folder that the user gave, at the address itself, and beside the database:
    under as much of the address as is there, as trees are moved and come from other machines.
    Only folders that are named for their owner are looked into, wherever an address leads.
    """

    def __init__(
        self, given: str | None, home: str | None, report: Callable[[Problem], None]
    ) -> None:
        """Name the user's folder and that of the database, None if there is none."""
        self._given = given
        self._home = home
        self._report = report
        self._said: set[str] = set()
        self._with_runs: dict[str, bool] = {}

    def files(self, uri: object, owner: str) -> list[File]:
        """List the artifacts of a run or model by path, without our own documents."""
        folder = self.folder(uri, owner)
        return [] if folder is None else self.listed(folder)

    def folder(self, uri: object, owner: str) -> str | None:
        """Give the folder of an owner's artifacts; None if it has none, or none within reach."""
        if not uri:
            return None
        uri = str(uri)  # of a broken table it may be anything
        folder, within_reach = self.find(uri, owner)
        if not within_reach:
            self.miss(uri, owner, _UNREACHABLE)
        return folder

    def find(self, uri: str, owner: str) -> tuple[str | None, bool]:
        """Give the folder of an owner's artifacts, and whether it would have been found."""
        scheme, parts = split(uri)
        # Servers of Azure and Databricks, too, end addresses like this.
        if len(parts) < 2 or parts[-2] != owner or ".." in parts:
            parts = [owner, ARTIFACTS]
        local = scheme in ("", "file") and uri.startswith(("/", "file:/"))
        candidates = list(self._candidates(parts, local=local))
        for folder in candidates:
            if os.path.isdir(folder):
                return folder, True
        # MLflow makes the folder of a run when there is something to put there.
        bases = {os.path.abspath(base) for base in self._bases()}
        around = {os.path.abspath(os.path.join(folder, "..", "..")) for folder in candidates}
        if local and self._home == os.path.join(os.sep, *parts[:-4]):
            # They would be beside the database, which is in place: nobody has logged a file yet.
            return None, True
        if any(os.path.isdir(folder) for folder in around - bases):
            return None, True
        return None, any(map(self._has_runs, bases - {self._above()}))

    def _has_runs(self, base: str) -> bool:
        """Tell whether a folder has artifacts of runs: then it would have those of all."""
        known = self._with_runs.get(base)
        if known is None:
            runs = glob.iglob(os.path.join(glob.escape(base), "*", "?" * 32, ARTIFACTS))
            known = self._with_runs[base] = any(map(os.path.isdir, runs))
        return known

    def _above(self) -> str | None:
        """Give the folder above the database's, which may well have runs of other stores."""
        return os.path.dirname(self._home) if self._home is not None else None

    def _bases(self) -> Iterator[str]:
        if self._given is not None:
            yield self._given
        if self._home is not None:
            yield from (os.path.join(self._home, name) for name in _BESIDE)

    def _candidates(self, parts: Sequence[str], *, local: bool) -> Iterator[str]:
        suffixes = [os.path.join(*parts[i:]) for i in range(len(parts) - 1)]
        if self._given is not None:
            yield from (os.path.join(self._given, suffix) for suffix in suffixes)
        if local:
            yield os.sep + suffixes[0]
        if self._home is not None:
            for name in _BESIDE:
                base = os.path.normpath(os.path.join(self._home, name))
                yield from (os.path.join(base, suffix) for suffix in suffixes)

    def miss(self, uri: str, owner: str, reason: str) -> None:
        """Tell that artifacts are out of reach: once for all that are in one place."""
        root = root_of(uri, owner)
        if root not in self._said:
            self._said.add(root)
            self._report(Problem(root, reason, _LOST))

    def listed(self, folder: str) -> list[File]:
        """List the files in a folder by path, without our own documents."""
        files = Files(folder)
        found = list(list_artifacts(files, folder))
        for problem in files.problems():
            self._report(problem)
        return sorted(found, key=lambda file: str(file["path"]))


def root_of(uri: str, owner: str) -> str:
    """Give the place in which a store keeps the artifacts of all its runs, or models."""
    return redact(_OF_EXPERIMENT.sub("", uri.partition(owner)[0]) or uri)


def split(uri: str) -> tuple[str, list[str]]:
    """Give the scheme of an address and the parts of its path, whichever system it is of."""
    found = _SCHEME.match(uri)
    scheme = found[1].lower() if found else ""
    path = uri[found.end() :] if found else uri
    if scheme == "file":
        path = unquote(path)
    path = path.partition("?")[0] if scheme not in ("", "file") else path
    return scheme, [part for part in re.split(r"[/\\]", path) if part not in ("", ".")]
