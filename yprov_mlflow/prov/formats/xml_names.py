"""Qualified names in XML, where they have to be of the type ``xs:QName``.

After the colon, XML allows letters, digits, ``_``, ``-`` and ``.``, and no digit at the start. A
local name like ``param/lr`` is therefore split: a prefix for the namespace plus ``param/`` is
declared where the name stands, so that the IRI stays the same for every reader. A name that ends
in no such word, like ``step/17``, cannot be split; its other characters are written as ``_xHHHH_``
with their code, as ``prov`` does in names of elements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import BUNDLE_PREFIX
from yprov_mlflow.prov.formats.parsed import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.model.identifiers import RUN, STORE
from yprov_mlflow.prov.model.relations import PROV
from yprov_mlflow.prov.model.vocabulary import NAMESPACE

XSD = "http://www.w3.org/2001/XMLSchema"
"""Without the ``#`` that other formats write after it."""
XSI = "http://www.w3.org/2001/XMLSchema-instance"
OWN_PREFIX = "yprov"
"""The prefix of our own attribute, so that it needs no prefix of the document."""
STANDARD: Mapping[str, str] = {"prov": PROV, "xsd": XSD, "xsi": XSI, OWN_PREFIX: NAMESPACE}
"""The prefixes that each file declares; none of them is a prefix of its documents."""
_SAME: Mapping[str, tuple[str, ...]] = {"prov": (PROV,), "xsd": (XSD, f"{XSD}#"), "xsi": (XSI,)}
_STANDARD_NAMESPACES: Mapping[str, str] = {ns: p for p, uris in _SAME.items() for ns in uris}
_XML_NAMESPACES = ("http://www.w3.org/XML/1998/namespace", "http://www.w3.org/2000/xmlns/")

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Matches characters that XML cannot contain, not even escaped."""

# Letters that all editions of XML and all libraries allow in names.
_START = "A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u0131\u0391-\u03a1\u03a3-\u03ce\u0410-\u044f"
# The last one is a "_" that would look like the start of an escape.
_TO_ESCAPE = re.compile(
    rf"\A[^{_START}]|[^{_START}0-9.\-]"
    rf"|_(?=x[0-9A-F]{{4}}(?:[0-9A-F]{{4}})?(?:_|[^{_START}0-9.\-]))"
)
_ESCAPED = re.compile(r"_x([0-9A-F]{8}|[0-9A-F]{4})_")
_EMPTY = "_x_"
# The start of the local name, which has to be a valid end of a URI, and its last word.
_SPLIT = re.compile(
    rf"((?:[A-Za-z0-9_.\-]*+(?:[~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{{2}})++)*+[0-9.\-]*+)"
    rf"([{_START}][{_START}0-9.\-]*+)"
)
_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
    | {"\t": "&#9;", "\n": "&#10;"}
)
_NUMBERED = re.compile(r"\.(?=[0-9]+\Z)")
_SPLIT_PREFIX = re.compile(r"(.+)\.[0-9]+")


def escaped(text: str) -> str:
    """Return text as a name without a prefix (``NCName``); ``unescaped`` reverses it."""
    if text in ("", _EMPTY):
        return text.replace("_", _code("_"), 1) or _EMPTY
    return _TO_ESCAPE.sub(lambda match: _code(match[0]), text)


def unescaped(name: str) -> str:
    """Return the text of which ``escaped``, or the library ``prov``, made a name."""
    if "_x" not in name:
        return name
    return "" if name == _EMPTY else _ESCAPED.sub(_character, name)


def _code(character: str) -> str:
    number = ord(character)
    return f"_x{number:04X}_" if number < 0x10000 else f"_x{number:08X}_"


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF else match[0]


class XmlNames(dict[str, tuple[str, str]]):
    """Names in XML, each after the declaration of its prefix where the document lacks it.

    Args:
        prefixes: The prefixes of the document.

    Raises:
        DocumentError: XML cannot declare the namespace of a prefix.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        super().__init__()
        self.declarations = ""
        self.namespaces = {p: namespace for p, namespace in STANDARD.items() if p != OWN_PREFIX}
        self._raw = {prefix: prefix for prefix in self.namespaces}
        self._numbers: dict[tuple[str, str], int] = {}
        for prefix, namespace in sorted(prefixes.items()):
            self._declare(prefix, namespace)

    def _declare(self, prefix: str, namespace: str) -> None:
        if not namespace or ILLEGAL.search(namespace) or namespace in _XML_NAMESPACES:
            reason = f"the namespace {namespace!r} of the prefix {prefix!r} cannot be declared"
            raise DocumentError.unwritable("PROV-XML", reason)
        if prefix == "default":
            self.declarations += f" xmlns={quoted(namespace)}"
        else:
            raw = _raw_prefix(prefix)
            self.declarations += declaration(raw, namespace)
            if namespace in _SAME.get(prefix, ()):
                return
            self._raw[prefix] = raw
        self.namespaces[prefix] = namespace

    def whole(self, prefix: str, local: str) -> str:
        """Return a name in XML that needs no declaration, though its IRI may differ."""
        raw = self._raw.get(prefix)
        return f"{raw}:{escaped(local)}" if raw else escaped(local)

    def __missing__(self, name: str) -> tuple[str, str]:
        self[name] = written = self._written(name)
        return written

    def _written(self, name: str) -> tuple[str, str]:
        prefix, _, local = name.partition(":")
        raw = self._raw.get(prefix)
        if raw is None or prefix == name:
            # Without a prefix, or with one that is not declared: all of it is the local name.
            return "", escaped(name)
        match = _SPLIT.fullmatch(local)
        if match is None or not match[1] or prefix in STANDARD:
            return "", self.whole(prefix, local)
        number = self._numbers.setdefault((prefix, match[1]), len(self._numbers) + 1)
        part = f"{raw}.{number}"
        namespace = self.namespaces[prefix] + match[1]
        return declaration(part, namespace), f"{part}:{escaped(match[2])}"


