"""PROV-XML as statements, read piece by piece, with nothing that a file may do to a reader.

Entities cannot be declared, so none expands; nothing outside the file is fetched; nesting has
an end. Bundles in ``bundleContent``, as the schema has it, and in ``bundle``, as ProvToolbox
wrote it, are read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from xml.parsers import expat

from yprov_mlflow.prov.model.relations import DERIVATIONS, KINDS, PROV, SUBTYPES
from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.instance import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import error
from yprov_mlflow.prov.validate.statements import Statement

_DEEPEST = 32
_SUBTYPES = {
    f"{name[:1].lower()}{name[1:]}": (section, name) for name, section in SUBTYPES.items()
} | {element: ("wasDerivedFrom", name) for name, element in DERIVATIONS.items()}
"""Elements that are a statement and a type at once."""

Attributes = Mapping[str, str]
Start = Callable[[str, Attributes], "Start"]
"""What reads the children of an element: given a child, what reads that one's children."""


class Malformed(ValueError):
    """The bytes are no PROV-XML."""


def instances(chunks: Iterable[bytes]) -> Iterator[Instance]:
    """Give each bundle as it ends, and at last what lies outside bundles.

    Raises:
        Malformed: The file is no XML, is none of PROV, or does what none has to do.
    """
    reader = _Reader()
    for chunk in chunks:
        reader.feed(chunk)
        yield from reader.take()
    reader.feed(b"", last=True)
    yield from reader.take()


class _Open:
    """A statement that is being read."""

    def __init__(self, section: str, identifier: str | None, kind: str | None) -> None:
        self.section = section
        self.identifier = identifier
        self.said: dict[str, str] = {}
        self.members: list[str] = []
        self.types = [PROV + kind] if kind else []
        self.described = bool(kind)

    def statements(self) -> list[Statement]:
        """Give what was read: of a membership, one statement for each member."""
        first = self.statement()
        collection = first.terms[:1]
        return [first, *(first._replace(terms=(*collection, one)) for one in self.members)]

    def statement(self) -> Statement:
        """Give what was read, of several members the first."""
        kind = KINDS[self.section]
        return Statement(
            self.section,
            self.identifier if kind.named else None,
            tuple([self.said.get(formal) for formal in kind.formals]),
            tuple([self.said.get(time) for time in kind.times]),
            tuple(self.types),
            self.described,
        )


class _Reader:
    """Follows elements; each open one has a function that reads its children."""

    def __init__(self) -> None:
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
        self._ends: list[Callable[[], None]] = []
        self._into: list[tuple[Instance, list[Statement]]] = []
        self._open: _Open | None = None
        self._text: list[str] | None = None

    def feed(self, chunk: bytes, last: bool = False) -> None:
        """Read on."""
        try:
            self._parser.Parse(chunk, last)
        except Malformed:
            raise
        except (expat.ExpatError, ValueError, LookupError) as fault:  # the latter of encodings
            raise Malformed(f"it is no XML: {fault}") from fault

    def take(self) -> list[Instance]:
        """Give the instances that ended since the last time."""
        found, self._complete = self._complete, []
        return found

    # -- what expat calls ------------------------------------------------------------------

    def _refuse(self, name: str, *_: object) -> None:
        raise self._malformed(f"it declares the entity {name!r}, for which PROV-XML has no use")

    def _malformed(self, reason: str) -> Malformed:
        return Malformed(f"{reason} (line {self._parser.CurrentLineNumber})")

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        self._declared[prefix or ""] = namespace or ""

    def _start(self, name: str, attributes: Attributes) -> None:
        if len(self._readers) > _DEEPEST:
            raise self._malformed(f"its elements are nested more than {_DEEPEST} deep")
        scope = self._scopes[-1]
        if self._declared:
            scope, self._declared = {**scope, **self._declared}, {}
        self._scopes.append(scope)
        self._ends.append(_nothing)
        self._readers.append(self._readers[-1](name, attributes))

    def _end(self, _: str) -> None:
        self._ends.pop()()
        self._readers.pop()
        self._scopes.pop()

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    # -- what reads the children of what ---------------------------------------------------

    def _in_file(self, name: str, _: Attributes) -> Start:
        if name != f"{PROV} document":
            raise self._malformed(f"its root is {_local(name)!r} and not prov:document")
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
                fault = error(rules.SYNTAX, f"prov:{local}", "PROV-XML has no such element here")
                self._into[-1][0].findings.append(fault)
            return self._in_anything
        resolved = None if identifier is None else self._resolve(identifier)
        self._open = _Open(section, resolved, kind)
        self._ends[-1] = self._end_statement
        return self._in_bundle if local == "bundle" else self._in_statement

    def _in_bundle(self, name: str, attributes: Attributes) -> Start:
        """Read a child of ``bundle``: of an entity, or of a bundle as ProvToolbox wrote them."""
        namespace, _, local = name.rpartition(" ")
        if namespace != PROV or (local not in KINDS and local not in _SUBTYPES):
            return self._in_statement(name, attributes)
        assert self._open is not None
        begun, self._open = self._open, None
        self._begin_instance(begun.identifier, outer=2)
        self._readers[-1] = self._in_instance
        return self._in_instance(name, attributes)

    def _in_statement(self, name: str, attributes: Attributes) -> Start:
        assert self._open is not None
        namespace, _, local = name.rpartition(" ")
        kind, key = KINDS[self._open.section], f"prov:{local}"
        if namespace == PROV and key in kind.formals:
            reference = attributes.get(f"{PROV} ref")
            if reference is not None:
                self._say(key, self._resolve(reference))
        elif namespace == PROV and (key in kind.times or local == "type"):
            self._text = []
            self._ends[-1] = lambda: self._end_text(key)
        else:
            self._open.described = True
        return self._in_anything

    def _in_anything(self, _: str, __: Attributes) -> Start:
        return self._in_anything

    # -- what is done at ends --------------------------------------------------------------

    def _begin_instance(self, identifier: str | None, outer: int = 1) -> None:
        if identifier is not None:
            prefix = identifier.rpartition(":")[0]
            if self._scopes[-outer].get(prefix) != self._scopes[-outer - 1].get(prefix):
                identifier = self._expand(identifier)  # the same may name another one there
        declared = {prefix or "default": uri for prefix, uri in self._scopes[-1].items()}
        names = Names(declared)
        found: list[Statement] = []
        self._into.append((Instance(found, names, identifier), found))
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
            self._say(key, text)

    def _say(self, key: str, value: str) -> None:
        assert self._open is not None
        known = self._open.said.setdefault(key, value)
        if known == value:
            return
        if self._open.section == "hadMember" and key == "prov:entity":
            self._open.members.append(value)
        else:
            fault = error(
                rules.SYNTAX, str(self._open.statement()), f"{key} is {known} and {value} at once"
            )
            self._into[-1][0].findings.append(fault)

    def _resolve(self, name: str) -> str:
        return self._into[-1][0].names.resolve_iri(name.strip(), self._expand(name.strip()))

    def _expand(self, name: str) -> str:
        prefix, colon, local = name.rpartition(":")
        namespace = self._scopes[-1].get(prefix)
        if namespace is None:
            return name
        return namespace + (local if colon else name)


def _nothing() -> None:
    pass


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
