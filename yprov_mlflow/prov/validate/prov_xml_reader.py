"""Stream PROV-XML as statements.

Documents are untrusted: entity declarations are refused, so none expands, nothing outside the
file is fetched, and nesting is limited. Bundles may be in ``bundleContent``, as in the schema,
or in ``bundle``, as ProvToolbox writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from yprov_mlflow.prov.model.relations import DERIVATIONS, KINDS, PROV, SUBTYPES
from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.instance import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import error
from yprov_mlflow.prov.validate.statements import Statement

_MAX_DEPTH = 32
_SUBTYPES = {
    f"{name[:1].lower()}{name[1:]}": (section, name) for name, section in SUBTYPES.items()
} | {element: ("wasDerivedFrom", name) for name, element in DERIVATIONS.items()}
"""Elements that stand for a statement with a type: section and type by element name."""

Attributes = Mapping[str, str]
Start = Callable[[str, Attributes], "Start"]
"""Handles the start of a child element; returns the handler of that child's own children."""


class ProvXmlSyntaxError(ValueError):
    """The bytes are not PROV-XML."""


def instances(chunks: Iterable[bytes]) -> Iterator[Instance]:
    """Yield each bundle when it ends, then the statements outside bundles.

    Raises:
        ProvXmlSyntaxError: The file is not XML, not PROV, or uses a refused feature.
    """
    reader = _Reader()
    for chunk in chunks:
        reader.feed(chunk)
        yield from reader.take()
    reader.feed(b"", last=True)
    yield from reader.take()


@dataclass
class _OpenStatement:
    """A statement whose element has not ended yet."""

    section: str
    identifier: str | None
    types: list[str]
    described: bool
    values: dict[str, str] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)

    def statements(self) -> list[Statement]:
        """Return the statement; for a membership with several members, one for each."""
        first = self.statement()
        collection = first.terms[:1]
        return [first, *(first._replace(terms=(*collection, member)) for member in self.members)]

    def statement(self) -> Statement:
        """Return the statement with the first member only."""
        kind = KINDS[self.section]
        return Statement(
            self.section,
            self.identifier if kind.named else None,
            tuple([self.values.get(formal) for formal in kind.formals]),
            tuple([self.values.get(time) for time in kind.times]),
            tuple(self.types),
            self.described,
        )


