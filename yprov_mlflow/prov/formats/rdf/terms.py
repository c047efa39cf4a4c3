"""Terms of RDF as text: IRIs from qualified names, literals, in each of the syntaxes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import TypeVar

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.faults import unwritable
from yprov_mlflow.prov.formats.rdf.prov_o import STANDARD, TYPE

T = TypeVar("T")

quote: Callable[[str], str] = encode_basestring
"""Gives text in quotation marks, escaped as JSON, Turtle and N-Quads all read it."""

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_COMMON = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+\Z").match
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_NO_IRI = re.compile(
    r"[\x00-\x20<>\"{}|\\^`\[\]\x7f-\x9f\ud800-\uf8ff\ufdd0-\ufdef\ufff0-\uffff]"
    r"|[\U0001fffe-\U0001ffff\U0002fffe-\U0002ffff\U0003fffe-\U000e0fff\U000efffe-\U0010ffff]"
).search


def _allowed(local: str, hashes: int) -> bool:
    """Tell whether an IRI may go on like this, after a namespace with that many ``#``."""
    if _COMMON(local):
        return True
    return not (_NO_IRI(local) or _BARE_PERCENT(local) or local.count("#") + hashes > 1)


class Syntax:
    """How a document's terms are written in N-Quads; others differ in how they shorten.

    Args:
        prefixes: The document's prefixes.

    Attributes:
        names: Gives the text of IRIs for qualified names.
        typed: Gives what stands before and after the quoted text of a literal of a datatype.
        type: The property of types.

    Raises:
        DocumentError: A prefix stands for what is no absolute IRI.
    """

    format_name = "N-Quads"
    ordered = True
    """Whether readers keep the order of types."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._namespaces = {}
        for prefix, namespace in {**prefixes, **STANDARD}.items():
            scheme = _ABSOLUTE.match(namespace)
            hashes = namespace.count("#")
            if scheme is None or not _allowed(namespace.replace("#", "", 1), hashes):
                reason = f"the prefix {prefix!r} stands for {namespace!r}, no absolute IRI"
                raise unwritable(self.format_name, reason)
            self._namespaces[prefix] = (namespace, hashes)
        self.names = _Made(self.name)
        self.typed = _Made(self._typed)
        self.type = self.iri(TYPE)

    def expand(self, name: str) -> str:
        """Give the IRI of a qualified name.

        Raises:
            DocumentError: Its prefix is not declared, or it has what no IRI can have.
        """
        prefix, colon, local = name.partition(":")
        if not colon:
            prefix, local = "default", name
        known = self._namespaces.get(prefix)
        if known is None:
            raise self._refused(name, f"no prefix {prefix!r} is declared")
        namespace, hashes = known
        if not _allowed(local, hashes):
            raise self._refused(name, "it has what no IRI can have")
        return namespace + local

    def name(self, name: str) -> str:
        """Give a qualified name as it is written."""
        return f"<{self.expand(name)}>"

    def iri(self, iri: str) -> str:
        """Give an IRI as it is written."""
        return f"<{iri}>"

    def subject(self, term: str) -> str:
        """Give an object's text as it is written for a subject."""
        return term

    def property(self, iri: str) -> str:
        """Give an IRI as it is written for a property, and what is before its object."""
        return f"{self.subject(self.iri(iri))} "

    def language(self, text: str, tag: str) -> str:
        """Give a literal in a language."""
        return f"{quote(text)}@{tag}"

    def _typed(self, datatype: str) -> tuple[str, str]:
        return "", f"^^{self.names[datatype]}"

    def _refused(self, name: str, reason: str) -> DocumentError:
        return unwritable(self.format_name, f"{name!r} is no name for RDF: {reason}")


class _Made(dict[str, T]):
    """Makes what is asked for the first time."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make

    def __missing__(self, key: str) -> T:
        made = self[key] = self._make(key)
        return made
