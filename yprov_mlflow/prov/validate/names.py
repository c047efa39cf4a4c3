"""Qualified names: two names with the same IRI are equal, even with different prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from yprov_mlflow.prov.model.relations import PROV
from yprov_mlflow.prov.validate.rules import NAMESPACES, Finding, error

_PREDECLARED = {
    "prov": PROV,
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
_DEFAULT = "default"


class Names:
    """The namespaces of one instance, and the names resolved in them.

    A name keeps its spelling, so that findings quote the file. Only if one namespace is the
    start of another, or equal to it, a name has several spellings: all become the first one.

    Attributes:
        prefixes: The declared namespaces.
        resolved: The result of ``resolve`` for each name so far, for fast access.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self.prefixes = {**_PREDECLARED, **prefixes}
        self.resolved: dict[str, str] = {}
        self._ambiguous = _ambiguous(self.prefixes)
        self._spellings: dict[str, str] = {}
        self._undeclared: dict[str, str] = {}

    def resolve(self, name: str) -> str:
        """Return the spelling that stands for all names of the same IRI."""
        spelling = self.resolved.get(name)
        if spelling is None:
            spelling = self.resolved[name] = self._resolve(name)
        return spelling

    def expand(self, name: str) -> str:
        """Return the IRI of a name, or the name itself if its prefix is not declared."""
        prefix, colon, local = name.partition(":")
        if not colon:
            prefix, local = _DEFAULT, name
        namespace = self.prefixes.get(prefix)
        return name if namespace is None else namespace + local

    def _resolve(self, name: str) -> str:
        prefix, colon, _ = name.partition(":")
        if not colon:
            prefix = _DEFAULT
        if prefix not in self.prefixes:
            if prefix != "_":  # blank nodes have ids without a namespace
                self._undeclared.setdefault(prefix, name)
            return name
        # Expanding every name would take most of the time of a validation.
        if prefix in self._ambiguous:
            return self._spellings.setdefault(self.expand(name), name)
        return name

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each prefix that is used but not declared."""
        for prefix, name in self._undeclared.items():
            if prefix == _DEFAULT:
                message = f"{name!r} lacks a prefix, and no default namespace is declared"
            else:
                message = f"{name!r} uses the prefix {prefix!r}, which is not declared"
            yield error(NAMESPACES, name, message)


def _ambiguous(prefixes: Mapping[str, str]) -> set[str]:
    """Return the prefixes whose namespace is the start of another's, or the other way round."""
    ambiguous: set[str] = set()
    namespaces = sorted((namespace, prefix) for prefix, namespace in prefixes.items())
    starts: list[tuple[str, str]] = []  # each is the start of the next
    for namespace, prefix in namespaces:
        while starts and not namespace.startswith(starts[-1][0]):
            starts.pop()
        if starts:
            ambiguous.update((prefix, starts[-1][1]))
        starts.append((namespace, prefix))
    return ambiguous
