"""Names in PROV-JSONLD: its types and keys, and qualified names in the scope of a context."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from yprov_mlflow.prov.model.relations import KINDS, PROV

TYPES: Mapping[str, str] = {
    **{section: kind.node for section, kind in KINDS.items() if kind.node},
    "specializationOf": "Specialization",
    "alternateOf": "Alternate",
    "hadMember": "Membership",
}
"""The type of statement of each kind; mentionOf lacks one."""
ID_TERMS = frozenset({"type", "role", "location"})
"""Keys whose plain strings are qualified names, and not text."""
FORM = "jsonForm"
"""The local name of our attribute for values that PROV-JSONLD cannot express."""

_STANDARD = {"prov": PROV, "xsd": "http://www.w3.org/2001/XMLSchema#"}
_OF_CONTEXT = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "provext": "https://openprovenance.org/ns/provext#",
}
"""Other prefixes that the submission's context declares."""

# The address of the context, also that of W3C's copy, or the context itself.
_MARK = re.compile(rb"prov-jsonld/[\w.-]*context|openprovenance\.org/ns/provext#")


def is_prov_jsonld(head: bytes) -> bool:
    """Return whether JSON-LD is PROV-JSONLD, from the start of its file."""
    return _MARK.search(head) is not None


class Scope:
    """The prefixes where a name stands.

    Args:
        prefixes: Namespaces by prefix; the default namespace is ``default``.
        own: Further prefixes, which no name of the document has.
    """

    def __init__(
        self, prefixes: Mapping[str, str], own: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.prefixes = {**_STANDARD, **own, **prefixes}
        self.implied: dict[str, str] = {}
        self._names: dict[str, str] = {}
        # The longest namespace first, so that local names are short.
        spaces = [(ns, prefix) for prefix, ns in {**_STANDARD, **prefixes}.items() if ns]
        self._spaces = sorted(spaces, key=lambda item: (-len(item[0]), item[1]))

    def expand(self, name: str) -> str | None:
        """Return the IRI of a qualified name; None if its prefix is not declared."""
        prefix, colon, local = name.partition(":")
        namespace = self.prefixes.get(prefix if colon else "default")
        return None if namespace is None else namespace + (local if colon else name)

    def name(self, text: str) -> str:
        """Return a qualified name, also of an IRI if a namespace starts it."""
        name = self._names.get(text)
        if name is None:
            name = self._names[text] = self._name(text)
        return name

    def _name(self, text: str) -> str:
        prefix, colon, local = text.partition(":")
        if not colon or (prefix in self.prefixes and not local.startswith("//")):
            return text
        for namespace, start in self._spaces:
            rest = text.removeprefix(namespace)
            if rest != text and (start != "default" or (rest and ":" not in rest)):
                return rest if start == "default" else f"{start}:{rest}"
        if prefix in _OF_CONTEXT:
            self.implied[prefix] = _OF_CONTEXT[prefix]
        return text
