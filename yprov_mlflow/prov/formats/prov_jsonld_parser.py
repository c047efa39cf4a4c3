"""Parse PROV-JSONLD into statements.

Read are files of this package, of the library ``prov`` and of ProvToolbox, which writes types and
arguments with the prefix ``prov``. Nothing is fetched: the context of the submission is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.jsonld_names import FORM, ID_TERMS, TYPES, Scope
from yprov_mlflow.prov.formats.open_statement import OpenStatement
from yprov_mlflow.prov.formats.parsed import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.formats.prov_json import json_object
from yprov_mlflow.prov.model.literals import name as qualified
from yprov_mlflow.prov.model.relations import ELEMENTS, FORMAL, KINDS, OWN_ATTRIBUTES
from yprov_mlflow.prov.model.vocabulary import NAMESPACE

NAME = "PROV-JSONLD"
CONTEXT = "https://openprovenance.org/prov-jsonld/context.jsonld"
"""The context of the submission, where its own examples and all tools expect it."""

# The first line identifies a file of ours, which can be read line by line.
START = b'{"@context":["' + CONTEXT.encode() + b'"],"@graph":[\n'
BETWEEN = b",\n"
END = b"]}\n"

_SECTIONS = {type_: section for section, type_ in TYPES.items()}

_TERMS = {name.removeprefix("prov:"): name for name in OWN_ATTRIBUTES}
_ARGUMENTS = {
    section: {formal.removeprefix("prov:"): formal for formal in formals}
    for section, formals in FORMAL.items()
}


def parse(stream: BinaryIO) -> Iterator[ParsedBundle]:
    """Yield each bundle, then everything outside bundles.

    Raises:
        DocumentError: The bytes are not PROV-JSONLD.
    """
    first = stream.readline()
    if first == START:
        yield from _read_lines(stream)
        return
    members = json_object(first + stream.read(), NAME)
    own, declared = _prefixes(members.get("@context"), "")
    graph = _objects(members.get("@graph"), '"@graph"')
    statements = []
    for item in graph:
        if _type(item) == "Bundle":
            yield _bundle(item, {**own, **declared})
        else:
            statements.append(item)
    yield _parsed(None, own, declared, {}, statements)


def _read_lines(stream: BinaryIO) -> Iterator[ParsedBundle]:
    """Yield the bundles of a file of ours, line by line."""
    while (line := stream.readline()) and line != END:
        yield _bundle(json_object(line.rstrip(BETWEEN), NAME), {})
    if not line:
        raise DocumentError.unreadable(NAME, "the file ends inside its bundles")


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise DocumentError.unreadable(NAME, f"{what} is not a list of objects")
    return value


def _type(item: Mapping[str, Any]) -> str:
    return str(item.get("@type")).removeprefix("prov:")


def _prefixes(context: Any, identifier: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the prefixes that a file of ours needs for itself, and all others."""
    items = context if isinstance(context, list) else [context]
    maps = [_namespaces(item) for item in items if isinstance(item, dict)]
    own: dict[str, str] = {}
    prefix = identifier.partition(":")[0]
    if len(maps) > 1 and all(p == prefix or ns == NAMESPACE for p, ns in maps[0].items()):
        own = maps.pop(0)
    return own, {p: namespace for namespaces in maps for p, namespace in namespaces.items()}


def _namespaces(item: Mapping[str, Any]) -> dict[str, str]:
    if isinstance(item.get("Usage"), dict) and isinstance(item.get("Generation"), dict):
        return {}  # the context of the submission itself
    namespaces = {}
    for prefix, value in item.items():
        namespace = value.get("@id") if isinstance(value, dict) and "@prefix" in value else value
        if isinstance(namespace, str) and (prefix == "@vocab" or not prefix.startswith("@")):
            namespaces["default" if prefix == "@vocab" else prefix] = namespace
    return namespaces


