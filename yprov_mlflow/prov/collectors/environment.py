"""The software environment: Python, platform, installed packages.

Package versions are parsed from the names of metadata folders: importlib.metadata opens a file
for each package, which takes a hundred times as long.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from yprov_mlflow.prov.collectors import container
from yprov_mlflow.prov.collectors.base import Available, Collector
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.redaction import redact

# Not "~": pip renames a folder so when its removal is interrupted.
_WHEEL = re.compile(r"(?P<name>[^~].*?)-(?P<version>[^-]+)\.dist-info\Z")
_EGG = re.compile(r"(?P<name>[^~].*?)(?:-(?P<version>[^-]+?)(?:-py\d[\d.]*(?:-.+)?)?)?\.egg-info\Z")
_SEPARATORS = re.compile(r"[-_.]+")


class Environment(Collector):
    """Facts about the installed software."""

    name = "environment"

    def probe(self) -> Available:
        """Describe interpreter and packages, see ``collect``."""
        return Available(collect())


def collect() -> dict[str, Json]:
    """Return the facts about the environment of this process.

    Returns:
        ``python``, ``implementation``, ``platform``, ``prefix`` (``"conda"``, ``"venv"`` or
        ``"system"``), ``container`` (its kind, such as ``"docker"``, or None),
        ``packages``, normalized name to version, sorted, and ``local``, the origin of those that
        are from a folder, a file or a repository instead of an index, by name.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "prefix": _prefix(),
        "container": container.kind(Path("/"), os.environ),
        "packages": packages(sys.path),
        "local": local_packages(sys.path),
    }


def packages(path: Iterable[str]) -> dict[str, str]:
    """Return the versions of all packages in the folders of ``path``; the first version wins."""
    versions: dict[str, str] = {}
    for folder in dict.fromkeys(path):
        try:
            entries = [entry.name for entry in os.scandir(folder or ".")]
        except OSError:  # a zip archive, or a folder that does not exist
            continue
        for entry in sorted(entries):
            match = _WHEEL.match(entry) or _EGG.match(entry)
            if match and (version := match["version"] or _egg_version(Path(folder, entry))):
                versions.setdefault(_SEPARATORS.sub("-", match["name"]).lower(), version)
    return dict(sorted(versions.items()))


def local_packages(path: Iterable[str]) -> dict[str, str]:
    """Return where packages of no index were installed from (PEP 610), by normalized name."""
    origins: dict[str, str] = {}
    for folder in dict.fromkeys(path):
        try:
            entries = sorted(entry.name for entry in os.scandir(folder or "."))
        except OSError:
            continue
        for entry in entries:
            # One call of the system for each package: an index leaves no such file.
            match = _WHEEL.match(entry)
            if match and os.path.exists(file := os.path.join(folder, entry, "direct_url.json")):
                name = _SEPARATORS.sub("-", match["name"]).lower()
                origins.setdefault(name, _origin(Path(file)))
    return dict(sorted(origins.items()))


def _origin(file: Path) -> str:
    """Return an origin as pip takes it: a URL, with the commit of a repository."""
    try:
        content = json.loads(file.read_bytes())
        url, vcs = str(content["url"]), content.get("vcs_info")
        text = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "unknown"
    return redact(text)


def _egg_version(path: Path) -> str | None:
    """Return the version of a package in development, whose folder name does not contain it."""
    try:
        text = (path / "PKG-INFO").read_text("utf-8", "replace")
    except OSError:
        return None
    match = re.search(r"^Version: *(\S+)", text, re.MULTILINE)
    return match[1] if match else None


def _prefix() -> str:
    if Path(sys.prefix, "conda-meta").is_dir():
        return "conda"
    return "venv" if sys.prefix != sys.base_prefix else "system"
