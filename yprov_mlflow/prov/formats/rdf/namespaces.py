"""IRIs back to qualified names."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.formats.rdf.prov_o import STANDARD

_DEFAULT = "default"


class Namespaces(dict[str, str]):
    """Gives the qualified name of an IRI: by the longest namespace, the first of its prefixes.

    Attributes:
        prefixes: The prefixes of the document, and those that had to be made.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        super().__init__()
        self.prefixes = dict(prefixes)
        known = [
            (namespace, prefix)
            for prefix, namespace in {**prefixes, **STANDARD}.items()
            if namespace
        ]
        known.sort(key=lambda item: (-len(item[0]), item[1] == _DEFAULT, item[1]))
        self._known = known

    def __missing__(self, iri: str) -> str:
        found = self[iri] = self._name(iri)
        return found

    def _name(self, iri: str) -> str:
        for namespace, prefix in self._known:
            if iri.startswith(namespace):
                local = iri[len(namespace) :]
                if prefix != _DEFAULT:
                    return f"{prefix}:{local}"
                if ":" not in local:
                    return local
        return self._made(iri)

    def _made(self, iri: str) -> str:
        end = max(iri.rfind(mark) for mark in "#/:") + 1
        number = 1
        while f"ns{number}" in self.prefixes:
            number += 1
        prefix, namespace = f"ns{number}", iri[:end]
        self.prefixes[prefix] = namespace
        self._known.append((namespace, prefix))
        return f"{prefix}:{iri[end:]}"
