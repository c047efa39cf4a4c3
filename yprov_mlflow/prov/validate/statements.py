"""Statements, in the form that all formats are read into, and PROV-DM's rules for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from yprov_mlflow.prov.model.relations import KINDS
from yprov_mlflow.prov.validate import xsd_datetime
from yprov_mlflow.prov.validate.rules import Finding, definition, error, warning

# Number of required arguments of each kind; they always come first.
_REQUIRED = {name: sum(kind.required) for name, kind in KINDS.items()}


class Statement(NamedTuple):
    """One PROV statement.

    Args:
        kind: One of ``KINDS``.
        identifier: Its id; None if it is absent or blank (``_:…``).
        terms: The ids that are its arguments, in the order of PROV-DM; None if omitted.
        times: Its time, or start and end of an activity, as text; None if omitted.
        types: Its ``prov:type`` values; only read for entities.
        described: Whether it has other attributes.
        because: The statement and inference it follows from, if no document states it.
    """

    kind: str
    identifier: str | None
    terms: tuple[str | None, ...] = ()
    times: tuple[str | None, ...] = ()
    types: tuple[str, ...] = ()
    described: bool = False
    because: str = ""

    def __str__(self) -> str:
        """Return the statement in PROV-N, without attributes, and the reason if inferred."""
        arguments = [argument or "-" for argument in (*self.terms, *self.times)]
        while arguments and arguments[-1] == "-":
            arguments.pop()
        inside = ", ".join(arguments)
        if self.identifier is not None:
            separator = "; " if self.terms else ", " if inside else ""
            inside = f"{self.identifier}{separator}{inside}"
        text = f"{self.kind}({inside})"
        return f"{text}, which follows from {self.because}" if self.because else text

    def resolved(self, resolve: Callable[[str], str]) -> Statement:
        """Return the statement with its names resolved."""
        return self._replace(
            identifier=None if self.identifier is None else resolve(self.identifier),
            terms=tuple([None if term is None else resolve(term) for term in self.terms]),
        )


Groups = Mapping[str, Sequence[Statement]]
"""Statements by kind."""

MutableGroups = dict[str, list[Statement]]


def specializations(groups: Groups, roots: Iterable[str]) -> dict[str, str]:
    """Return the roots and all that specialize them, at any depth, each with its root."""
    specific: dict[str | None, list[str]] = {}
    # A mention is a specialization, too (PROV-LINKS).
    for statement in (*groups["specializationOf"], *groups["mentionOf"]):
        if (entity := statement.terms[0]) is not None:
            specific.setdefault(statement.terms[1], []).append(entity)
    origins = {root: root for root in roots}
    queue = list(origins)
    for general in queue:  # grows meanwhile
        new = [entity for entity in specific.get(general, ()) if entity not in origins]
        origins |= dict.fromkeys(new, origins[general])
        queue += dict.fromkeys(new)
    return origins


def group(statements: Iterable[Statement], findings: list[Finding]) -> tuple[MutableGroups, int]:
    """Group statements by kind, and report those that violate their definition.

    Returns:
        The statements by kind, without those that lack a required argument, and the number of
        all statements.
    """
    groups: MutableGroups = {kind: [] for kind in KINDS}
    count = 0
    for statement in statements:
        count += 1
        # Both tests for None: the second one takes long, and most statements pass the first.
        kind, terms, times = statement.kind, statement.terms, statement.times
        required = _REQUIRED[kind]
        if None in terms and None in terms[:required]:
            formals = zip(KINDS[kind].formals, terms[:required], strict=False)
            missing = " and ".join(formal for formal, term in formals if term is None)
            message = f"required arguments are missing: {missing}"
            findings.append(error(definition(kind), statement, message))
            continue
        if required == 1 and not (statement.described or any(times) or any(terms[1:])):
            findings.append(_bare(statement))
        for time in times:
            if time is not None and xsd_datetime.parse(time) is None:
                message = f"{time!r} is not an xsd:dateTime"
                findings.append(error(definition(kind), statement, message))
        groups[kind].append(statement)
    return groups, count


def _bare(statement: Statement) -> Finding:
    """Report a relation with one argument only: PROV-DM wants at least one more part, or an id."""
    rule = definition(statement.kind)
    if statement.identifier is None:
        message = f"it states only {statement.terms[0]}: an id, argument or attribute is missing"
        return error(rule, statement, message)
    return warning(rule, statement, f"it states only {statement.terms[0]} and its own id")
