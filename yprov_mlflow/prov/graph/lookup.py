"""Statements of a graph, read for many subjects at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyoxigraph import Triple

from yprov_mlflow.prov.graph.stores import PREFIXES, Graph, Term

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
    if subjects:
        for quad in graph.quads(list(subjects), list(names)):
            _add(statements, text(quad.subject), names[quad.predicate.value], quad.object)
    return statements


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
