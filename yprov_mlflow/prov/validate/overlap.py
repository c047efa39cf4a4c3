"""Ids that stand for more than one kind of statement (Constraints 53 and 54)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.findings import Finding, error
from yprov_mlflow.prov.validate.kinds import DISJOINT, ELEMENTS, KINDS
from yprov_mlflow.prov.validate.statements import Statement

_RELATIONS = tuple(kind for kind, found in KINDS.items() if found.formals and found.named)


def settle(said: dict[str, list[Statement]]) -> list[Finding]:
    """Find ids that cannot stand for all they do; where they can, pass on what that says.

    A derivation is an influence as well, and so is each other relation with an id (Inference
    15). So those that share an id have the same two ends, and what one does not say the other
    does: it is filled in, in ``said``.
    """
    first, shared = _kinds(said)
    findings = [*_things(said, first), *_disjoint(shared)]
    ends: dict[str, Statement] = {}
    for identifier, found in shared.items():
        known, *others = found
        clashes = [
            _clash(known, other)
            for other in others
            if known.kind != other.kind and not {known.kind, other.kind} <= DISJOINT
        ]
        findings += [clash for clash in clashes if clash is not None]
        full = [statement for statement in found if None not in statement.terms[:2]]
        if full and not any(clashes):
            ends[identifier] = full[0]
    if ends:
        _fill(said, ends)
    return findings


def _kinds(
    said: Mapping[str, Sequence[Statement]],
) -> tuple[dict[str, Statement], dict[str, list[Statement]]]:
    """Give the first relation of each id, and all of those ids that several kinds share."""
    first: dict[str, Statement] = {}
    shared: dict[str, list[Statement]] = {}
    for kind in _RELATIONS:
        for statement in said[kind]:
            identifier = statement.identifier
            if identifier is not None:
                known = first.setdefault(identifier, statement)
                if known.kind != kind:
                    shared.setdefault(identifier, [known]).append(statement)
    return first, shared


def _things(
    said: Mapping[str, Sequence[Statement]], relations: Mapping[str, Statement]
) -> Iterator[Finding]:
    if not relations:
        return
    for kind in ELEMENTS:
        for statement in said[kind]:
            relation = relations.get(statement.identifier or "")
            if relation is not None:
                yield error(
                    rules.constraint(54),
                    str(statement),
                    f"{statement.identifier} is also the id of {relation}",
                )


def _disjoint(shared: Mapping[str, Sequence[Statement]]) -> Iterator[Finding]:
    for identifier, found in shared.items():
        disjoint = {s.kind: s for s in found if s.kind in DISJOINT}
        if len(disjoint) > 1:
            one, *others = disjoint.values()
            yield error(
                rules.constraint(53),
                str(one),
                f"{identifier} is also the id of {', '.join(map(str, others))}",
            )


def _clash(known: Statement, other: Statement) -> Finding | None:
    differing = [
        f"{theirs} and not {ours}"
        for ours, theirs in zip(known.terms[:2], other.terms[:2], strict=True)
        if ours != theirs and ours is not None and theirs is not None
    ]
    if not differing:
        return None
    return error(
        f"{rules.constraint(23)} (with {rules.inference(15)})",
        str(known),
        f"{other} has its id, so that both are one influence, and names {', '.join(differing)}",
    )


def _fill(said: dict[str, list[Statement]], ends: Mapping[str, Statement]) -> None:
    for kind in _RELATIONS:
        said[kind] = [_filled(s, ends.get(s.identifier or "")) for s in said[kind]]


def _filled(statement: Statement, known: Statement | None) -> Statement:
    if known is None or None not in statement.terms[:2]:
        return statement
    pairs = zip(statement.terms[:2], known.terms[:2], strict=True)
    terms = tuple(ours if ours is not None else theirs for ours, theirs in pairs)
    return statement._replace(terms=terms + statement.terms[2:])
