"""What a statement has to consist of, by PROV-DM."""

from __future__ import annotations

from collections.abc import Iterable

from yprov_mlflow.prov.validate import rules, xsd_datetime
from yprov_mlflow.prov.validate.findings import Finding, error, warning
from yprov_mlflow.prov.validate.kinds import KINDS, SOMETHING
from yprov_mlflow.prov.validate.statements import Statement

Groups = dict[str, list[Statement]]


def sort(statements: Iterable[Statement], findings: list[Finding]) -> tuple[Groups, int]:
    """Sort statements by kind, and leave out those that lack what they have to have.

    Returns:
        The statements by kind, and how many there are with those that were left out.
    """
    found: Groups = {kind: [] for kind in KINDS}
    required = {kind: all_required(kind) for kind in KINDS}
    count = 0
    for statement in statements:
        count += 1
        kind = statement.kind
        if None in statement.terms and None in statement.terms[: required[kind]]:
            findings.append(_incomplete(statement))
            continue
        if kind in SOMETHING and _says_nothing(statement):
            findings.append(_empty(statement))
        for time in statement.times:
            if time is not None and xsd_datetime.read(time) is None:
                findings.append(
                    error(rules.definition(kind), str(statement), f"{time!r} is no xsd:dateTime")
                )
        found[kind].append(statement)
    return found, count


def all_required(kind: str) -> int:
    """Give the number of positions that must be filled: in every kind the first ones."""
    return sum(KINDS[kind].required)


def _incomplete(statement: Statement) -> Finding:
    kind = KINDS[statement.kind]
    positions = zip(kind.formals, kind.required, statement.terms, strict=True)
    missing = [formal for formal, required, term in positions if required and term is None]
    return error(
        rules.definition(statement.kind),
        str(statement),
        f"it lacks {' and '.join(missing)}, which it has to have",
    )


def _says_nothing(statement: Statement) -> bool:
    return not (statement.described or any(statement.times) or any(statement.terms[1:]))


def _empty(statement: Statement) -> Finding:
    rule, record = rules.definition(statement.kind), str(statement)
    if statement.identifier is None:
        return error(rule, record, f"it says nothing of {statement.terms[0]}, not even an id")
    return warning(rule, record, f"it says nothing of {statement.terms[0]} but its own id")
