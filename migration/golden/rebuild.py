"""Make the golden stores anew: old MLflow versions, each in an environment of its own.

    python migration/golden/rebuild.py [VERSION ...]

For each version (all if none is named) this makes a virtual environment with a Python that it
runs on, installs MLflow and the pinned packages of ``requirements/VERSION.txt`` from PyPI, runs
``program/train.py`` against a tree of files and, where there is one, a SQLite database, and packs
both with the program's notes of what it did as ``VERSION.tar.gz``. Old Pythons are looked for by
name on PATH (``python3.6``) and below the folders that the variable PYTHONS names, such as
that of pyenv. Needs git. The same packages give the same bytes, in the same place.
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

PLACE = Path(tempfile.gettempdir(), "mlflow-golden")
"""Where the programs run: stores have it in the URIs of their artifacts."""

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
"""Versions, and the Python that each is run by."""

FIRST_WITH_DATABASE = "0.9.1"
STORES = ("tree", "database")
LAST_PIP_OF_3_6 = "pip==21.3.1"
"""The pip that comes with Python 3.6 knows no wheels of today."""


def main(wanted: list[str]) -> int:
    """Make the archives of the versions that are named, or of all; tell what came of each."""
    unknown = [version for version in wanted if version not in VERSIONS]
    if unknown:
        print(f"not one of {', '.join(VERSIONS)}: {', '.join(unknown)}", file=sys.stderr)
        return 2
    failed = 0
    for version in wanted or VERSIONS:
        try:
            content = build(version)
        except (LookupError, OSError, subprocess.CalledProcessError) as error:
            print(f"{version}: {error}", file=sys.stderr)
            failed += 1
            continue
        archive = HERE / f"{version}.tar.gz"
        same = archive.exists() and archive.read_bytes() == content
        archive.write_bytes(content)
        print(f"{version}: {len(content)} bytes, {'as before' if same else 'new'}", flush=True)
    return 1 if failed else 0


def build(version: str) -> bytes:
    """Install a version, run the program, give the archive."""
    stores = STORES if number(version) >= number(FIRST_WITH_DATABASE) else STORES[:1]
    place = PLACE / version
    shutil.rmtree(place, ignore_errors=True)
    # A folder of a fixed name: traces of exceptions have it.
    python = install(version, place / "environment")
    for store in stores:
        run(python, version, store, place / store)
    diaries = {store: (place / store / "diary.json").read_text("utf-8") for store in stores}
    notes = {store: json.loads(diary) for store, diary in diaries.items()}
    expected = {"mlflow": version, "python": VERSIONS[version], "stores": notes}
    (place / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    content = packed(place)
    shutil.rmtree(place)
    return content


def number(version: str) -> tuple[int, ...]:
    """Give a version as numbers, to compare it."""
    return tuple(int(part) for part in version.split("."))


# -- environment ---------------------------------------------------------------------------


def install(version: str, folder: Path) -> Path:
    """Make an environment with one version of MLflow; gives its Python."""
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
    # Without dependencies: MLflow asks for far more than its stores need.
    subprocess.run([*pip, "--no-deps", "-r", pins, *packages], check=True)
    return python


def find_python(version: str) -> str:
    """Find a Python that runs.

    Raises:
        LookupError: There is none.
    """
    for candidate in candidates(version):
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if answer.strip() == version:
            return candidate
    raise LookupError(f"no python{version} on PATH or below the folders in PYTHONS")


def candidates(version: str) -> Iterator[str]:
    """Give what may be a Python of this version."""
    name = f"python{version}"
    for folder in filter(None, os.environ.get("PYTHONS", "").split(os.pathsep)):
        below = Path(folder).expanduser()
        yield from (str(path) for path in [below / name, *sorted(below.glob(f"*/bin/{name}"))])
    found = shutil.which(name)
    if found:
        yield found


# -- run -----------------------------------------------------------------------------------


def run(python: Path, version: str, store: str, place: Path) -> None:
    """Run the program in a folder of its own, under git, as people have it."""
    place.mkdir(parents=True)
    for path in (HERE / "program").glob("*.py"):
        shutil.copy(path, place)
    surroundings = {
        "PATH": os.defpath,
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_AUTHOR_DATE": "2018-06-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2018-06-01T00:00:00Z",
    }
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    commands = [
        ["git", "-c", "init.defaultBranch=main", "init", "--quiet"],
        # Empty, so that a change of the program does not change every store.
        ["git", *who, "commit", "--quiet", "--allow-empty", "--message", "Train"],
        [str(python), "-W", "ignore", "train.py", version, store],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=place, env=surroundings, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            done.check_returncode()


def packed(place: Path) -> bytes:
    """Give the stores and the notes as a compressed tar that has no trace of when or by whom."""
    chosen = [place / "expected.json"]
    for store in STORES:
        chosen += [place / store / "mlflow.db", place / store / "mlruns"]
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for top in filter(Path.exists, chosen):
            for path in [top, *sorted(top.rglob("*"))]:
                entry = archive.gettarinfo(path, path.relative_to(place).as_posix())
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
