"""RDF terms as text: IRIs from qualified names and back, and literals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import count
from json.encoder import encode_basestring
from typing import TypeVar

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import namespace_of
from yprov_mlflow.prov.formats.rdf.prov_o import STANDARD

T = TypeVar("T")

quote: Callable[[str], str] = encode_basestring
"""Return text in quotation marks; JSON, Turtle and N-Quads share these escapes."""

# PROV-JSON's name for the namespace of names without a prefix.
_DEFAULT = "default"

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Almost all names are plain ASCII: one match spares the three searches below, which implement
# the grammar of RFC 3987 (no private-use characters, no noncharacters, no bare percent sign).
_COMMON = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+\Z").match
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_NOT_IN_IRIS = re.compile(
    r"[\x00-\x20<>\"{}|\\^`\[\]\x7f-\x9f\ud800-\uf8ff\ufdd0-\ufdef\ufff0-\uffff]"
    r"|[\U0001fffe-\U0001ffff\U0002fffe-\U0002ffff\U0003fffe-\U000e0fff\U000efffe-\U0010ffff]"
).search


def _allowed(local: str, hashes: int) -> bool:
    """Return whether an IRI may continue like this after a namespace with so many ``#``."""
    if _COMMON(local):
        return True
    return not (_NOT_IN_IRIS(local) or _BARE_PERCENT(local) or local.count("#") + hashes > 1)


class Syntax:
    """The terms of a document in N-Quads; the other syntaxes override how terms are shortened.

    Args:
        prefixes: The document's prefixes.

    Attributes:
        names: The text of the IRI for each qualified name.
        typed: The texts before and after the quoted literal for each datatype.

    Raises:
        DocumentError: A prefix stands for something other than an absolute IRI.
    """

    format_name = "N-Quads"
    ordered = True
    """Whether readers keep the order of types."""

    longest = 16_000_000
    """Bytes that a term may have: pyoxigraph reads no term of 16 MiB, quotation marks included."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._namespaces = {}
        for prefix, namespace in {**prefixes, **STANDARD}.items():
            scheme = _ABSOLUTE.match(namespace)
            hashes = namespace.count("#")
            if scheme is None or not _allowed(namespace.replace("#", "", 1), hashes):
                reason = f"prefix {prefix!r} stands for {namespace!r}, which is not an absolute IRI"
                raise DocumentError.unwritable(self.format_name, reason)
            self._namespaces[prefix] = (namespace, hashes)
        self.names = _Cache(self.name)
        self.typed = _Cache(self._typed)

    def expand(self, name: str) -> str:
        """Return the IRI of a qualified name, or raise ``DocumentError`` if it cannot be one."""
        prefix, colon, local = name.partition(":")
        if not colon:
            prefix, local = _DEFAULT, name
        entry = self._namespaces.get(prefix)
        if entry is None:
            raise self._rejected(name, f"no prefix {prefix!r} is declared")
        namespace, hashes = entry
        if not _allowed(local, hashes):
            raise self._rejected(name, "it has characters that IRIs cannot have")
        return namespace + local

    def name(self, name: str) -> str:
        """Return the text of a qualified name."""
        return f"<{self.expand(name)}>"

    def iri(self, iri: str) -> str:
        """Return the text of an IRI."""
        return f"<{iri}>"

    def subject(self, term: str) -> str:
        """Return the text of a term as a subject, from its text as an object."""
        return term

    def property(self, iri: str) -> str:
        """Return the text of an IRI as a property, with the space before the object."""
        return f"{self.subject(self.iri(iri))} "

    def language(self, text: str, tag: str) -> str:
        """Return the text of a literal with a language."""
        return f"{quote(text)}@{tag}"

    def _typed(self, datatype: str) -> tuple[str, str]:
        return "", f"^^{self.names[datatype]}"

    def _rejected(self, name: str, reason: str) -> DocumentError:
        return DocumentError.unwritable(self.format_name, f"{name!r} is not an IRI: {reason}")


# A dict instead of functools.cache: a hit costs no call, and there are several per triple.
class _Cache(dict[str, T]):
    def __init__(self, compute: Callable[[str], T]) -> None:
        self._compute = compute

    def __missing__(self, key: str) -> T:
        value = self[key] = self._compute(key)
        return value


class QualifiedNames(dict[str, str]):
    """Qualified names by IRI: with the longest matching namespace, and its first prefix.

    Attributes:
        prefixes: The prefixes of the document, including those that had to be made up.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        super().__init__()
        self.prefixes = dict(prefixes)
        namespaces = [(ns, prefix) for prefix, ns in {**prefixes, **STANDARD}.items() if ns]
        namespaces.sort(key=lambda item: (-len(item[0]), item[1] == _DEFAULT, item[1]))
        self._namespaces = namespaces

    def __missing__(self, iri: str) -> str:
        name = self[iri] = self._name(iri)
        return name

    def _name(self, iri: str) -> str:
        for namespace, prefix in self._namespaces:
            if iri.startswith(namespace):
                local = iri[len(namespace) :]
                if prefix != _DEFAULT:
                    return f"{prefix}:{local}"
                # With a colon in it, a name without a prefix would read as one with a prefix.
                if ":" not in local:
                    return local
        namespace = namespace_of(iri)
        prefix = next(p for n in count(1) if (p := f"ns{n}") not in self.prefixes)
        self.prefixes[prefix] = namespace
        self._namespaces.append((namespace, prefix))
        return f"{prefix}:{iri.removeprefix(namespace)}"
