"""The software environment: Python, platform, installed packages.

Packages are read from the names of their metadata folders: importlib.metadata opens a file
for each, which takes a hundred times as long.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from yprov_mlflow.prov.collectors import container
from yprov_mlflow.prov.collectors.base import Available, Collector
from yprov_mlflow.prov.events import Json

_WHEEL = re.compile(r"(?P<name>[^~].*?)-(?P<version>[^-]+)\.dist-info\Z")
_EGG = re.compile(r"(?P<name>[^~].*?)(?:-(?P<version>[^-]+?)(?:-py\d[\d.]*(?:-.+)?)?)?\.egg-info\Z")
_RUNS = re.compile(r"[-_.]+")


class Environment(Collector):
    """Facts of the software that is installed."""

    name = "environment"

    def probe(self) -> Available:
        """Look at interpreter and packages, see ``collect``."""
        return Available(collect())


def collect() -> dict[str, Json]:
    """Describe the environment of this process.

    Returns:
        ``python``, ``implementation``, ``platform``, ``prefix`` (``"conda"``, ``"venv"`` or
        ``"system"``), ``container`` (its kind, such as ``"docker"``, or None) and
        ``packages``, normalised name to version, sorted.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "prefix": _prefix(),
        "container": container.kind(Path("/"), os.environ),
        "packages": packages(sys.path),
    }


def packages(path: Iterable[str]) -> dict[str, str]:
    """List what is installed in the folders of ``path``; of two versions the first counts."""
    found: dict[str, str] = {}
    for folder in dict.fromkeys(path):
        try:
            names = [entry.name for entry in os.scandir(folder or ".")]
        except OSError:  # an archive, or not there
            continue
        for name in sorted(names):
            match = _WHEEL.match(name) or _EGG.match(name)
            if match is None:
                continue
            version = match["version"] or _egg_version(Path(folder, name))
            if version:
                found.setdefault(_RUNS.sub("-", match["name"]).lower(), version)
    return dict(sorted(found.items()))


def _egg_version(path: Path) -> str | None:
    """Read the version of a package in development, whose folder does not tell."""
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
