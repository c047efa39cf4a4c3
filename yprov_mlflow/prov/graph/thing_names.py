"""Names that people use, as records of a graph: of runs, models, datasets, files and commits."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pyoxigraph import Literal

from yprov_mlflow.prov.errors import DocumentError, ThingError
from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lookup import about, iri, pointing, text, values
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.ids import quote_key

_HEXADECIMAL = re.compile(r"[0-9a-f]+\Z")
_SHORTEST_PREFIX = 4
_SHA256_DIGITS = 64


class Match(NamedTuple):
    """The records behind a name."""

    kind: str
    name: str
    """A name that fits nothing else."""

    records: tuple[str, ...]
    """IRIs of its records: several if, for example, runs read one file."""


def resolve(graph: Graph, name: str) -> Match:
    """Return the records behind a name.

    Args:
        graph: The documents.
        name: A run's id, the beginning of it, its name, ``latest`` or ``EXPERIMENT/NAME``; a URI
            of MLflow (``runs:/…``, ``models:/…``, ``prompts:/…``); the name or digest of a
            dataset; the path or SHA-256 of a file; a commit. A kind in front of it and a colon,
            such as ``dataset:clean``, allow only this kind.

    Raises:
        ThingError: It is the name of nothing in the graph, or of several things.
    """
    kind, colon, local = name.partition(":")
    if colon and kind in ("runs", "models", "prompts") and local.startswith("/"):
        return _of_uri(graph, kind, local.strip("/"), name)
    if colon and kind in _FINDERS:
        return _single(name, _FINDERS[kind](graph, local), kind)
    matches: dict[tuple[str, ...], Match] = {}
    for finder in _FINDERS.values():
        # Files by a part of their path are looked for last, as that reads all paths.
        if finder is not _files or not matches or _is_path(name):
            for match in finder(graph, name):
                matches.setdefault(match.records, match)
    return _single(name, matches.values())


def _is_path(name: str) -> bool:
    return "/" in name or "." in name or Path(name).is_file()


def resolve_run(graph: Graph, name: str) -> str:
    """Return the IRI of the run with a name, as ``resolve`` understands names of runs."""
    local = name.removeprefix("run:").removeprefix("runs:/")
    return _single(name, _runs(graph, local), "run").records[0]


def runs_called(graph: Graph, name: str) -> list[things.Thing]:
    """Return all runs with a name, as ``resolve`` understands names of runs."""
    records = [match.records[0] for match in _runs(graph, name)]
    return list(things.describe(graph, dict.fromkeys(records, things.RUN)).values())


def _single(name: str, matches: Iterable[Match], kind: str | None = None) -> Match:
    candidates = list(matches)
    if not candidates:
        raise ThingError.missing(name) if kind is None else ThingError.missing(name, kind)
    if len(candidates) > 1:
        raise ThingError.ambiguous(name, [match.name for match in candidates])
    return candidates[0]


# -- runs ------------------------------------------------------------------------------


def _runs(graph: Graph, name: str) -> Iterator[Match]:
    if name == "latest":
        yield from _latest_run(graph)
        return
    by_id = _runs_by_id(graph, name)
    experiment, slash, run_name = name.rpartition("/")
    by_name = by_id or _labelled(graph, name, things.RUN)
    if not by_name and slash:
        in_experiment = [
            run
            for run in _labelled(graph, run_name, things.RUN)
            if things.describe(graph, {run: things.RUN})[run].details.get("experiment")
            == experiment
        ]
        by_name = in_experiment
    described = things.describe(graph, dict.fromkeys(by_name, things.RUN))
    for run, thing in described.items():
        yield Match("run", f"run:{thing.details.get('run_id', run)}", (run,))


def _runs_by_id(graph: Graph, name: str) -> list[str]:
    exact = _with_value(graph, "mlf:runId", name)
    if exact or len(name) < _SHORTEST_PREFIX or not _HEXADECIMAL.match(name):
        return exact
    ids = graph.quads(None, iri("mlf:runId"))
    runs = list(dict.fromkeys(text(q.subject) for q in ids if text(q.object).startswith(name)))
    kinds = things.kinds_of(graph, runs)
    return [run for run in runs if kinds.get(run) == things.RUN]


def _latest_run(graph: Graph) -> Iterator[Match]:
    rows = graph.select(
        "SELECT ?run ?id WHERE { ?run a mlf:Run ; mlf:runId ?id ; prov:startedAtTime ?start }"
        " ORDER BY DESC(?start) LIMIT 1"
    ).rows
    for run, run_id in rows:
        if run is not None and run_id is not None:
            yield Match("run", f"run:{text(run_id)}", (text(run),))


# -- models and prompts ----------------------------------------------------------------


def _of_uri(graph: Graph, scheme: str, local: str, name: str) -> Match:
    if scheme == "runs":
        run_id, _, path = local.partition("/")
        run = _single(name, _runs(graph, run_id), "run")
        if not path:
            return run
        return _single(name, _artifacts(graph, run.records[0], path), "artifact")
    if scheme == "models" and local.startswith("m-") and "/" not in local:
        return _single(name, _logged_models(graph, local), "model")
    kind = things.VERSION if scheme == "models" else things.PROMPT
    return _single(name, _versions(graph, local, kind), "model" if scheme == "models" else "prompt")


def _artifacts(graph: Graph, run: str, path: str) -> Iterator[Match]:
    base = run.rpartition("#")[0] + "#"
    of_file, of_folder = f"{base}artifact/{quote_key(path)}", f"{base}folder/{quote_key(path)}"
    kinds = things.kinds_of(graph, [of_file, of_folder])
    # Later versions of a file have a number after the id of the first one; PROV names them so.
    versions = [
        record
        for record in _with_value(graph, "mlf:path", path)
        if record.startswith(base) and record in things.kinds_of(graph, [record])
    ]
    records = tuple(dict.fromkeys([*(r for r in (of_file, of_folder) if r in kinds), *versions]))
    if records:
        yield Match("file", path, records)


def _logged_models(graph: Graph, name: str) -> Iterator[Match]:
    models = _with_value(graph, "mlf:modelId", name)
    if models:
        yield Match("model", f"models:/{name}", tuple(models))


def _versions(graph: Graph, local: str, kind: str) -> Iterator[Match]:
    model, at, alias = local.partition("@")
    number = ""
    if not at:
        model, _, number = local.partition("/")
    scheme = "models" if kind == things.VERSION else "prompts"
    for registered in _registered(graph, model):
        # There may be thousands: a number needs no look at the others.
        parts = [f"{registered}/version/{quote_key(number)}"]
        if not number:
            parts = pointing(graph, [registered], "prov:specializationOf")[registered]
        kinds = things.kinds_of(graph, parts)
        versions = [part for part in parts if kinds.get(part) == kind]
        if at:
            assignment = things.current_assignment(graph, f"{registered}/alias/{quote_key(alias)}")
            targets = about(graph, [assignment], "mlf:target") if assignment else {}
            versions = [v for s in targets.values() for v in values(s.get("mlf:target", ()))]
        if versions:
            yield Match("model", f"{scheme}:/{local}", tuple(versions))


def _registered(graph: Graph, name: str) -> list[str]:
    types = {iri("mlf:RegisteredModel"), iri("mlf:Prompt")}
    models = _with_value(graph, "rdfs:label", name)
    statements = about(graph, models, "rdf:type")
    return [m for m in models if types & set(values(statements[m].get("rdf:type", ())))]


def _models(graph: Graph, name: str) -> Iterator[Match]:
    if name.startswith("m-"):
        yield from _logged_models(graph, name)
    yield from _versions(graph, name, things.VERSION)


def _prompts(graph: Graph, name: str) -> Iterator[Match]:
    yield from _versions(graph, name, things.PROMPT)


# -- data ------------------------------------------------------------------------------


def _datasets(graph: Graph, name: str) -> Iterator[Match]:
    usages = _with_value(graph, "mlf:datasetName", name)
    used = about(graph, usages, "prov:entity")
    records = [v for s in used.values() for v in values(s.get("prov:entity", ()))]
    records += [*_labelled(graph, name, things.DATASET), *_with_value(graph, "mlf:digest", name)]
    described = things.describe(graph, dict.fromkeys(records, things.DATASET))
    for record, thing in described.items():
        yield Match("dataset", f"dataset:{thing.details.get('digest', record)}", (record,))


def _files(graph: Graph, name: str) -> Iterator[Match]:
    if len(name) == _SHA256_DIGITS and _HEXADECIMAL.match(name):
        yield from _content(graph, name, name)
        return
    local = Path(name)
    if local.is_file():
        matches = list(_content(graph, _sha256(local), name))
        if matches:
            sources = _dataset_sources(graph, name)
            yield matches[0]._replace(records=(*matches[0].records, *sources))
            return
    records = _with_value(graph, "mlf:path", name) or _ending_with(graph, name)
    kinds = things.kinds_of(graph, records)
    files = [record for record in records if kinds.get(record) in (things.FILE, things.FOLDER)]
    contents: dict[str, list[str]] = {}
    statements = about(graph, files, "mlf:sha256", "prov:specializationOf")
    for record in files:
        content = next(
            (
                value
                for value in values(statements[record].get("prov:specializationOf", ()))
                if value.startswith(iri("sha256:"))
            ),
            "",
        )
        contents.setdefault(content, []).append(record)
    sources = _dataset_sources(graph, name)
    if not contents and sources:
        yield Match("file", name, tuple(sources))
    for content, copies in contents.items():
        digest = content.removeprefix(iri("sha256:"))
        extra = (content,) if content else ()
        yield Match("file", f"file:{digest or name}", (*copies, *extra, *sources))


def _content(graph: Graph, digest: str, name: str) -> Iterator[Match]:
    content = iri("sha256:") + digest
    kinds = things.kinds_of(graph, [content])
    copies = pointing(graph, [content], "prov:specializationOf")[content]
    if kinds or copies:
        yield Match("file", f"file:{digest}", (*copies, content))


def _dataset_sources(graph: Graph, name: str) -> list[str]:
    """Return the datasets that were read from a path."""
    part = json.dumps(os.path.basename(name))[1:-1]
    wanted = {name, os.path.abspath(name)}
    usages = [
        text(quad.subject)
        for quad in graph.quads(None, iri("mlf:source"))
        if part in text(quad.object)
        and any(
            path in wanted or path.endswith(f"/{name}") for path in _source_paths(text(quad.object))
        )
    ]
    used = about(graph, usages, "prov:entity").values()
    return list(dict.fromkeys(v for s in used for v in values(s.get("prov:entity", ()))))


def _source_paths(source: str) -> Iterator[str]:
    """Yield the paths and URIs in MLflow's text about the source of a dataset."""
    try:
        value = json.loads(source)
    except ValueError:
        yield source
        return
    for key in ("uri", "url", "path"):
        if isinstance(value, dict) and isinstance(value.get(key), str):
            yield value[key].removeprefix("file://")


