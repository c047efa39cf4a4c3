"""PROV-N as statements for validation."""

from __future__ import annotations

from collections.abc import Iterator

from yprov_mlflow.prov.formats import prov_n_parser
from yprov_mlflow.prov.formats.prov_n_parser import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.model.relations import KINDS, PROV
from yprov_mlflow.prov.validate import xsd_datetime
from yprov_mlflow.prov.validate.instance import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import SYNTAX, warning
from yprov_mlflow.prov.validate.statements import Statement


def instances(text: str) -> Iterator[Instance]:
    """Yield each bundle, and last the statements outside bundles.

    Raises:
        ProvNSyntaxError: The text is not PROV-N.
    """
    for bundle in prov_n_parser.parse(text, lambda time: xsd_datetime.parse(time) is not None):
        yield _instance(bundle)


def _instance(bundle: ParsedBundle) -> Instance:
    names = Names({**bundle.outer, **bundle.declared})
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
    for key, value in parsed.attributes or ():
        resolve(key)
        if isinstance(value, dict):
            if "type" in value:
                resolve(value["type"])
            if value.get("type") == prov_n_parser.QUALIFIED_NAME:
                resolve(value["$"])
        if names.expand(key) == f"{PROV}type":
            types.append(value["$"] if isinstance(value, dict) else value)
    described = parsed.attributes is not None
    statement = Statement(
        parsed.kind, parsed.identifier, parsed.terms, parsed.times, tuple(types), described
    )
    return statement.resolved(resolve)
