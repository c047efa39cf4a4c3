"""Parse PROV-XML into statements, with the line of errors.

Documents are untrusted: entity declarations are refused, so none expands, nothing outside the
file is fetched, and nesting is limited. Bundles may be in ``bundleContent``, as in the schema,
or in ``bundle``, as ProvToolbox writes them; it also writes references inside others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn
from xml.parsers import expat

from yprov_mlflow.prov.formats.open_statement import OpenStatement
from yprov_mlflow.prov.formats.parsed import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.formats.xml_names import OWN_PREFIX, XSI, OpenBundle, unescaped
from yprov_mlflow.prov.model.literals import Value, name
from yprov_mlflow.prov.model.relations import DERIVATIONS, KINDS, PROV, SUBTYPES
from yprov_mlflow.prov.model.vocabulary import NAMESPACE

_MAX_DEPTH = 32
_SUBTYPES = {f"{kind[:1].lower()}{kind[1:]}": (section, kind) for kind, section in SUBTYPES.items()}
_SUBTYPES |= {element: ("wasDerivedFrom", kind) for kind, element in DERIVATIONS.items()}
"""Elements that stand for a statement with a type: section and type by element name."""
_DICTIONARIES = (
    "dictionary emptyDictionary keyEntityPair hadDictionaryMember derivedByInsertionFrom "
    "derivedByRemovalFrom"
).split()
"""Elements of PROV-DICTIONARY, an extension that the schema includes."""

# Expat joins namespace, name and prefix; a document cannot contain this character.
_SEPARATOR = "\x1f"
# Attributes as expat names them, up to the prefix.
_ID, _REF, _TYPE, _LANGUAGE, _FORM = (
    f"{namespace}{_SEPARATOR}{local}{_SEPARATOR}"
    for namespace, local in (
        (PROV, "id"),
        (PROV, "ref"),
        (XSI, "type"),
        ("http://www.w3.org/XML/1998/namespace", "lang"),
        (NAMESPACE, "jsonForm"),
    )
)

Attributes = Mapping[str, str]
Start = Callable[[str, Attributes], "Start"]
"""Handles the start of a child element; returns the handler of that child's own children."""


class ProvXmlSyntaxError(ValueError):
    """The bytes are not PROV-XML."""


def parse(chunks: Iterable[bytes]) -> Iterator[ParsedBundle]:
    """Yield each bundle when it ends, then everything outside bundles.

    Raises:
        ProvXmlSyntaxError: The file is not XML, not PROV, or uses a refused feature.
    """
    parser = _Parser()
    for chunk in chunks:
        parser.feed(chunk)
        yield from parser.take()
    parser.feed(b"", last=True)
    yield from parser.take()


