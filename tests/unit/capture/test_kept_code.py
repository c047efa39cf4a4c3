"""Kept code on its way to the artifacts of a run."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from yprov_mlflow.prov.capture import kept_code
from yprov_mlflow.prov.collectors.code import keep
from yprov_mlflow.prov.events import CODE_FACTS, FactsCollected
from yprov_mlflow.prov.layout import KEPT, OWN_ARTIFACT

DIGEST = "0" * 16


def event(*paths: str, digest: str = DIGEST) -> FactsCollected:
    files = [{"path": p, "sha256": hashlib.sha256(p.encode()).hexdigest()} for p in paths]
    facts = {"files": files, "digest": digest, "invocation": {}}
    return FactsCollected("r", "s", 0, 0, CODE_FACTS, facts)


def store(directory: Path, *paths: str) -> None:
    for path in paths:
        keep(directory / KEPT, hashlib.sha256(path.encode()).hexdigest(), path.encode())


def test_files_are_copied_to_their_paths(tmp_path: Path) -> None:
    store(tmp_path, "files/a/b.py", "changes.patch")
    kept = kept_code.KeptCode(tmp_path)
    assert kept.feed(event("files/a/b.py", "changes.patch")).facts["files"]
    root = kept.copy_to(tmp_path / "out")
    assert root is not None
    paths = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert paths == {f"{DIGEST}/files/a/b.py", f"{DIGEST}/changes.patch"}
    assert all(OWN_ARTIFACT.match(f"provenance/code/{path}") for path in paths)


def test_a_document_names_no_file_that_cannot_be_delivered(tmp_path: Path) -> None:
    store(tmp_path, "here.py")
    kept = kept_code.KeptCode(tmp_path)
    facts = kept.feed(event("here.py", "gone.py")).facts
    assert [file["path"] for file in facts["files"]] == ["here.py"]
    assert "invocation" in facts


def test_paths_of_a_damaged_journal_lead_nowhere(tmp_path: Path) -> None:
    paths = ("../../evil", "/tmp/evil")
    store(tmp_path, *paths)
    kept = kept_code.KeptCode(tmp_path)
    assert kept.feed(event(*paths)).facts["files"] == []
    assert kept.feed(event("changes.patch", digest="../x")).facts["files"] == []
    assert kept.copy_to(tmp_path / "out") is None


def test_prune_removes_old_contents_that_no_delivery_has_used(tmp_path: Path) -> None:
    store(tmp_path, "old", "used", "new")
    day_s = 86_400
    for path in ("old", "used"):
        file = tmp_path / KEPT / hashlib.sha256(path.encode()).hexdigest()
        os.utime(file, (time.time() - 9 * day_s,) * 2)
    kept = kept_code.KeptCode(tmp_path)
    kept.feed(event("used"))
    kept.copy_to(tmp_path / "out")
    kept_code.prune(tmp_path, 7)
    contents = {path.read_text() for path in (tmp_path / KEPT).iterdir()}
    assert contents == {"used", "new"}
