"""Statements of a graph, read for many subjects at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from pyoxigraph import NamedNode, Triple

from yprov_mlflow.prov.graph.stores import PREFIXES, Graph, LocalGraph, Term

_MOST_REPEATED = 32  # statements of one subject and predicate to read one by one

Statements = dict[str, dict[str, list[Term]]]
"""By subject and predicate, the objects; each once, however many documents state it."""


def iri(name: str) -> str:
    """Return the IRI of a prefixed name such as ``prov:used``."""
    prefix, _, local = name.partition(":")
    return PREFIXES[prefix] + local


def about(graph: Graph, subjects: Collection[str], *predicates: str) -> Statements:
    """Return what documents state about subjects.

    Args:
        graph: The graph.
        subjects: IRIs.
        predicates: Prefixed names, which are also the keys of the result.
    """
    statements: Statements = {subject: {} for subject in subjects}
    names = {iri(name): name for name in predicates}
    if isinstance(graph, LocalGraph):
        for subject in statements:
            for predicate, name in names.items():
                if terms := _objects(graph, subject, predicate):
                    statements[subject][name] = terms
    elif subjects:
        for quad in graph.quads(list(subjects), list(names)):
            _add(statements, text(quad.subject), names[quad.predicate.value], quad.object)
    return statements


def _objects(graph: LocalGraph, subject: str, predicate: str) -> list[Term]:
    quads = list(islice(graph.quads(subject, predicate), _MOST_REPEATED))
    if len(quads) < _MOST_REPEATED:
        return list(dict.fromkeys(quad.object for quad in quads))
    # Thousands of documents may state the same of one user or dataset.
    names = f"{NamedNode(subject)} {NamedNode(predicate)}"
    rows = graph.select(f"SELECT DISTINCT ?object {{ GRAPH ?document {{ {names} ?object }} }}").rows
    return [row[0] for row in rows if row[0] is not None]


def pointing(graph: Graph, objects: Collection[str], predicate: str) -> dict[str, list[str]]:
    """Return for each object the subjects of the statements with this predicate."""
    subjects: dict[str, list[str]] = {name: [] for name in objects}
    if objects:
        for quad in graph.quads(None, iri(predicate), list(objects)):
            names = subjects[text(quad.object)]
            if text(quad.subject) not in names:
                names.append(text(quad.subject))
    return subjects


def values(terms: Iterable[Term]) -> list[str]:
    """Return the texts of terms, without those of embedded triples."""
    return [text(term) for term in terms]


def text(term: Term) -> str:
    """Return an IRI or the text of a literal."""
    return str(term) if isinstance(term, Triple) else term.value


def first(statements: dict[str, list[Term]], predicate: str) -> str | None:
    """Return the text of the first object, None without one."""
    return next(iter(values(statements.get(predicate, ()))), None)


def _add(statements: Statements, subject: str, predicate: str, term: Term) -> None:
    terms = statements.setdefault(subject, {}).setdefault(predicate, [])
    if term not in terms:
        terms.append(term)
