"""The code of a run: commit and changes as a plan, and the files that are kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import CODE_FACTS, NOTEBOOK_FACTS
from yprov_mlflow.prov.layout import KEPT_CODE, PROVENANCE
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import content
from yprov_mlflow.prov.model.literals import boolean, plain, text
from yprov_mlflow.prov.translate.artifacts import media_type
from yprov_mlflow.prov.translate.translation import Translation

_TERMS = {
    "commit": "mlf:gitCommit",
    "branch": "mlf:gitBranch",
    "dirty": "mlf:gitDirty",
    "diff_sha256": "mlf:gitDiffSha256",
    "remote": "schema:codeRepository",
    "entry_point": "mlf:entryPoint",
    "entry_point_sha256": "mlf:entryPointSha256",
    "commit_time": "mlf:gitCommitTime",
}


class KeptFile(NamedTuple):
    """A file of the code that is among the artifacts of the run."""

    folder: str  # the digest of the files that were kept together
    path: str
    sha256: str
    size: object
    withheld: bool


def kept_files(collected: Mapping[str, Mapping[str, Any]]) -> list[KeptFile]:
    """Return the kept files in the facts of the collectors of a session."""
    files = []
    for collector in (CODE_FACTS, NOTEBOOK_FACTS):
        facts = collected.get(collector, {})
        for file in facts.get("files") or ():
            if not isinstance(file, Mapping):
                continue
            path, sha256 = file.get("path"), file.get("sha256")
            if isinstance(path, str) and isinstance(sha256, str):
                withheld = file.get("withheld") is True
                digest = str(facts.get("digest"))
                files.append(KeptFile(digest, path, sha256, file.get("size"), withheld))
    return files


def add_plan(
    translation: Translation, facts: Mapping[str, Any], kept: list[KeptFile] | None = None
) -> str | None:
    """Add the code as a plan and return its entity; None if nothing is known of it.

    Args:
        translation: The document.
        facts: The facts of git.
        kept: The files that are kept, which identify the code as well.
    """
    facts = {key: value for key, value in facts.items() if value is not None}
    if not facts and not kept:
        return None
    commit = str(facts.get("commit") or "")
    label = str(facts.get("entry_point") or "code")
    label = text(f"{label} at {commit[:12]}" if commit else label)
    attributes: dict[str, Any] = {term: plain(facts.get(key)) for key, term in _TERMS.items()}
    if others := {key: value for key, value in facts.items() if key not in _TERMS}:
        attributes["mlf:facts"] = literals.canonical(others)
    if isinstance(facts.get("commit_time"), int):
        attributes["mlf:gitCommitTime"] = literals.timestamp(facts["commit_time"] * 1000)
    types = ["prov:Plan", "schema:SoftwareSourceCode"]
    if not kept:
        return translation.builder.entity(content({"code": facts}), types, label, attributes)
    folders = sorted({file.folder for file in kept})
    places = [text(f"{PROVENANCE}/{KEPT_CODE}/{folder}") for folder in folders]
    attributes["mlf:keptIn"] = places if len(places) > 1 else places[0]
    identifier = content({"code": facts, "kept": folders})
    types.append("prov:Collection")
    plan = translation.builder.entity(identifier, types, label, attributes)
    for file in kept:
        translation.builder.had_member(plan, _add_file(translation, file))
    return plan


def _add_file(translation: Translation, file: KeptFile) -> str:
    builder = translation.builder
    attributes = {
        "mlf:path": text(file.path),
        "mlf:sha256": text(file.sha256),
        "mlf:size": plain(file.size),
        "mlf:secretsWithheld": boolean(True) if file.withheld else None,
        "schema:encodingFormat": media_type(file.path),
    }
    identifier = content({"kept": [file.path, file.sha256, file.withheld]})
    types = ["mlf:KeptFile", "schema:MediaObject"]
    entity = builder.entity(identifier, types, text(file.path), attributes)
    label = f"sha256 {file.sha256[:12]}"
    bytes_ = builder.entity(f"sha256:{file.sha256}", ["mlf:Content"], label)
    builder.specialization_of(entity, bytes_)
    return entity