class _Reader:
    """Drives expat; each open element has a handler for its children."""

    def __init__(self) -> None:
        # A space cannot occur in a namespace or name, so it separates them without ambiguity.
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartNamespaceDeclHandler = self._declare
        self._parser.EntityDeclHandler = self._refuse
        self._complete: list[Instance] = []
        self._declared: dict[str, str] = {}
        self._scopes: list[dict[str, str]] = [{}]
        self._readers: list[Start] = [self._in_file]
        self._ends: list[Callable[[], None] | None] = []
        self._into: list[tuple[Instance, list[Statement]]] = []
        self._open: _OpenStatement | None = None
        self._text: list[str] | None = None

    def feed(self, chunk: bytes, last: bool = False) -> None:
        """Parse the next chunk."""
        try:
            self._parser.Parse(chunk, last)
        except ProvXmlSyntaxError:
            raise
        except (expat.ExpatError, ValueError, LookupError) as fault:
            # expat raises LookupError for an unknown encoding.
            raise ProvXmlSyntaxError(f"not well-formed XML: {fault}") from fault

    def take(self) -> list[Instance]:
        """Return the instances that ended since the last call."""
        complete, self._complete = self._complete, []
        return complete

    # -- handlers of expat -----------------------------------------------------------------

    def _refuse(self, name: str, *_: object) -> None:
        raise self._malformed(f"the declaration of the entity {name!r} is refused")

    def _malformed(self, reason: str) -> ProvXmlSyntaxError:
        return ProvXmlSyntaxError(f"{reason} (line {self._parser.CurrentLineNumber})")

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        # expat reports declarations before the element they are in, whose scope is not yet open.
        self._declared[prefix or ""] = namespace or ""

    def _start(self, name: str, attributes: Attributes) -> None:
        if len(self._readers) > _MAX_DEPTH:
            raise self._malformed(f"elements are nested more than {_MAX_DEPTH} deep")
        scope = self._scopes[-1]
        if self._declared:
            scope, self._declared = {**scope, **self._declared}, {}
        self._scopes.append(scope)
        self._ends.append(None)
        self._readers.append(self._readers[-1](name, attributes))

    def _end(self, _: str) -> None:
        if (end := self._ends.pop()) is not None:
            end()
        self._readers.pop()
        self._scopes.pop()

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    # -- handlers of child elements --------------------------------------------------------

    def _in_file(self, name: str, _: Attributes) -> Start:
        if name != f"{PROV} document":
            root = name.rpartition(" ")[2]
            raise self._malformed(f"the root element is {root!r}, not prov:document")
        self._begin_instance(None)
        return self._in_instance

    def _in_instance(self, name: str, attributes: Attributes) -> Start:
        namespace, _, local = name.rpartition(" ")
        identifier = attributes.get(f"{PROV} id")
        if namespace != PROV:
            return self._in_anything
        if local == "bundleContent":
            self._begin_instance(identifier)
            return self._in_instance
        section, kind = _SUBTYPES.get(local, (local, None))
        if section not in KINDS:
            if local != "other":
                fault = error(rules.SYNTAX, f"prov:{local}", "not an element of PROV-XML")
                self._into[-1][0].findings.append(fault)
            return self._in_anything
        resolved = None if identifier is None else self._resolve(identifier)
        types = [PROV + kind] if kind else []
        self._open = _OpenStatement(section, resolved, types, described=bool(kind))
        self._ends[-1] = self._end_statement
        return self._in_bundle if local == "bundle" else self._in_statement

    def _in_bundle(self, name: str, attributes: Attributes) -> Start:
        """Handle a child of ``bundle``, which is an entity or a bundle of ProvToolbox."""
        # The same element means two things: only its first child shows which of them.
        namespace, _, local = name.rpartition(" ")
        if namespace != PROV or (local not in KINDS and local not in _SUBTYPES):
            return self._in_statement(name, attributes)
        assert self._open is not None
        entity, self._open = self._open, None
        self._begin_instance(entity.identifier, outer=2)
        self._readers[-1] = self._in_instance
        return self._in_instance(name, attributes)

    def _in_statement(self, name: str, attributes: Attributes) -> Start:
        assert self._open is not None
        namespace, _, local = name.rpartition(" ")
        kind, key = KINDS[self._open.section], f"prov:{local}"
        if namespace == PROV and key in kind.formals:
            reference = attributes.get(f"{PROV} ref")
            if reference is not None:
                self._set_value(key, self._resolve(reference))
        elif namespace == PROV and (key in kind.times or local == "type"):
            self._text = []
            self._ends[-1] = lambda: self._end_text(key)
        else:
            self._open.described = True
        return self._in_anything

    def _in_anything(self, _: str, __: Attributes) -> Start:
        return self._in_anything

    # -- ends of elements ------------------------------------------------------------------

    def _begin_instance(self, identifier: str | None, outer: int = 1) -> None:
        if identifier is not None:
            prefix = identifier.rpartition(":")[0]
            if self._scopes[-outer].get(prefix) != self._scopes[-outer - 1].get(prefix):
                # Inside the bundle, the prefix stands for another namespace.
                identifier = self._expand(identifier)
        declared = {prefix or "default": uri for prefix, uri in self._scopes[-1].items()}
        names = Names(declared)
        statements: list[Statement] = []
        self._into.append((Instance(statements, names, identifier), statements))
        self._ends[-outer] = self._end_instance

    def _end_instance(self) -> None:
        self._complete.append(self._into.pop()[0])

    def _end_statement(self) -> None:
        assert self._open is not None
        self._into[-1][1].extend(self._open.statements())
        self._open = None

    def _end_text(self, key: str) -> None:
        assert self._open is not None and self._text is not None
        text = "".join(self._text).strip()
        self._text = None
        if key == "prov:type":
            self._open.described = True
            self._open.types.append(self._expand(text))
        else:
            self._set_value(key, text)

    def _set_value(self, key: str, value: str) -> None:
        assert self._open is not None
        previous = self._open.values.setdefault(key, value)
        if previous == value:
            return
        # PROV-XML writes the members of a collection in one element; PROV-DM has one statement
        # for each.
        if self._open.section == "hadMember" and key == "prov:entity":
            self._open.members.append(value)
        else:
            message = f"{key} has two values, {previous} and {value}"
            fault = error(rules.SYNTAX, self._open.statement(), message)
            self._into[-1][0].findings.append(fault)

    def _resolve(self, name: str) -> str:
        return self._into[-1][0].names.resolve_iri(name.strip(), self._expand(name.strip()))

    def _expand(self, name: str) -> str:
        prefix, _, local = name.rpartition(":")  # without a colon, all of it is local
        namespace = self._scopes[-1].get(prefix)
        return name if namespace is None else namespace + local
