"""What there is to know of this machine before something is captured on it."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import diagnosis
from yprov_mlflow.prov.cli import probes
from yprov_mlflow.prov.collectors import catalog, environment, git
from yprov_mlflow.prov.errors import CollectorError, SettingsError
from yprov_mlflow.prov.journal import JournalDirectory

_PACKAGES = ("yprov-mlflow", "mlflow", "mlflow-skinny", "prov", "pyarrow", "sqlalchemy")


def examine(tracking_uri: str | None = None) -> dict[str, Any]:
    """Look at versions, settings, tracking URI, journal folder and code.

    Returns:
        ``versions``, ``settings`` (field to value and origin), ``tracking``, ``journals``,
        ``code``, ``collectors`` (see ``probes``); ``problems``, each of which keeps runs from
        being captured, and ``limits``, each of which only keeps something out of their
        documents. Both say the cure.
    """
    problems: list[str] = []
    limits: list[str] = []
    found: dict[str, Any] = {
        "versions": {"python": sys.version.split()[0], **_versions()},
        "prefix": environment.collect()["prefix"],
        "settings": {},
        "journals": {},
        "collectors": [],
    }
    try:
        loaded = settings.load()
    except SettingsError as error:
        problems.append(str(error))
    else:
        found["settings"] = _origins(loaded)
        found["journals"] = _journals(loaded.directory, problems, limits)
        found["collectors"] = _collectors(loaded, limits)
    found["tracking"] = _tracking(tracking_uri, problems)
    found["code"] = _code(limits)
    return {**found, "problems": problems, "limits": limits}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _origins(loaded: settings.Settings) -> dict[str, Any]:
    values = dataclasses.asdict(loaded)
    return {
        setting.field: {
            "value": _plain(values[setting.field]),
            "origin": loaded.origin[setting.field],
            "variable": setting.variable,
        }
        for setting in settings.SETTINGS
    }


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _journals(directory: Path, problems: list[str], limits: list[str]) -> dict[str, Any]:
    reason = _unwritable(directory)
    if reason:
        problems.append(
            f"the journal folder {directory} cannot be written: {reason}. "
            "Set YPROV_MLFLOW_DIR to a folder that can."
        )
    try:
        folders = [folder for folder in JournalDirectory.all(directory) if folder.files()]
        pending = [folder.run_id for folder in folders if not folder.is_current()]
    except OSError as error:
        limits.append(f"the journals in {directory} cannot be read: {error.strerror}.")
        folders, pending = [], []
    if pending:
        limits.append(
            f"{len(pending)} of {len(folders)} journals have events that no document has yet: "
            "their runs go on, or `yprov-mlflow recover` writes their documents."
        )
    return {
        "folder": str(directory),
        "writable": reason is None,
        "runs": len(folders),
        "pending": pending,
    }


def _unwritable(directory: Path) -> str | None:
    """Say why no file can be made in the folder, or where it is to be; None if one can."""
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"{error.strerror or error} ({existing})"


def _tracking(uri: str | None, problems: list[str]) -> dict[str, Any]:
    missing = diagnosis.missing_entry_points()
    if missing:
        problems.append(
            f"MLflow does not find this package as a plugin ({', '.join(missing)}), so yprov+ "
            "URIs and YPROV_MLFLOW do nothing. Install it with pip; a folder on PYTHONPATH is "
            "not enough."
        )
    try:
        tracking = diagnosis.tracking(uri)
    except ImportError as error:
        problems.append(f"MLflow cannot be imported: {error}. Install it: pip install mlflow")
        return {}
    problems.extend(f"{tracking.inner}: {obstacle}." for obstacle in tracking.obstacles)
    return tracking._asdict()


def _collectors(loaded: settings.Settings, limits: list[str]) -> list[dict[str, Any]]:
    try:
        chosen = catalog.choose(loaded.collectors)
    except CollectorError as error:
        limits.append(f"{error} Until then the default collectors measure.")
        chosen = catalog.choose(("default",))
    return probes.probe(loaded, chosen)


def _code(limits: list[str]) -> dict[str, Any]:
    found = git.collect([""], Path.cwd())
    if "unavailable" in found:
        limits.append(
            f"commit and changes of the code are not recorded: {found['unavailable']}. "
            "Train from a git repository to have them."
        )
    return found
