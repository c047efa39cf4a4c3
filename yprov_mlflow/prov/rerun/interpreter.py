"""The environment of a rerun: a new one with the recorded packages, or the present interpreter."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.collectors import environment
from yprov_mlflow.prov.errors import RerunError
from yprov_mlflow.prov.rerun.plan import Plan
from yprov_mlflow.prov.rerun.recipe import Recipe

OWN = "yprov-mlflow"
_OWN_MODULE = OWN.replace("-", "_")
_INSTALL_TIMEOUT_S = 3600.0
_MOST_NAMED = 8
# As the index defines names and versions: nothing of a document may be an option of pip.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_REPOSITORY = re.compile(r"git\+(?:https?|ssh|git|file)://\S+@[0-9a-f]{7,64}")
_CURRENT = "Use --environment current to run with the present interpreter"


def plan_environment(plan: Plan, recipe: Recipe, *, is_new: bool, ignore_missing: bool) -> Path:
    """Add the environment to a plan and return the path of its interpreter."""
    if not is_new:
        _compare_with_current(plan, recipe)
        return Path(sys.executable)
    recorded = recipe.environment
    if recorded is None or not recorded.packages or not recorded.python:
        plan.add("environment", "missing", "the packages of the run are not recorded", _CURRENT)
        return Path(sys.executable)
    base = _base_interpreter(plan, recorded.python)
    folder = plan.folder / "environment"
    requirements = _requirements(plan, recipe, recorded.packages)
    plan.steps.append(
        ("create the environment", lambda: _create(base, folder, requirements, ignore_missing))
    )
    return folder / "bin" / "python"


# -- the present interpreter ---------------------------------------------------------------


def _compare_with_current(plan: Plan, recipe: Recipe) -> None:
    recorded, python = recipe.environment, platform.python_version()
    if recorded is None:
        plan.add("environment", "differs", f"Python {python}; that of the run is not recorded")
        return
    present = environment.packages(sys.path)
    differences = [
        f"{name} {recorded.packages.get(name) or 'absent'} → {present.get(name) or 'absent'}"
        for name in sorted({*recorded.packages, *present})
        if recorded.packages.get(name) != present.get(name)
    ]
    if recorded.python != python:
        differences.insert(0, f"Python {recorded.python} → {python}")
    if not differences:
        count = len(recorded.packages)
        plan.add("environment", "ready", f"the present one: Python {python}, {count} packages")
        return
    more = len(differences) - _MOST_NAMED
    named = ", ".join(differences[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    plan.add("environment", "differs", f"the present one; {named}")


# -- a new environment ---------------------------------------------------------------------


def _base_interpreter(plan: Plan, version: str) -> str:
    minor = ".".join(version.split(".")[:2])
    present = ".".join(platform.python_version().split(".")[:2])
    path = sys.executable if minor == present else shutil.which(f"python{minor}")
    if path is None or not re.fullmatch(r"\d+\.\d+", minor):
        cure = f"Install Python {minor}. {_CURRENT}"
        plan.add("environment", "missing", f"there is no Python {version} here", cure)
        return sys.executable
    if minor == present and version != platform.python_version():
        text = f"Python {platform.python_version()} instead of {version}"
        plan.add("environment", "differs", text)
    return path


def _requirements(plan: Plan, recipe: Recipe, packages: Mapping[str, str | None]) -> dict[str, str]:
    """Return what pip installs for each package, and add findings."""
    requirements: dict[str, str] = {}
    for name, version in packages.items():
        if name in (OWN, "pip"):
            continue
        origin = recipe.local_packages.get(name)
        if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version or ""):
            text = f"{name!r} {version!r} is not the name and version of a package"
            plan.add("environment", "missing", text, "Use --ignore-missing to leave it out")
        elif origin is None:
            requirements[name] = f"{name}=={version}"
        elif requirement := _local_requirement(plan, name, str(version), origin):
            requirements[name] = requirement
    count = sum("==" in requirement for requirement in requirements.values())
    plan.add("environment", "ready", f"a new one with {count} packages of the package index")
    own, present = packages.get(OWN), importlib.metadata.version(OWN)
    if own is not None and own != present:
        plan.add("environment", "differs", f"{OWN} {present} instead of {own}")
    return requirements


def _local_requirement(plan: Plan, name: str, version: str, origin: str) -> str | None:
    url = urlsplit(origin)
    path = Path(unquote(url.path))
    if _REPOSITORY.fullmatch(origin):
        plan.add("environment", "ready", f"{name} {version} from {origin}")
        return f"{name} @ {origin}"
    if url.scheme == "file" and path.exists():
        text = f"{name} {version} is a local package: {path} as it is today is installed"
        plan.add("environment", "differs", text)
        return f"{name} @ {path.as_uri()}"
    cure = f"Put it back, or use --ignore-missing to leave it out. {_CURRENT}"
    plan.add("environment", "missing", f"{name} {version} is a local package from {origin}", cure)
    return None


def _create(base: str, folder: Path, requirements: Mapping[str, str], ignore_missing: bool) -> None:
    _run([base, "-m", "venv", str(folder)], "the environment cannot be created")
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--no-deps", "--no-input"]
    listing = folder / "requirements.txt"
    listing.write_text("\n".join(requirements.values()) + "\n", "utf-8")
    try:
        _run([*install, "-r", str(listing)], "the packages cannot be installed")
    except RerunError:
        if not ignore_missing:
            raise
        for requirement in requirements.values():  # one that is gone must not cost the others
            subprocess.run([*install, requirement], check=False, capture_output=True)
    _add_own(python)


def _add_own(python: Path) -> None:
    """Copy this package: the rerun is captured by the version that compares it."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(_run([str(python), "-c", script], "the environment does not work").strip())
    package = Path(__file__).parents[2]
    shutil.copytree(package, site / _OWN_MODULE, ignore=shutil.ignore_patterns("__pycache__"))
    distribution = importlib.metadata.distribution(OWN)
    info = site / f"{_OWN_MODULE}-{distribution.version}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        if (content := distribution.read_text(name)) is not None:
            (info / name).write_text(content, "utf-8")


def _run(command: list[str], what: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RerunError(f"{what}: {error}", None, _CURRENT) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        reason = (lines or done.stderr.splitlines() or ["unknown"])[0].strip().rstrip(".")
        cure = f"Use --ignore-missing to leave such packages out. {_CURRENT}"
        raise RerunError(f"{what}: {reason}", None, cure)
    return done.stdout