def _bundle(item: Mapping[str, Any], outer: dict[str, str]) -> ParsedBundle:
    identifier = item.get("@id")
    if _type(item) != "Bundle" or not isinstance(identifier, str):
        raise DocumentError.unreadable(NAME, 'a bundle lacks "@type" or "@id"')
    own, declared = _prefixes(item.get("@context", []), identifier)
    statements = _objects(item.get("@graph", []), f"the graph of {identifier}")
    return _parsed(identifier, own, declared, outer, statements)


def _parsed(
    identifier: str | None,
    own: dict[str, str],
    declared: dict[str, str],
    outer: dict[str, str],
    items: Iterable[Mapping[str, Any]],
) -> ParsedBundle:
    scope = Scope({**outer, **declared}, own)
    statements = [statement for item in items for statement in _statements(item, scope)]
    if identifier is not None:
        identifier = scope.name(identifier)
    return ParsedBundle(identifier, {**declared, **scope.implied}, outer, statements, own)


def _statements(item: Mapping[str, Any], scope: Scope) -> list[ParsedStatement]:
    section = _SECTIONS.get(_type(item))
    identifier = item.get("@id")
    where = identifier if isinstance(identifier, str) else None
    if section is None:
        reason = f"{item.get('@type')!r} is not a type of statement"
        raise DocumentError.unreadable(NAME, reason, where)
    if identifier is not None and where is None:
        raise DocumentError.unreadable(NAME, f'"@id" is not a string: {identifier!r}')
    if where is None and section in ELEMENTS:
        raise DocumentError.unreadable(NAME, f'{item.get("@type")} lacks an "@id"')
    statement = OpenStatement(section, None if where is None else scope.name(where), None)
    arguments = _ARGUMENTS[section]
    try:
        for key, value in item.items():
            if key in ("@type", "@id"):
                continue
            formal = arguments.get(key.removeprefix("prov:"))
            if formal is not None:
                _add_argument(statement, formal, value, scope)
            else:
                _add_attribute(statement, key, value, scope)
        return list(statement.statements())
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DocumentError.unreadable(NAME, error, where) from error


def _add_argument(statement: OpenStatement, formal: str, value: Any, scope: Scope) -> None:
    values = value if isinstance(value, list) else [value]
    ids = [item.get("@id") if isinstance(item, dict) else item for item in values]
    texts = [text for text in ids if isinstance(text, str)]
    several = statement.section == "hadMember" and formal == "prov:entity"
    if not texts or len(texts) < len(ids) or (len(texts) > 1 and not several):
        raise TypeError(f"{formal} is not an id or time: {value!r}")
    if formal not in KINDS[statement.section].times:
        texts = [scope.name(text) for text in texts]
    statement.values[formal], *others = texts
    statement.members += others


def _add_attribute(statement: OpenStatement, key: str, value: Any, scope: Scope) -> None:
    name = _TERMS.get(key) or scope.name(key)
    values = value if isinstance(value, list) else [value]
    if scope.expand(name) == NAMESPACE + FORM and statement.form is None:
        (form,) = values
        statement.form = form["@value"]
        return
    term = key in ID_TERMS or (key.startswith("prov:") and key[5:] in ID_TERMS)
    statement.attributes += [(name, _value(item, scope, term)) for item in values]


def _value(value: Any, scope: Scope, is_id: bool) -> Any:
    """Return a value as PROV-JSON has it."""
    if isinstance(value, str):
        return qualified(scope.name(value)) if is_id else value
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("@id"), str):
        return qualified(scope.name(value["@id"]))
    text, datatype, language = value.get("@value"), value.get("@type"), value.get("@language")
    if text is None or isinstance(text, list | dict):
        raise TypeError(f"{value!r} is not a value")
    if language is not None:
        return {"$": text, "lang": str(language)}
    if datatype is None:
        return text
    datatype = scope.name(str(datatype))
    if datatype in ("xsd:QName", "prov:QUALIFIED_NAME"):
        text = scope.name(str(text))
    return {"$": text, "type": datatype}