def declaration(raw: str, namespace: str) -> str:
    """Return the declaration of a prefix, to be written inside a tag."""
    return f" xmlns:{raw}={quoted(namespace)}"


def quoted(text: str) -> str:
    """Return text as the value of an XML attribute, with its quotes."""
    return f'"{text.translate(_ENTITIES)}"'


def _raw_prefix(prefix: str) -> str:
    # A number at the end marks our own prefixes for parts of names.
    raw = _NUMBERED.sub(_code("."), escaped(prefix))
    if prefix in STANDARD or prefix[:3].lower() == "xml":
        return _code(prefix[0]) + raw[1:]
    return raw


class OpenBundle:
    """A bundle that is being read, with the prefixes of its names.

    Args:
        scope: The prefixes in XML where it starts.
        outer: Everything outside bundles; None for that itself.
    """

    def __init__(self, scope: Mapping[str, str], outer: OpenBundle | None) -> None:
        self.scope = scope
        self.declared: dict[str, str] = {}
        self.outer: dict[str, str] = dict(outer.prefixes) if outer else {}
        self.identifier: str | None = None
        self.statements: list[ParsedStatement] = []
        # Those of the file and the bundle, also by namespace.
        self.prefixes: dict[str, str] = dict(self.outer)
        self._by_namespace: dict[str, str] = {}
        self._leads: dict[tuple[str, str], str] = {}
        # Names by their spelling in the scope of the bundle, and in tags.
        self.names: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        for raw, namespace in scope.items():
            if not outer or outer.scope.get(raw) != namespace:
                self._add(raw, namespace)

    def _add(self, raw: str, namespace: str) -> None:
        prefix = unescaped(raw) if raw else "default"
        standard = STANDARD.get(raw) == namespace or namespace in _STANDARD_NAMESPACES
        if not (standard and prefix == (raw or "default")):
            self.declared[prefix] = self.prefixes[prefix] = namespace
            self._by_namespace[namespace] = prefix

    def lead(self, raw: str, namespace: str) -> str:
        """Return the start of names in PROV-JSON that have this prefix and namespace in XML."""
        start = self._leads.get((raw, namespace))
        if start is None:
            start = self._leads[raw, namespace] = self._lead(raw, namespace)
        return start

    def _lead(self, raw: str, namespace: str) -> str:
        prefix = unescaped(raw) if raw else "default"
        if self.prefixes.get(prefix) != namespace:
            usual = _STANDARD_NAMESPACES.get(namespace)
            start = f"{usual}:" if usual else _split_from(raw, namespace, self.prefixes)
            if start is not None:
                return start
            # Declared inside a record, where it may stand for another namespace than outside.
            prefix = self._by_namespace.get(namespace, prefix)
            while self.prefixes.get(prefix, namespace) != namespace:
                prefix = f"{prefix}_{len(self.prefixes)}"
            self.declared[prefix] = self.prefixes[prefix] = namespace
            self._by_namespace[namespace] = prefix
        return "" if prefix == "default" else f"{prefix}:"

    def parsed(self) -> ParsedBundle:
        """Return the bundle; the prefix of its id is also a prefix of the file."""
        own = (self.declared.get(RUN), self.declared.get(STORE))
        for prefix, namespace in tuple(self.declared.items()):
            if BUNDLE_PREFIX.match(prefix) and namespace in own:
                del self.declared[prefix]
            elif not (self.identifier or "").startswith(f"{prefix}:"):
                continue
            self.outer[prefix] = namespace
        return ParsedBundle(self.identifier, self.declared, self.outer, self.statements)


def _split_from(raw: str, namespace: str, prefixes: Mapping[str, str]) -> str | None:
    """Return the start of names whose prefix ``XmlNames`` declared for a part of them."""
    match = _SPLIT_PREFIX.fullmatch(raw)
    prefix = unescaped(match[1]) if match else None
    if prefix is None or not namespace.startswith(prefixes.get(prefix, "\0")):
        return None
    return f"{prefix}:{namespace.removeprefix(prefixes[prefix])}"
