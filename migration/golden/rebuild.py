"""Rebuild the golden stores with old MLflow versions, each in a separate virtual environment.

    python migration/golden/rebuild.py [VERSION ...]

For each version (by default all), this creates a virtual environment with a suitable Python,
installs MLflow and the pinned packages of ``requirements/VERSION.txt`` from PyPI, and runs
``program/train.py`` with a file store and, if the version supports it, with an SQLite database. It
packs both, and the program's record of its calls, into ``VERSION.tar.gz``. Old Pythons are searched
by name (``python3.6``) on PATH and below the folders in the variable PYTHONS, such as pyenv's
``versions``. It needs git. The same packages and temporary folder give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent

WORK_FOLDER = Path(tempfile.gettempdir(), "mlflow-golden")
"""Folder in which the programs run; artifact URIs in the stores contain it."""

VERSIONS = {
    "0.2.1": "3.6",
    "0.4.2": "3.6",
    "0.8.2": "3.6",
    "0.9.1": "3.6",
    "1.0.0": "3.7",
    "1.12.1": "3.7",
    "1.20.2": "3.8",
    "1.30.1": "3.9",
    "2.0.1": "3.9",
    "2.8.1": "3.10",
    "2.12.2": "3.10",
    "2.22.5": "3.11",
    "3.1.4": "3.12",
    "3.17.2": "3.13",
}
"""MLflow versions, each with its Python version."""

FIRST_WITH_DATABASE = "0.9.1"
STORES = ("tree", "database")
LAST_PIP_OF_3_6 = "pip==21.3.1"
"""The pip that comes with Python 3.6 cannot install current wheels."""


def main(versions: list[str]) -> int:
    """Build the archives of some versions, or of all, and print a line for each.

    Return the exit code: 1 if a build failed, 2 if a version is unknown.
    """
    unknown = [version for version in versions if version not in VERSIONS]
    if unknown:
        choices = ", ".join(VERSIONS)
        print(f"unknown versions: {', '.join(unknown)} (choose from {choices})", file=sys.stderr)
        return 2
    failed = 0
    for version in versions or VERSIONS:
        try:
            content = build(version)
        except (LookupError, OSError, subprocess.CalledProcessError) as error:
            print(f"{version}: {error}", file=sys.stderr)
            failed += 1
            continue
        archive = HERE / f"{version}.tar.gz"
        same = archive.exists() and archive.read_bytes() == content
        archive.write_bytes(content)
        state = "unchanged" if same else "changed"
        print(f"{version}: {len(content)} bytes, {state}", flush=True)
    return 1 if failed else 0


def build(version: str) -> bytes:
    """Install a version, run the program, and return the content of the archive."""
    stores = STORES if number(version) >= number(FIRST_WITH_DATABASE) else STORES[:1]
    folder = WORK_FOLDER / version
    shutil.rmtree(folder, ignore_errors=True)
    # The name of the environment must not change: logged tracebacks contain it.
    python = install(version, folder / "environment")
    for store in stores:
        run(python, version, store, folder / store)
    diaries = {store: (folder / store / "diary.json").read_text("utf-8") for store in stores}
    calls = {store: json.loads(diary) for store, diary in diaries.items()}
    expected = {"mlflow": version, "python": VERSIONS[version], "stores": calls}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    content = archive_of(folder)
    shutil.rmtree(folder)
    return content


def number(version: str) -> tuple[int, ...]:
    """Return a version as a tuple of numbers for comparisons."""
    return tuple(int(part) for part in version.split("."))


# -- environment ---------------------------------------------------------------------------


def install(version: str, folder: Path) -> Path:
    """Create a virtual environment with a version of MLflow, and return its Python."""
    subprocess.run([find_python(VERSIONS[version]), "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    if VERSIONS[version] == "3.6":
        subprocess.run([*pip, LAST_PIP_OF_3_6], check=True)
    packages = [f"mlflow=={version}"]
    if number(version) >= (2, 22):
        packages.append(f"mlflow-skinny=={version}")
    if number(version) >= (3, 2):
        packages.append(f"mlflow-tracing=={version}")
    pins = HERE / "requirements" / f"{version}.txt"
    # Without dependencies: MLflow requires far more packages than its stores use.
    subprocess.run([*pip, "--no-deps", "-r", pins, *packages], check=True)
    return python


def find_python(version: str) -> str:
    """Return the path of a working Python of this version.

    Raises:
        LookupError: No such Python exists.
    """
    for candidate in candidates(version):
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if output.strip() == version:
            return candidate
    raise LookupError(f"no python{version} on PATH or below the folders in PYTHONS")


def candidates(version: str) -> Iterator[str]:
    """Yield the paths at which a Python of this version may be."""
    name = f"python{version}"
    for folder in filter(None, os.environ.get("PYTHONS", "").split(os.pathsep)):
        root = Path(folder).expanduser()
        yield from (str(path) for path in [root / name, *sorted(root.glob(f"*/bin/{name}"))])
    on_path = shutil.which(name)
    if on_path:
        yield on_path


# -- run -----------------------------------------------------------------------------------


def run(python: Path, version: str, store: str, folder: Path) -> None:
    """Run the program in a new folder, which is a git repository."""
    folder.mkdir(parents=True)
    for path in (HERE / "program").glob("*.py"):
        shutil.copy(path, folder)
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_AUTHOR_DATE": "2018-06-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2018-06-01T00:00:00Z",
    }
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    commands = [
        ["git", "-c", "init.defaultBranch=main", "init", "--quiet"],
        # An empty commit, so that a change to the program does not change the commit in each store.
        ["git", *author, "commit", "--quiet", "--allow-empty", "--message", "Train"],
        [str(python), "-W", "ignore", "train.py", version, store],
    ]
    for command in commands:
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )
        if result.returncode:
            print(result.stdout + result.stderr, file=sys.stderr)
            result.check_returncode()


def archive_of(folder: Path) -> bytes:
    """Return a gzip-compressed tar file of the stores, without modification times and users."""
    paths = [folder / "expected.json"]
    for store in STORES:
        paths += [folder / store / "mlflow.db", folder / store / "mlruns"]
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for top in filter(Path.exists, paths):
            for path in [top, *sorted(top.rglob("*"))]:
                entry = archive.gettarinfo(path, path.relative_to(folder).as_posix())
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                entry.mode = 0o755 if path.is_dir() else 0o644
                if path.is_dir():
                    archive.addfile(entry)
                else:
                    with path.open("rb") as file:
                        archive.addfile(entry, file)
    return gzip.compress(plain.getvalue(), compresslevel=9, mtime=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
