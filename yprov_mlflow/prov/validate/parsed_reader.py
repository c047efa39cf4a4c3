"""The statements of the parsers of PROV-N and PROV-XML for validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from yprov_mlflow.prov.formats.parsed import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.formats.prov_json import values_of
from yprov_mlflow.prov.formats.prov_n_parser import QUALIFIED_NAME
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS, PROV
from yprov_mlflow.prov.validate.instance import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import SYNTAX, warning
from yprov_mlflow.prov.validate.statements import Statement

_NAME_TYPES = (QUALIFIED_NAME, "xsd:QName")


def instances(bundles: Iterable[ParsedBundle]) -> Iterator[Instance]:
    """Yield an instance for each bundle, as soon as it is parsed."""
    return map(_instance, bundles)


def _instance(bundle: ParsedBundle) -> Instance:
    names = Names(bundle.prefixes)
    identifier = None if bundle.identifier is None else names.resolve(bundle.identifier)
    statements: list[Statement] = []
    instance = Instance(statements, names, identifier)
    for parsed in bundle.statements:
        if parsed.kind not in KINDS:
            names.resolve(parsed.kind)  # its prefix must be declared, too
            message = "this statement is an extension of PROV, and is not checked"
            instance.findings.append(warning(SYNTAX, parsed.kind, message))
            continue
        statement = _statement(parsed, names)
        if not parsed.complete:
            # Only a warning: examples in W3C's own Recommendations omit single arguments.
            message = (
                "PROV-N requires all of the optional arguments or none ('-' for an omitted one)"
            )
            instance.findings.append(warning(SYNTAX, str(statement), message))
        statements.append(statement)
    return instance


def _statement(parsed: ParsedStatement, names: Names) -> Statement:
    resolve = names.resolve
    types: list[str] = []
    for key, several in parsed.attributes or ():
        resolve(key)
        is_type = names.expand(key) == f"{PROV}type"
        for value in values_of(several):
            if isinstance(value, dict):
                if "type" in value:
                    resolve(value["type"])
                if value.get("type") in _NAME_TYPES:
                    resolve(str(value["$"]))
            if is_type:
                types.append(str(value["$"] if isinstance(value, dict) else value))
    identifier = parsed.identifier
    if parsed.kind not in ELEMENTS and (identifier or "").startswith("_:"):
        identifier = None
    described = parsed.attributes is not None
    statement = Statement(
        parsed.kind, identifier, parsed.terms, parsed.times, tuple(types), described
    )
    return statement.resolved(resolve)
