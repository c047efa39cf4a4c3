"""Wheel and sdist, the server's image, and what they need of the repository."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from yprov_mlflow import prov

ROOT = Path(__file__).parents[2]
PACKAGE = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "yprov_mlflow").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the sdist, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_wheel_has_all_files_of_the_package_and_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
        fields = HeaderParser().parsestr(wheel.read(metadata).decode())
    assert names == PACKAGE
    assert fields["Version"] == prov.__version__
    assert fields["Description-Content-Type"] == "text/markdown"
    assert fields["License-Expression"] == "Apache-2.0"


def test_sdist_has_package_tests_and_pages(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names >= PACKAGE
    assert {path.name for path in ROOT.glob("*.md")} <= names
    assert names >= {"LICENSE", "Dockerfile", "mkdocs.yml", "docs/index.md", "docs/quickstart.svg"}
    assert names >= {"tests/conftest.py", "examples/quickstart.py", "migration/README.md"}


def test_readme_has_no_links_that_break_outside_of_the_repository() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert [t for t in targets if not t.startswith("https://")] == ["docs/quickstart.svg"]


def test_image_copies_what_exists_and_starts_server_without_rights() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    kept = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE):
        *sources, _ = shlex.split(line)
        assert all((ROOT / source).exists() and f"!{source}" in kept for source in sources)
    command = json.loads(re.findall(r"^CMD (.*)", text, re.MULTILINE)[-1])
    assert command[:4] == ["mlflow", "server", "--app-name", "yprov"]
    assert re.search(r"^USER \d+$", text, re.MULTILINE)