def _ending_with(graph: Graph, path: str) -> list[str]:
    paths = graph.quads(None, iri("mlf:path"))
    return list(
        dict.fromkeys(text(q.subject) for q in paths if text(q.object).endswith(f"/{path}"))
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DocumentError.unopened(str(path), error) from error


# -- commits ---------------------------------------------------------------------------


def _commits(graph: Graph, name: str) -> Iterator[Match]:
    if len(name) < _SHORTEST_PREFIX or not _HEXADECIMAL.match(name):
        return
    rows = graph.select(
        "SELECT DISTINCT ?commit ?code WHERE { ?code mlf:gitCommit ?commit"
        f' FILTER STRSTARTS(?commit, "{name}") }}'
    ).rows
    code_of: dict[str, list[str]] = {}
    for commit, code in rows:
        if commit is not None and code is not None:
            code_of.setdefault(text(commit), []).append(text(code))
    for commit_id, records in code_of.items():
        yield Match("commit", f"commit:{commit_id}", tuple(records))


# -- records ---------------------------------------------------------------------------


def _with_value(graph: Graph, predicate: str, value: str) -> list[str]:
    quads = graph.quads(None, iri(predicate), Literal(value))
    return list(dict.fromkeys(text(quad.subject) for quad in quads))


def _labelled(graph: Graph, name: str, kind: str) -> list[str]:
    records = _with_value(graph, "rdfs:label", name)
    kinds = things.kinds_of(graph, records)
    return [record for record in records if kinds.get(record) == kind]


_FINDERS: dict[str, Callable[[Graph, str], Iterator[Match]]] = {
    "run": _runs,
    "model": _models,
    "prompt": _prompts,
    "dataset": _datasets,
    "commit": _commits,
    "file": _files,
}
