"""Documents and statements in memory, judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from yprov_mlflow.prov.translate import Document
from yprov_mlflow.prov.validate import prov_json_reader
from yprov_mlflow.prov.validate.findings import Finding
from yprov_mlflow.prov.validate.judgement import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.statements import Statement


def validate(
    document: Document | Mapping[str, Any] | Iterable[Statement],
    *,
    prefixes: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> list[Finding]:
    """Judge a document; nothing else is read, written or asked.

    Args:
        document: A document; or a PROV-JSON object, which may have bundles and lists of
            records under one id; or statements, which may be any number for one id.
        prefixes: The namespaces of statements; a document has its own.
        now: From a day after this on times are odd; None: from the year 2100 on.

    Returns:
        What is wrong with it: errors, and warnings of what is hardly meant so. Bundles are
        judged one by one, as PROV-CONSTRAINTS has it.
    """
    if isinstance(document, Document):
        members: Mapping[str, Any] = document.to_json_object()
    elif isinstance(document, Mapping):
        members = document
    else:
        names = Names(prefixes or {})
        given = (_resolved(statement, names) for statement in document)
        return list(Instance(given, names).judge(now))
    found: list[Finding] = []
    own = not isinstance(document, Document)
    for instance in prov_json_reader.instances(members, schema=own):
        found += instance.judge(now)
    return found


def _resolved(statement: Statement, names: Names) -> Statement:
    resolve = names.resolve
    return statement._replace(
        identifier=None if statement.identifier is None else resolve(statement.identifier),
        terms=tuple([None if term is None else resolve(term) for term in statement.terms]),
    )