class _Parser:
    """Drives expat; each open element has a handler for its children."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        self._parser.namespace_prefixes = True
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartNamespaceDeclHandler = self._declare
        self._parser.EntityDeclHandler = self._refuse
        self._parser.SkippedEntityHandler = self._refuse
        self._complete: list[ParsedBundle] = []
        self._declared: dict[str, str] = {}
        self._scopes: list[Mapping[str, str]] = [{}]
        self._readers: list[Start] = [self._in_file]
        self._ends: list[Callable[[], None] | None] = []
        self._bundles: list[OpenBundle] = []
        self._open = OpenStatement("", None, None)
        self._text: list[str] = []

    def feed(self, chunk: bytes, last: bool = False) -> None:
        """Parse the next chunk."""
        try:
            self._parser.Parse(chunk, last)
        except ProvXmlSyntaxError:
            raise
        except (expat.ExpatError, ValueError, LookupError) as fault:
            # expat raises LookupError for an unknown encoding.
            raise ProvXmlSyntaxError(f"not well-formed XML: {fault}") from fault

    def take(self) -> list[ParsedBundle]:
        """Return the bundles that ended since the last call."""
        complete, self._complete = self._complete, []
        return complete

    # -- handlers of expat -----------------------------------------------------------------

    def _refuse(self, name: str, *_: object) -> NoReturn:
        self._fail(f"the declaration of the entity {name!r} is refused")

    def _fail(self, reason: str) -> NoReturn:
        raise ProvXmlSyntaxError(f"{reason} (line {self._parser.CurrentLineNumber})")

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        # expat reports declarations before the element they are in, whose scope is not yet open.
        self._declared[prefix or ""] = namespace or ""

    def _start(self, tag: str, attributes: Attributes) -> None:
        if len(self._readers) > _MAX_DEPTH:
            self._fail(f"elements are nested more than {_MAX_DEPTH} deep")
        scope = self._scopes[-1]
        if self._declared:
            scope, self._declared = {**scope, **self._declared}, {}
            scope = {prefix: namespace for prefix, namespace in scope.items() if namespace}
        self._scopes.append(scope)
        self._ends.append(None)
        self._readers.append(self._readers[-1](tag, attributes))

    def _end(self, _: str) -> None:
        if (end := self._ends.pop()) is not None:
            end()
        self._readers.pop()
        self._scopes.pop()

    def _characters(self, text: str) -> None:
        self._text.append(text)

    # -- handlers of child elements --------------------------------------------------------

    def _in_file(self, tag: str, _: Attributes) -> Start:
        if _local(tag) != "document":
            root = tag.split(_SEPARATOR)
            self._fail(f"the root element is {root[1 % len(root)]!r}, not prov:document")
        self._begin_bundle(None)
        return self._in_bundle

    def _in_bundle(self, tag: str, attributes: Attributes) -> Start:
        local = _local(tag)
        if local in (None, "other"):
            return self._in_anything
        identifier = _attribute(attributes, _ID)
        if local == "bundleContent":
            self._begin_bundle(identifier)
            return self._in_bundle
        section, subtype = _SUBTYPES.get(str(local), (str(local), None))
        if section not in KINDS:
            if local not in _DICTIONARIES:
                self._fail(f"prov:{local} is not an element of PROV-XML")
            self._bundles[-1].statements.append(ParsedStatement(f"prov:{local}"))
            return self._in_anything
        form = _attribute(attributes, _FORM)
        self._open = statement = OpenStatement(
            section, None if identifier is None else self._name(identifier), form
        )
        kind = f"prov:{subtype}" if subtype else _attribute(attributes, _TYPE)
        if kind:
            statement.implied = ("prov:type", name(self._name(kind)))
        self._ends[-1] = self._end_statement
        if local == "bundle":
            return lambda tag, attributes: self._in_entity_or_bundle(tag, attributes, identifier)
        return self._in_statement

    def _in_entity_or_bundle(
        self, tag: str, attributes: Attributes, identifier: str | None
    ) -> Start:
        """Handle a child of ``bundle``, which is an entity or a bundle of ProvToolbox."""
        # The same element means two things: only its first child shows which of them.
        local = _local(tag)
        if local not in KINDS and local not in _SUBTYPES:
            self._readers[-1] = self._in_statement
            return self._in_statement(tag, attributes)
        self._begin_bundle(identifier, outer=2)
        self._readers[-1] = self._in_bundle
        return self._in_bundle(tag, attributes)

    def _in_statement(self, tag: str, attributes: Attributes) -> Start:
        statement = self._open
        local = _local(tag)
        key = f"prov:{local}" if local else self._key(tag)
        kind = KINDS[statement.section]
        text: list[str] = []
        self._text = text
        if local and key in kind.formals:
            reference = _attribute(attributes, _REF)
            statement.form = statement.form or _attribute(attributes, _FORM)
            if reference is not None:
                self._set_value(key, self._name(reference))
                return self._in_anything
            self._ends[-1] = lambda: self._end_reference(key, text)
            return lambda _, attributes: self._in_reference(key, attributes)
        if local and key in kind.times:
            self._ends[-1] = lambda: self._set_value(key, "".join(text).strip())
        else:
            self._ends[-1] = lambda: self._end_attribute(key, text, attributes)
        return self._in_anything

    def _in_reference(self, key: str, attributes: Attributes) -> Start:
        reference = _attribute(attributes, _REF)
        if reference is not None:
            self._set_value(key, self._name(reference))
        return self._in_anything

    def _in_anything(self, _: str, __: Attributes) -> Start:
        self._text = []  # what follows is not the text of the element around it
        return self._in_anything

    # -- ends of elements ------------------------------------------------------------------

    def _begin_bundle(self, identifier: str | None, outer: int = 1) -> None:
        if len(self._bundles) > 1:
            self._fail("a bundle cannot contain a bundle")
        bundle = OpenBundle(self._scopes[-outer], self._bundles[0] if self._bundles else None)
        self._bundles.append(bundle)
        if identifier is not None:
            bundle.identifier = self._name(identifier, outer)
        self._ends[-outer] = self._end_bundle

    def _end_bundle(self) -> None:
        self._complete.append(self._bundles.pop().parsed())

    def _end_statement(self) -> None:
        try:
            self._bundles[-1].statements.extend(self._open.statements())
        except (TypeError, ValueError, RecursionError) as fault:
            self._fail(f"{OWN_PREFIX}:jsonForm is malformed: {fault}")

    def _end_reference(self, key: str, text: list[str]) -> None:
        reference = "".join(text)
        if key not in self._open.values and reference.strip():
            self._set_value(key, self._name(reference))

    def _set_value(self, key: str, value: str) -> None:
        statement = self._open
        previous = statement.values.setdefault(key, value)
        if previous == value:
            return
        # PROV-XML writes the members of a collection in one element; PROV-DM has one statement
        # for each.
        if statement.section == "hadMember" and key == "prov:entity":
            statement.members.append(value)
        else:
            self._fail(f"{key} has two values, {previous} and {value}")

    def _end_attribute(self, key: str, text: list[str], attributes: Attributes) -> None:
        self._open.attributes.append((key, self._value("".join(text), attributes)))

    # -- names and values ------------------------------------------------------------------

    def _value(self, text: str, attributes: Attributes) -> Value:
        datatype, language = _attribute(attributes, _TYPE), _attribute(attributes, _LANGUAGE)
        if datatype is None:
            return text if language is None else {"$": text, "lang": language}
        kind = self._name(datatype)
        if kind == "xsd:QName":
            return name(self._name(text))
        # PROV-JSON writes texts without a type.
        return text if kind == "xsd:string" else {"$": text, "type": kind}

    def _name(self, text: str, depth: int = 1) -> str:
        """Return a qualified name as PROV-JSON writes it."""
        bundle, scope = self._bundles[-1], self._scopes[-depth]
        # Most elements declare no prefixes.
        names = bundle.names if scope is bundle.scope else {}
        qualified = names.get(text)
        if qualified is None:
            raw, colon, local = text.strip().partition(":")
            if not colon:
                raw, local = "", raw
            namespace = scope.get(raw)
            # Names with a prefix that is not declared stay as they are.
            start = f"{raw}{colon}" if namespace is None else bundle.lead(raw, namespace)
            qualified = names[text] = start + unescaped(local)
        return qualified

    def _key(self, tag: str) -> str:
        """Return the name of an attribute from the tag of its element."""
        bundle = self._bundles[-1]
        key = bundle.tags.get(tag)
        if key is None:
            # Without a namespace it is only the name; the default namespace has no prefix.
            namespace, local, raw, *_ = (*tag.split(_SEPARATOR), "", "")
            key = bundle.lead(raw, namespace) + unescaped(local) if local else unescaped(tag)
            bundle.tags[tag] = key
        return key


def _local(tag: str) -> str | None:
    """Return the name of an element of PROV without its prefix, None for other elements."""
    namespace, _, name = tag.partition(_SEPARATOR)
    return name.partition(_SEPARATOR)[0] if namespace == PROV else None


def _attribute(attributes: Attributes, start: str) -> str | None:
    """Return an attribute by its namespace and name; its prefix does not matter."""
    for key, value in attributes.items():
        if key.startswith(start):
            return value
    return None
