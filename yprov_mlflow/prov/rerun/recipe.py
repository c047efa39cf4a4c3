"""The recipe of a run in its document: code, command, environment, data, store.

A document may come from anyone, and have anything in it: texts are checked where they are used.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.layout import KEPT_CELLS, KEPT_FILES, KEPT_PATCH, KEPT_SCRIPT
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.views.document_reader import DocumentReader, Record, mapping, text, value
from yprov_mlflow.prov.views.summary import from_document
from yprov_mlflow.prov.views.summary_report import Environment, Summary

_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = re.compile("[0-9a-f]{64}")
_FOLDER = re.compile(r"provenance/code/[0-9a-f]{16}")
_KERNELS = frozenset({"ipykernel_launcher", "colab_kernel_launcher", "ipykernel"})
_READ_ROLES = frozenset({"mlf:loaded", "mlf:downloaded", "mlf:evaluated", "mlf:read"})


@dataclass(frozen=True)
class KeptFile:
    """A file of the code that is kept; ``path`` is below the folder of kept code."""

    path: str
    sha256: str
    withheld: bool


@dataclass(frozen=True)
class Invocation:
    """How a process was started, see ``collectors.code.invocation``."""

    kind: str = "other"
    target: str = ""
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    folder: str | None = None
    origin: str | None = None
    repository: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFile:
    """A file that the run read: its path as the run named it, and its SHA-256 if that is known."""

    path: str
    sha256: str | None
    label: str


@dataclass(frozen=True)
class Recipe:
    """Everything that it takes to run a run again, if its document has it.

    Args:
        summary: The summary of the document.
        commit: Git commit of the code; None without a repository.
        remote: URL of its remote.
        is_dirty: Whether the code had changes that the commit lacks.
        kept: The files of the code that are kept.
        kept_in: Their folders among the artifacts.
        not_kept: Paths and reasons of files that are not kept.
        invocation: How the process was started; None if the document does not say.
        working_folder: Its working directory.
        environment: Python and packages; None if the document lacks them.
        local_packages: Origins of the packages that are from no index.
        data: Files that the run read.
        remote_data: Sources of datasets that are not local files.
        store: URI of the store.
        reads: Objects of the store that the run read, as it asked for them.
        processes: Number of processes that worked on the run.
    """

    summary: Summary
    commit: str | None
    remote: str | None
    is_dirty: bool
    kept: tuple[KeptFile, ...]
    kept_in: tuple[str, ...]
    not_kept: tuple[tuple[str, str], ...]
    invocation: Invocation | None
    working_folder: str | None
    environment: Environment | None
    local_packages: Mapping[str, str]
    data: tuple[DataFile, ...]
    remote_data: tuple[str, ...]
    store: str | None
    reads: tuple[str, ...]
    processes: int

    @property
    def patch(self) -> KeptFile | None:
        """The changes since the commit."""
        return next((file for file in self.kept if file.path == KEPT_PATCH), None)

    @property
    def cells(self) -> KeptFile | None:
        """The cells that a notebook executed."""
        return next((file for file in self.kept if file.path == KEPT_CELLS), None)

    @property
    def files(self) -> list[tuple[str, KeptFile]]:
        """The kept files of the source tree, by their paths in it."""
        start = f"{KEPT_FILES}/"
        files = (file for file in self.kept if file.path.startswith(start))
        return [(file.path.removeprefix(start), file) for file in files]

    @property
    def script(self) -> KeptFile | None:
        """A script outside the repository."""
        start = f"{KEPT_SCRIPT}/"
        return next((file for file in self.kept if file.path.startswith(start)), None)

    @property
    def is_notebook(self) -> bool:
        """Whether a notebook logged the run."""
        return self.invocation is not None and self.invocation.target in _KERNELS


def read(document: Document) -> Recipe:
    """Return the recipe in the document of a run.

    Raises:
        DocumentError: The document is not that of a run.
    """
    reader = DocumentReader(document)
    if "run:run" not in reader.section("activity"):
        cure = "Give the id of a run, or the prov.json among its artifacts"
        raise DocumentError("the document describes no run", None, cure)
    summary = from_document(document)
    sessions = [
        (identifier, record)
        for identifier, record in reader.of_type("activity", "mlf:RunSession")
        if "mlf:commandLine" in record or "mlf:invocation" in record
    ]
    sessions.sort(key=_first_process)
    session_id, session = sessions[0] if sessions else ("run:run", {})
    code_id, code = _used(reader, session_id, "schema:SoftwareSourceCode")
    environment_id, environment = _used(reader, session_id, "mlf:Environment")
    environments = {str(e.record_id): e for e in summary.environments}
    commit = text(code.get("mlf:gitCommit"))
    kept_in = value(code.get("mlf:keptIn", []))
    folders = kept_in if isinstance(kept_in, list) else [kept_in]
    data, remote_data = _data(reader, summary)
    stores = (text(r.get("mlf:uri")) for _, r in reader.of_type("entity", "mlf:TrackingStore"))
    return Recipe(
        summary=summary,
        commit=commit if commit and _COMMIT.fullmatch(commit) else None,
        remote=text(code.get("schema:codeRepository")),
        is_dirty=value(code.get("mlf:gitDirty")) is True,
        kept=tuple(_kept(reader, code_id)),
        kept_in=tuple(str(folder) for folder in folders if _FOLDER.fullmatch(str(folder))),
        not_kept=tuple(_not_kept(session)),
        invocation=_invocation(session, code),
        working_folder=text(session.get("mlf:workingDirectory")),
        environment=environments.get(environment_id),
        local_packages=_texts(mapping(environment.get("mlf:facts")).get("local")),
        data=tuple(data),
        remote_data=tuple(remote_data),
        store=next(stores, None),
        reads=tuple(_reads(reader)),
        processes=len({(r.get("mlf:rank") and text(r["mlf:rank"])) for _, r in sessions}) or 1,
    )


def _first_process(entry: tuple[str, Record]) -> tuple[bool, int, str]:
    """Sort key: client before server, first rank, first session."""
    record = entry[1]
    rank = value(record.get("mlf:rank", 0))
    is_server = text(record.get("mlf:side")) == "server"
    start = text(record.get("prov:startTime")) or "9"
    return is_server, rank if isinstance(rank, int) else 0, start


def _used(reader: DocumentReader, session: str, kind: str) -> tuple[str, Record]:
    """Return the entity of a type that a session used, or else the only one of the document."""
    entities = dict(reader.of_type("entity", kind))
    for usage in reader.section("used").values():
        entity = str(usage.get("prov:entity"))
        if entity in entities and str(usage.get("prov:activity")) == session:
            return entity, entities[entity]
    return next(iter(entities.items()), ("", {}))


def _kept(reader: DocumentReader, code: str) -> Iterator[KeptFile]:
    files = dict(reader.of_type("entity", "mlf:KeptFile"))
    for member in reader.section("hadMember").values():
        record = files.get(str(member.get("prov:entity")))
        if record is None or str(member.get("prov:collection")) != code:
            continue
        path, sha256 = text(record.get("mlf:path")), text(record.get("mlf:sha256"))
        if path and sha256 and _SHA256.fullmatch(sha256):
            yield KeptFile(path, sha256, value(record.get("mlf:secretsWithheld")) is True)


def _not_kept(session: Record) -> Iterator[tuple[str, str]]:
    entries = mapping({"$": f'{{"files":{text(session.get("mlf:codeNotKept")) or "[]"}}}'})
    for entry in entries.get("files") or ():
        if isinstance(entry, Mapping) and isinstance(entry.get("path"), str):
            yield entry["path"], str(entry.get("reason"))


def _invocation(session: Record, code: Record) -> Invocation | None:
    facts = mapping(session.get("mlf:invocation"))
    if facts:
        return Invocation(
            kind=str(facts.get("kind")),
            target=str(facts.get("target") or ""),
            options=_words(facts.get("options")),
            arguments=_words(facts.get("arguments")),
            folder=facts["folder"] if isinstance(facts.get("folder"), str) else None,
            origin=facts["origin"] if isinstance(facts.get("origin"), str) else None,
            repository=facts.get("repository") is True,
            variables=_texts(facts.get("variables")),
        )
    # Without the collector `code`, the script and its arguments are all that is known.
    line = mapping({"$": f'{{"words":{text(session.get("mlf:commandLine")) or "[]"}}}'})
    words, script = _words(line.get("words")), text(code.get("mlf:entryPoint"))
    if not script or not words:
        return None
    has_commit = "mlf:gitCommit" in code
    return Invocation("script", script, (), words[1:], repository=has_commit)


def _words(words: object) -> tuple[str, ...]:
    is_list = isinstance(words, Sequence) and not isinstance(words, str)
    return tuple(map(str, words)) if is_list and isinstance(words, Sequence) else ()


def _texts(facts: object) -> dict[str, str]:
    items = facts.items() if isinstance(facts, Mapping) else ()
    return {str(key): content for key, content in items if isinstance(content, str)}


def _data(reader: DocumentReader, summary: Summary) -> tuple[list[DataFile], list[str]]:
    """Return the local files that the run read, and the sources of other datasets."""
    files: dict[str, DataFile] = {}
    remote: list[str] = []
    written = {str(r.get("prov:entity")) for r in reader.section("wasGeneratedBy").values()}
    for identifier, record in reader.of_type("entity", "mlf:File"):
        path = text(record.get("mlf:path"))
        if path and identifier not in written:
            files[path] = DataFile(path, text(record.get("mlf:sha256")), path)
    for identifier, record in reader.of_type("entity", "mlf:FileCollection"):
        path = text(record.get("mlf:path"))
        if path and identifier not in written:
            files[path] = DataFile(path, None, f"{path}, a folder of files")
    for dataset in summary.datasets:
        source = _source(dataset.source)
        if source is None:
            continue
        url = urlsplit(source)
        path = unquote(url.path) if url.scheme == "file" else source
        if url.scheme not in ("", "file"):
            remote.append(f"{dataset.name}: {source}")
        elif posixpath.normpath(path) not in map(posixpath.normpath, files):
            files[path] = DataFile(path, None, f"{path}, dataset {dataset.name}")
    return list(files.values()), remote


def _source(source: str | None) -> str | None:
    """Return the path or URL in the source of a dataset; None for code and other sources."""
    facts = mapping({"$": source or "{}"})
    for key in ("uri", "url", "path"):
        if isinstance(facts.get(key), str) and facts[key]:
            return str(facts[key])
    return None


def _reads(reader: DocumentReader) -> Iterator[str]:
    """Yield what the run read from its store, as it asked for it."""
    seen = set()
    for usage in reader.section("used").values():
        entity = str(usage.get("prov:entity"))
        if text(usage.get("prov:role")) not in _READ_ROLES or entity.startswith("sha256:"):
            continue
        what = text(usage.get("mlf:requested")) or entity
        if what not in seen:
            seen.add(what)
            yield what
