"""Qualified names: two that mean one IRI are one, whatever prefixes they are written with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.findings import Finding, error

PROV = "http://www.w3.org/ns/prov#"
_KNOWN = {
    "prov": PROV,
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
"""Prefixes that need no declaration."""

_DEFAULT = "default"


class Names:
    """The namespaces that hold in one instance.

    A name stays as it is written, so that findings show what stands in the file, unless one
    of its namespaces begins with another one: then equal names can be written in two ways,
    and it becomes the one that was met first.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self.prefixes = {**_KNOWN, **prefixes}
        self.known: dict[str, str] = {}
        self._ambiguous = _ambiguous(self.prefixes)
        self._written: dict[str, str] = {}
        self._iris: dict[str, str] = {}
        self._undeclared: dict[str, str] = {}

    def resolve(self, name: str) -> str:
        """Give the one writing that stands for all names of the same IRI."""
        found = self.known.get(name)
        if found is None:
            found = self.known[name] = self._resolve(name)
        return found

    def place(self, name: str, iri: str) -> str:
        """Resolve a name whose IRI is known, as where prefixes mean one thing here, one there.

        Names that are resolved so and names that ``resolve`` does are not told to be one.
        """
        written = self._written.get(iri)
        if written is None:
            if iri == name:
                self.resolve(name)
            taken = self._iris.setdefault(name, iri) != iri
            written = self._written[iri] = iri if taken else name
        return written

    def expand(self, name: str) -> str:
        """Give the IRI of a name; what has no namespace stays as it is."""
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
            if prefix != "_":
                self._undeclared.setdefault(prefix, name)
            return name
        if prefix in self._ambiguous:
            return self._written.setdefault(self.expand(name), name)
        return name

    def findings(self) -> Iterator[Finding]:
        """Give a finding for each prefix that is used and not declared."""
        for prefix, name in self._undeclared.items():
            if prefix == _DEFAULT:
                message = f"{name!r} has no prefix, and no default namespace is declared"
            else:
                message = f"the prefix {prefix!r} is not declared; {name!r} uses it"
            yield error(rules.NAMESPACES, name, message)


def _ambiguous(prefixes: Mapping[str, str]) -> set[str]:
    """Find prefixes whose namespace begins another one's, or begins with it."""
    found: set[str] = set()
    ordered = sorted((namespace, prefix) for prefix, namespace in prefixes.items())
    begun: list[tuple[str, str]] = []  # those that the next one may begin with
    for namespace, prefix in ordered:
        while begun and not namespace.startswith(begun[-1][0]):
            begun.pop()
        if begun:
            found.update((prefix, begun[-1][1]))
        begun.append((namespace, prefix))
    return found
