"""Things of lineage: what a record of a graph is to people, and how it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from yprov_mlflow.prov.graph.lookup import about, first, iri, pointing, text, values
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.ids import unquote_key

RUN, TASK, FILE, FOLDER, DATASET = "run", "task", "file", "folder", "dataset"
MODEL, VERSION, PROMPT, TRACE, CONTENT = "model", "version", "prompt", "trace", "content"

# The first type that a record has decides.
_KINDS: Mapping[str, str] = {
    iri(name): kind
    for name, kind in {
        "mlf:Run": RUN,
        "mlf:WorkflowTask": TASK,
        "mlf:LoggedModel": MODEL,
        "mlf:PromptVersion": PROMPT,
        "mlf:ModelVersion": VERSION,
        "mlf:Trace": TRACE,
        "mlf:ArtifactFolder": FOLDER,
        "mlf:Artifact": FILE,
        "mlf:File": FILE,
        "mlf:FileCollection": FILE,
        "mlf:WorkflowFile": FILE,
        "mls:Dataset": DATASET,
        "mlf:EvaluationDataset": DATASET,
        "mlf:Content": CONTENT,
    }.items()
}
_EVENTS = ("prov:qualifiedGeneration", "prov:qualifiedInvalidation")
_MOST_USAGES = 20  # of a dataset, that are read for its names and sources
ACTIVITIES = frozenset({RUN, TASK})


@dataclasses.dataclass(frozen=True)
class Thing:
    """A run, file, dataset, model or the like, as lineage shows it.

    Attributes:
        iri: Its IRI in the graph.
        kind: ``run``, ``task``, ``file``, ``folder``, ``dataset``, ``model``, ``version``,
            ``prompt``, ``trace`` or ``content``.
        label: The shortest name that people know it by.
        details: More about it: id, path, sha256, people, commits, aliases and so on.
    """

    iri: str
    kind: str
    label: str
    details: Mapping[str, object] = dataclasses.field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {"iri": self.iri, "kind": self.kind, "label": self.label, **self.details}


def kinds_of(graph: Graph, iris: Collection[str]) -> dict[str, str]:
    """Return the kinds of the records that are things; the others are left out."""
    kinds: dict[str, str] = {}
    for name, statements in about(graph, iris, "rdf:type").items():
        types = set(values(statements.get("rdf:type", ())))
        kind = next((kind for type_, kind in _KINDS.items() if type_ in types), None)
        if kind is not None:
            kinds[name] = kind
    return kinds


def describe(graph: Graph, kinds: Mapping[str, str]) -> dict[str, Thing]:
    """Return things by their IRIs.

    Args:
        graph: The graph.
        kinds: The kinds of the things by their IRIs.
    """
    described: dict[str, Thing] = {}
    for kind in dict.fromkeys(kinds.values()):
        names = [name for name in kinds if kinds[name] == kind]
        described.update(_DESCRIBERS.get(kind, _others)(graph, names, kind))
    return {name: described[name] for name in kinds}


_RUN_FACTS = (
    "rdfs:label mlf:runId mlf:status prov:startedAtTime prov:endedAtTime dcterms:isPartOf"
    " prov:wasAssociatedWith prov:used"
).split()


_AROUND_RUNS = {
    "prov:wasAssociatedWith": ("rdf:type", "rdfs:label"),
    "prov:used": ("mlf:gitCommit",),
    "dcterms:isPartOf": ("rdf:type", "schema:name"),
}


def _runs(graph: Graph, names: list[str], kind: str) -> Iterable[tuple[str, Thing]]:
    facts = about(graph, names, *_RUN_FACTS)
    ends = {
        predicate: about(
            graph,
            {value for s in facts.values() for value in values(s.get(predicate, ()))},
            *wanted,
        )
        for predicate, wanted in _AROUND_RUNS.items()
    }
    for name in names:
        statements = facts[name]
        linked = {
            predicate: [of_ends[value] for value in values(statements.get(predicate, ()))]
            for predicate, of_ends in ends.items()
        }
        people = [
            first(agent, "rdfs:label")
            for agent in linked["prov:wasAssociatedWith"]
            if iri("prov:Person") in values(agent.get("rdf:type", ()))
        ]
        experiments = [
            first(whole, "schema:name")
            for whole in linked["dcterms:isPartOf"]
            if iri("mlf:Experiment") in values(whole.get("rdf:type", ()))
        ]
        commits = [first(code, "mlf:gitCommit") for code in linked["prov:used"]]
        run_id = first(statements, "mlf:runId")
        details = {
            "run_id": run_id,
            "experiment": next(iter(experiments), None),
            "status": _local(first(statements, "mlf:status")),
            "start": first(statements, "prov:startedAtTime"),
            "end": first(statements, "prov:endedAtTime"),
            "people": sorted({person for person in people if person}),
            "commits": sorted({commit for commit in commits if commit}),
        }
        label = first(statements, "rdfs:label") or run_id or name
        yield name, Thing(name, kind, label, _filled(details))


def _files(graph: Graph, names: list[str], kind: str) -> Iterable[tuple[str, Thing]]:
    facts = about(
        graph, names, "rdfs:label", "mlf:path", "mlf:sha256", "mlf:size", "prov:specializationOf"
    )
    for name in names:
        statements = facts[name]
        path = first(statements, "mlf:path")
        run_id = _run_of_artifact(name)
        label = path or first(statements, "rdfs:label") or name
        digest = first(statements, "mlf:sha256") or _sha256(
            values(statements.get("prov:specializationOf", ()))
        )
        size = first(statements, "mlf:size")
        details = {
            "path": path,
            "run_id": run_id,
            "sha256": digest,
            "size": int(size) if size and size.isdigit() else None,
        }
        yield name, Thing(name, kind, label, _filled(details))


def _contents(graph: Graph, names: list[str], kind: str) -> Iterable[tuple[str, Thing]]:
    copies = pointing(graph, names, "prov:specializationOf")
    paths = about(graph, [copy for group in copies.values() for copy in group], "mlf:path")
    for name in names:
        known_as = sorted({first(paths[copy], "mlf:path") or "" for copy in copies[name]} - {""})
        details = {"sha256": _sha256([name]), "paths": known_as}
        shortest = min(known_as, key=len, default=f"sha256 {str(details['sha256'])[:12]}")
        yield name, Thing(name, FILE, shortest, _filled(details))


def _datasets(graph: Graph, names: list[str], kind: str) -> Iterable[tuple[str, Thing]]:
    facts = about(graph, names, "rdfs:label", "schema:name", "mlf:digest")
    usages = {name: _some_usages(graph, name) for name in names}
    used = about(
        graph,
        [usage for group in usages.values() for usage in group],
        "mlf:datasetName",
        "mlf:source",
    )
    for name in names:
        statements = facts[name]
        details = {
            "digest": first(statements, "mlf:digest"),
            "names": sorted({first(used[u], "mlf:datasetName") or "" for u in usages[name]} - {""}),
            "sources": sorted({first(used[u], "mlf:source") or "" for u in usages[name]} - {""}),
        }
        label = first(statements, "schema:name") or first(statements, "rdfs:label") or name
        yield name, Thing(name, kind, label, _filled(details))


def _some_usages(graph: Graph, dataset: str) -> list[str]:
    """Return a few usages of a dataset: thousands of runs may have used it."""
    quads = islice(graph.quads(None, iri("prov:entity"), dataset), _MOST_USAGES)
    return list(dict.fromkeys(text(quad.subject) for quad in quads))


def _versions(graph: Graph, names: list[str], kind: str) -> Iterable[tuple[str, Thing]]:
    facts = about(graph, names, "rdfs:label", "mlf:version", "prov:specializationOf")
    aliases = aliases_of(graph, names)
    for name in names:
        statements = facts[name]
        details = {
            "name": model_name(name),
            "version": first(statements, "mlf:version"),
            "aliases": sorted(alias for alias, current in aliases[name].items() if current),
            "former_aliases": sorted(a for a, current in aliases[name].items() if not current),
        }
        label = first(statements, "rdfs:label") or name
        yield name, Thing(name, kind, label, _filled(details))


def _others(graph: Graph, names: list[str], kind: str) -> Iterable[tuple[str, Thing]]:
    facts = about(graph, names, "rdfs:label", "mlf:modelId", "mlf:status")
    for name in names:
        statements = facts[name]
        details = {
            "model_id": first(statements, "mlf:modelId"),
            "status": _local(first(statements, "mlf:status")),
        }
        # A document that only reads a model knows no better name than its id.
        labels = values(statements.get("rdfs:label", ()))
        names = [label for label in labels if label != details["model_id"]]
        yield name, Thing(name, kind, next(iter((*names, *labels)), name), _filled(details))


_DESCRIBERS = {
    RUN: _runs,
    FILE: _files,
    FOLDER: _files,
    CONTENT: _contents,
    DATASET: _datasets,
    VERSION: _versions,
    PROMPT: _versions,
}


def aliases_of(graph: Graph, versions: Collection[str]) -> dict[str, dict[str, bool]]:
    """Return the aliases that versions have had; True for those that they have now."""
    assignments = pointing(graph, versions, "mlf:target")
    names = [assignment for group in assignments.values() for assignment in group]
    facts = about(graph, names, "schema:name", "rdf:type", "prov:specializationOf")
    current = {
        assignment
        for statements in facts.values()
        for alias in values(statements.get("prov:specializationOf", ()))
        if (assignment := current_assignment(graph, alias)) is not None
    }
    aliases: dict[str, dict[str, bool]] = {}
    for version in versions:
        states = aliases.setdefault(version, {})
        for assignment in assignments[version]:
            alias_name = first(facts[assignment], "schema:name")
            types = values(facts[assignment].get("rdf:type", ()))
            if alias_name and iri("mlf:AliasAssignment") in types:
                states[alias_name] = states.get(alias_name, False) or assignment in current
    return aliases


def latest_origins(graph: Graph, version: str) -> list[str]:
    """Return what a version was made from when it was created last; empty if no time is known.

    After its registered model was deleted, another version can get its name and number.
    """
    entries = pointing(graph, [f"{version}/entry"], "prov:specializationOf")
    facts = about(graph, [version, *entries[f"{version}/entry"]], "prov:qualifiedDerivation")
    derivations = [v for s in facts.values() for v in values(s.get("prov:qualifiedDerivation", ()))]
    ends = about(graph, derivations, "prov:entity", "prov:hadGeneration")
    generations = {d: first(ends[d], "prov:hadGeneration") for d in derivations}
    times = about(graph, [g for g in generations.values() if g is not None], "prov:atTime")
    dated: dict[str, list[str]] = {}
    for derivation, generation in generations.items():
        time = first(times[generation], "prov:atTime") if generation is not None else None
        if time is not None:
            dated.setdefault(time, []).extend(values(ends[derivation].get("prov:entity", ())))
    return dated[max(dated)] if dated else []


def current_assignment(graph: Graph, key: str) -> str | None:
    """Return the current value of a property, such as an alias or a tag; None without one.

    A document knows only the calls of its run, so the last of all values counts, whether or not a
    document says that it replaced the others; unless a call of any document ended it later.
    """
    records = pointing(graph, [key], "prov:specializationOf")[key]
    facts = about(graph, records, *_EVENTS, "prov:wasInvalidatedBy")
    events = [v for s in facts.values() for e in _EVENTS for v in values(s.get(e, ()))]
    times = about(graph, events, "prov:atTime")

    def time(record: str, event: str) -> str:
        events = values(facts[record].get(event, ()))
        return max((first(times[e], "prov:atTime") or "" for e in events), default="")

    current = [record for record in records if "prov:wasInvalidatedBy" not in facts[record]]
    last = max(current, key=lambda record: time(record, _EVENTS[0]), default=None)
    if last is None:
        return None
    # A value that another document set ends under an id of its own. What a store holds lacks times.
    since, end = time(last, _EVENTS[0]), max(time(record, _EVENTS[1]) for record in records)
    return last if not since or end <= since else None


def current_value(graph: Graph, key: str) -> str | None:
    """Return the present value of a record with a history, such as a tag."""
    current = current_assignment(graph, key)
    return first(about(graph, [current], "prov:value")[current], "prov:value") if current else None


def model_name(version: str) -> str | None:
    """Return the name of the registered model that a version's IRI belongs to."""
    local = version.rpartition("#")[2]
    parts = local.split("/")
    return unquote_key(parts[1]) if len(parts) > 1 and parts[0] == "model" else None


def _run_of_artifact(name: str) -> str | None:
    start, _, local = name.partition("#")
    if not start.startswith("urn:uuid:") or not local.startswith(("artifact/", "folder/")):
        return None
    return start.removeprefix("urn:uuid:").replace("-", "")


def _sha256(names: Iterable[str]) -> str | None:
    prefix = iri("sha256:")
    return next((name.removeprefix(prefix) for name in names if name.startswith(prefix)), None)


def _local(name: str | None) -> str | None:
    return None if name is None else name.rpartition("#")[2]


def _filled(details: Mapping[str, object]) -> dict[str, object]:
    """Return the details that have a value."""
    return {key: value for key, value in details.items() if value not in (None, [], "")}
