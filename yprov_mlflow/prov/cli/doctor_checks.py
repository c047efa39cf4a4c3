"""The checks of ``yprov-mlflow doctor``.

All collectors are probed at once, each in a thread with a time limit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import plugins, settings
from yprov_mlflow.prov.capture import diagnosis, sinks
from yprov_mlflow.prov.collectors import catalog, environment, git
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.errors import CollectorError, PluginError, SettingsError
from yprov_mlflow.prov.formats import plugin_formats
from yprov_mlflow.prov.formats.file_formats import BUILT_IN
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.sources import plugin_sources

_PACKAGES = ("yprov-mlflow", "mlflow", "mlflow-skinny", "prov", "pyarrow", "sqlalchemy")
_PROBE_LIMIT_S = 5.0
_SIMILAR = 0.85  # of 1: how alike the name of a variable and a misspelt one are


def check(tracking_uri: str | None = None) -> dict[str, Any]:
    """Check versions, settings, tracking URI, journal folder, code and collectors.

    Returns:
        ``versions``, ``settings`` (name to value and origin), ``tracking``, ``journals``,
        ``code``, ``collectors`` (see ``_probe``), ``plugins``; ``problems``, each of which
        prevents capture or disables a setting, and ``limits``, each of which only keeps something
        out of the documents.
    """
    problems: list[str] = []
    limits: list[str] = []
    checks: dict[str, Any] = {
        "versions": {"python": sys.version.split()[0], **_versions()},
        "prefix": environment.collect()["prefix"],
        "settings": {},
        "journals": {},
        "collectors": [],
        "plugins": [],
    }
    try:
        loaded = settings.load()
    except SettingsError as error:
        problems.append(str(error))
    else:
        checks["settings"] = _origins(loaded)
        limits.extend(loaded.about.get("problems", ()))
        checks["journals"] = _journals(loaded.directory, problems, limits)
        checks["collectors"] = _collectors(loaded, problems)
        checks["plugins"] = _plugins(loaded, problems)
    problems.extend(_unknown_variables())
    checks["tracking"] = _tracking(tracking_uri, problems)
    checks["code"] = _code(limits)
    return {**checks, "problems": problems, "limits": limits}


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = dict.fromkeys(_PACKAGES)
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _unknown_variables() -> Iterator[str]:
    """Yield a problem for each variable that looks like one of ours and is not."""
    names = [setting.variable for setting in settings.SETTINGS]
    for variable in sorted(os.environ.keys() - set(names)):
        near = difflib.get_close_matches(variable.upper(), names, 1, _SIMILAR)
        if near or variable.startswith("YPROV_MLFLOW"):
            cure = f"Do you mean {near[0]}?" if near else f"There are {', '.join(names)}."
            yield f"{variable} is not a variable of this package and has no effect. {cure}"


def _origins(loaded: settings.Settings) -> dict[str, Any]:
    values = dataclasses.asdict(loaded)
    return {
        setting.field: {
            "value": str(value) if isinstance(value := values[setting.field], Path) else value,
            "origin": loaded.origin[setting.field],
            "variable": setting.variable,
        }
        for setting in settings.SETTINGS
    }


def _journals(directory: Path, problems: list[str], limits: list[str]) -> dict[str, Any]:
    reason = _unwritable(directory)
    if reason:
        problems.append(
            f"the journal folder {directory} cannot be written: {reason}. "
            "Set YPROV_MLFLOW_DIR to a writable folder."
        )
    try:
        journals = [journal for journal in JournalDirectory.all(directory) if journal.files()]
        pending = [journal.run_id for journal in journals if not journal.is_current()]
    except OSError as error:
        limits.append(f"the journals in {directory} cannot be read: {error.strerror}.")
        journals, pending = [], []
    if pending:
        limits.append(
            f"{len(pending)} of {len(journals)} journals have events that are not in a document "
            "yet: the run is still active, or `yprov-mlflow recover` writes its document."
        )
    return {
        "folder": str(directory),
        "writable": reason is None,
        "runs": len(journals),
        "pending": pending,
    }


def _unwritable(directory: Path) -> str | None:
    """Return why files cannot be created in a folder, or in its nearest existing parent."""
    # The folder is created with the first run, so it may not exist yet.
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
            "URIs and YPROV_MLFLOW are ignored. Install it with pip; adding its folder to "
            "PYTHONPATH is not enough."
        )
    try:
        tracking = diagnosis.tracking(uri)
    except ImportError as error:
        problems.append(f"MLflow cannot be imported: {error}. Install it: pip install mlflow")
        return {}
    problems.extend(f"{tracking.inner}: {obstacle}." for obstacle in tracking.obstacles)
    return tracking._asdict()


def _code(limits: list[str]) -> dict[str, Any]:
    facts = git.collect([""], Path.cwd())
    if "unavailable" in facts:
        limits.append(
            f"commit and changes of the code are not recorded: {facts['unavailable']}. "
            "Train from a git repository to record them."
        )
    return facts


def _plugins(loaded: settings.Settings, problems: list[str]) -> list[dict[str, Any]]:
    """Return kind and name of other packages' plugins, and the reason why one cannot be used.

    Collectors have a list of their own, except for those whose name is taken.
    """
    contracts: dict[str, tuple[plugins.Check, Collection[str]]] = {
        plugins.FORMATS: (plugin_formats.check, BUILT_IN),
        plugins.SINKS: (sinks.CHECK, {}),
        plugins.SOURCES: (plugin_sources.CHECK, {}),
    }
    taken = plugins.conflicts(plugins.COLLECTORS, catalog.BUILT_IN)
    rows: list[tuple[str, str, str | None]] = [(plugins.COLLECTORS, *row) for row in taken]
    for group, (contract, built_in) in contracts.items():
        for name in plugins.names(group, built_in):
            rows.append((group, name, _unusable(group, name, contract)))
        rows += [(group, *row) for row in plugins.conflicts(group, built_in)]
    installed = plugins.names(plugins.SINKS)
    missing = [name for name in loaded.sinks if name not in installed]
    problems.extend(str(PluginError.unknown("sink", name, installed)) for name in missing)
    return [{"kind": plugins.KINDS[g], "name": name, "reason": r} for g, name, r in rows]


def _unusable(group: str, name: str, contract: plugins.Check) -> str | None:
    try:
        with _no_output():
            plugins.load(group, name, contract)
    except PluginError as error:
        return str(error)
    return None


# -- collectors --------------------------------------------------------------------------


def _collectors(loaded: settings.Settings, problems: list[str]) -> list[dict[str, Any]]:
    try:
        chosen = catalog.choose(loaded.collectors)
    except CollectorError as error:
        problems.append(f"{error} Until then the default collectors measure.")
        chosen = catalog.choose(("default",))
    return _probe(loaded, chosen)


def _probe(loaded: settings.Settings, chosen: Sequence[str]) -> list[dict[str, Any]]:
    """Probe every collector, chosen or not.

    Returns:
        For each its ``name``, ``summary``, ``chosen``, ``works``, ``reason`` and ``cure`` (None
        if it works), ``missing`` (parts that cannot be measured), ``devices`` and ``quantities``.
    """
    # Collectors look at the script in argv: without this, they would look at this command.
    context = CollectorContext(
        argv=[""],
        interval_s=loaded.interval_s,
        country=loaded.country,
        carbon_intensity=loaded.carbon_intensity,
        cpu_tdp_w=loaded.cpu_tdp_w,
        about=loaded.about,
        files_limit=loaded.files_limit,
        files_exclude=loaded.files_exclude,
    )
    results: dict[str, object] = {}

    def probe(name: str) -> None:
        try:
            results[name] = catalog.load(name)(context).probe()
        except BaseException as error:  # noqa: BLE001 - foreign code, which may even call exit
            results[name] = Unavailable(f"{type(error).__name__}: {error}")

    # Daemon threads: a driver that hangs must not keep this command from exiting.
    names = catalog.names()
    threads = [threading.Thread(target=probe, args=(name,), daemon=True) for name in names]
    with _no_output():
        for thread in threads:
            thread.start()
        end = time.monotonic() + _PROBE_LIMIT_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    late = Unavailable(f"no answer within {_PROBE_LIMIT_S:g} s")
    return [
        {
            "name": name,
            "summary": catalog.BUILT_IN[name].summary if name in catalog.BUILT_IN else "",
            "chosen": name in chosen,
            **_probe_result(results.get(name, late)),
        }
        for name in names
    ]


def _probe_result(result: object) -> dict[str, Any]:
    missing: list[dict[str, str]] = []
    devices: list[str] = []
    quantities: list[str] = []
    reason = cure = None
    # Collectors of facts only, such as git, are available even where they find nothing.
    if isinstance(result, Available) and "unavailable" in result.facts:
        reason, cure = str(result.facts["unavailable"]), result.facts.get("cure")
    elif isinstance(result, Available):
        missing = [{"what": m.what, "reason": m.reason, "cure": m.cure} for m in result.missing]
        devices = [device.label for device in result.devices]
        quantities = list(dict.fromkeys(quantity.name for quantity in result.quantities))
    elif isinstance(result, Unavailable):
        reason, cure = result.reason, result.cure
    else:
        reason = f"its probe returned {result!r} instead of Available or Unavailable"
    return {
        "works": reason is None,
        "reason": reason,
        "cure": str(cure) if cure else None,
        "missing": missing,
        "devices": devices,
        "quantities": quantities,
    }


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Discard what vendor libraries print, whether from Python or from C."""
    sys.stdout.flush()
    # Never closed: a probe that exceeds its limit may still print.
    discard = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - see above
    # C libraries write to the file descriptor, which redirect_stdout does not affect.
    stdout = os.dup(1)
    os.dup2(discard.fileno(), 1)
    try:
        with contextlib.redirect_stdout(discard):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
