"""Artifacts of databases and servers, whose artifact URIs may not be valid on this machine."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from urllib.parse import unquote

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sources.file_store.artifacts import ARTIFACTS, list_artifacts
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.source import Problem

# At least two letters: C: is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):(?://[^/]*)?")
# Where MLflow puts artifacts, relative to the database, and the folder above it.
_NEAR = ("", "mlruns", "mlartifacts", os.pardir)
_EXPERIMENT_END = re.compile(r"([/\\]+\d+)?([/\\]+(models|traces))?[/\\]*\Z")
_UNREACHABLE = "artifacts are not reachable from here; give a folder that has them with --artifacts"
_LOST = "names, sizes and hashes of the artifacts, and spans of traces that are stored there"

File = dict[str, Json]


class ArtifactFinder:
    """Finds and hashes the files of runs, logged models and traces.

    Searches the folder that the user named, the artifact URI itself, and the database's folder,
    each for the longest matching end of the URI: trees get moved, and copied between machines.
    For safety, only folders named after their owner are listed, even if a URI points elsewhere.

    Args:
        folder: The folder that the user named.
        home: Folder of the database, None for servers.
        report: Called with each problem.
    """

    def __init__(
        self, folder: str | None, home: str | None, report: Callable[[Problem], None]
    ) -> None:
        self._home = home
        self._report = report
        self._named = [folder] if folder is not None else []
        self._near = [os.path.normpath(os.path.join(home, n)) for n in _NEAR] if home else []
        self._reported_roots: set[str] = set()
        self._with_runs: dict[str, bool] = {}

    def files(self, uri: object, owner: str) -> list[File]:
        """Return the artifacts of a run or model by path, without our own documents."""
        folder = self.folder(uri, owner)
        return [] if folder is None else self.list_files(folder)

    def folder(self, uri: object, owner: str) -> str | None:
        """Return the folder of an owner's artifacts, or None, with a problem if unreachable."""
        if not uri:
            return None
        uri = str(uri)  # a damaged table may hold any value
        folder, reachable = self.find(uri, owner)
        if not reachable:
            self.report_unreachable(uri, owner, _UNREACHABLE)
        return folder

    def find(self, uri: str, owner: str) -> tuple[str | None, bool]:
        """Return the folder of an owner's artifacts, and whether it is in reach if it exists."""
        scheme, parts = _split(uri)
        # URIs of Azure and Databricks end like this, too.
        if len(parts) < 2 or parts[-2] != owner or ".." in parts:
            parts = [owner, ARTIFACTS]
        local = scheme in ("", "file") and uri.startswith(("/", "file:/"))
        ends = [os.path.join(*parts[i:]) for i in range(len(parts) - 1)]
        candidates = [os.path.join(base, end) for base in self._named for end in ends]
        candidates += [os.sep + ends[0]] if local else []
        candidates += [os.path.join(base, end) for base in self._near for end in ends]
        for folder in candidates:
            if os.path.isdir(folder):
                return folder, True
        # MLflow creates a run's folder with its first artifact. Where folders of its siblings
        # would be, a missing folder therefore means that the run lacks artifacts.
        if local and self._home == os.path.join(os.sep, *parts[:-4]):
            return None, True
        bases = {os.path.abspath(base) for base in (*self._named, *self._near)}
        parents = {os.path.abspath(os.path.join(folder, "..", "..")) for folder in candidates}
        if any(os.path.isdir(folder) for folder in parents - bases):
            return None, True
        # The folder above the database's may well have runs of other stores.
        above = os.path.dirname(self._home) if self._home is not None else None
        return None, any(map(self._has_runs, bases - {above}))

    def _has_runs(self, base: str) -> bool:
        """Return whether a folder has artifacts of runs; it would then have those of all runs."""
        if base not in self._with_runs:
            runs = glob.iglob(os.path.join(glob.escape(base), "*", "?" * 32, ARTIFACTS))
            self._with_runs[base] = any(map(os.path.isdir, runs))
        return self._with_runs[base]

    def report_unreachable(self, uri: str, owner: str, reason: str) -> None:
        """Report artifacts that are out of reach, once for all that have the same root."""
        root = root_of(uri, owner)
        if root not in self._reported_roots:
            self._reported_roots.add(root)
            self._report(Problem(root, reason, _LOST, "artifacts"))

    def list_files(self, folder: str) -> list[File]:
        """Return the files in a folder by path, without our own documents."""
        files = StoreFiles(folder)
        artifacts = sorted(list_artifacts(files, folder), key=lambda file: str(file["path"]))
        for problem in files.problems():
            self._report(problem)
        return artifacts


def root_of(uri: str, owner: str) -> str:
    """Return the part of an artifact URI that all runs, or all models, of a store share."""
    return redact(_EXPERIMENT_END.sub("", uri.partition(owner)[0]) or uri)


def _split(uri: str) -> tuple[str, list[str]]:
    """Return the scheme of a URI and the parts of its path, of any operating system."""
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    path = uri[match.end() :] if match else uri
    if scheme == "file":
        path = unquote(path)
    elif scheme:
        path = path.partition("?")[0]
    return scheme, [part for part in re.split(r"[/\\]", path) if part not in ("", ".")]
