"""Facts of a document that yProv4ML's readers show: times, machine, code, packages, files."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.literals import mapping
from yprov_mlflow.prov.profiles import yprov4ml_names as names
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, as_json, attribute
from yprov_mlflow.prov.translate.inverse.document_index import names as qualified_names

_MODEL_FILE = "MLmodel"
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


def local_time(text: str | None) -> str | None:
    """Return a time in UTC without its zone, None if the text is not a time.

    yProv4ML's times are without a zone, and its card cannot subtract times with a zone from others.
    """
    try:
        moment = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.isoformat()
    return moment.astimezone(datetime.UTC).replace(tzinfo=None).isoformat()


def time_of_ms(time_ms: int) -> str | None:
    """Return a time in ms since the epoch as ``local_time`` does."""
    try:
        moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return local_time(moment.isoformat())


def contexts(document: Document) -> dict[str, tuple[str | None, str | None]]:
    """Return the start and end of each context by its id in the profile, as the document has them.

    A context that was entered several times, or by several ranks, lasts from its first start to
    its last end.
    """
    spans: dict[str, tuple[str | None, str | None]] = {}
    for identifier, record in document.records.get("activity", {}).items():
        context = names.context_of_activity(identifier)
        if context is None or "/epoch/" in identifier.rpartition("/context/")[2]:
            continue
        start, end = record.get("prov:startTime"), record.get("prov:endTime")
        if context in spans:
            first, last = spans[context]
            start = min(filter(None, (first, start)), default=None)
            end = max(filter(None, (last, end)), default=None)
        spans[context] = (start, end)
    return spans


def of_type(records: Mapping[str, Record], kind: str) -> Iterator[tuple[str, Record]]:
    """Yield the records that have a type, by their ids."""
    for identifier, record in sorted(records.items()):
        if kind in qualified_names(record, "prov:type"):
            yield identifier, record


def machine(index: DocumentIndex) -> dict[str, str | None]:
    """Return yProv4ML's attributes about process and machine, those of the first session."""
    sessions = [record for _, record in of_type(index.activities, "mlf:RunSession")]
    hosts = [record for _, record in of_type(index.entities, "mlf:Host")]
    session, host = next(iter(sessions), {}), next(iter(hosts), {})
    more = mapping(as_json(host, "mlf:facts"))
    ranks = {attribute(record, "mlf:rank") or 0 for record in sessions}
    return {
        "yprov:python_version": attribute(session, "mlf:pythonVersion"),
        "yprov:host_name": more.get("hostname"),
        "yprov:operating_system": attribute(host, "mlf:operatingSystem"),
        "yprov:release": more.get("release"),
        "yprov:processor": more.get("cpu_model"),
        "yprov:machine": attribute(host, "mlf:machine"),
        "yprov:global_rank": str(names.RANK),
        "yprov:runtime_type": "distributed" if len(ranks) > 1 else "single_core",
    }


def commit(index: DocumentIndex) -> tuple[str, str] | None:
    """Return repository and commit of the code, joined by a slash, and the id of the code.

    Return None if git did not answer.
    """
    for identifier, record in of_type(index.entities, "schema:SoftwareSourceCode"):
        if digest := attribute(record, "mlf:gitCommit"):
            remote = str(attribute(record, "schema:codeRepository") or "")
            return f"{_CREDENTIALS.sub('', remote)}/{digest}", identifier
    return None


def command(index: DocumentIndex) -> tuple[str, str] | None:
    """Return the command line of the first session that has one, and the id of the session."""
    for identifier, record in of_type(index.activities, "mlf:RunSession"):
        argv = as_json(record, "mlf:commandLine")
        if isinstance(argv, list) and argv:
            return shlex.join(["python", *map(str, argv)]), identifier
    return None


def packages(index: DocumentIndex) -> tuple[Sequence[str], str]:
    """Return the lines of a requirements file, and the id of the environment that has them."""
    for identifier, record in of_type(index.entities, "mlf:Environment"):
        return str(attribute(record, "mlf:packages") or "").splitlines(), identifier
    return (), ""


def artifact_rows(
    files: Sequence[Mapping[str, Any]], room: int
) -> Iterator[tuple[str, str, str, int | None, int | None]]:
    """Yield path, kind, a path inside, size and number of files of artifacts.

    Models of MLflow 2 are folders with a file ``MLmodel``. If all files would be too many, the
    folders have to do.
    """
    models = [
        path.rpartition("/")[0]
        for path in (str(file["path"]) for file in files)
        if path.rpartition("/")[2] == _MODEL_FILE
    ]
    groups: dict[str, list[Mapping[str, Any]]] = {folder: [] for folder in models}
    single: list[Mapping[str, Any]] = []
    for file in files:
        path = str(file["path"])
        folder = next((f for f in models if f and path.startswith(f"{f}/")), None)
        (groups[folder] if folder is not None else single).append(file)
    for folder, content in groups.items():
        if content:
            yield (folder, "Model", str(content[0]["path"]), _size(content), len(content))
    if len(single) + len(groups) <= room:
        for file in single:
            yield (str(file["path"]), "Artifact", str(file["path"]), file["size"], None)
        return
    folders: dict[str, list[Mapping[str, Any]]] = {}
    for file in single:
        folders.setdefault(str(file["path"]).rpartition("/")[0], []).append(file)
    for folder, content in sorted(folders.items()):
        path = folder or "."
        yield (path, "Artifact", str(content[0]["path"]), _size(content), len(content))


def _size(files: Sequence[Mapping[str, Any]]) -> int | None:
    sizes = [file["size"] for file in files]
    return None if None in sizes else sum(sizes)
