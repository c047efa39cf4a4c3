"""What every document must be, wherever a test meets one."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import pyoxigraph
from constraints import coincidences, faults_of_form, violations

from yprov_mlflow.prov.formats.rdf import vocabulary
from yprov_mlflow.prov.model.vocabulary import BORROWED, NAMESPACE

TERMS = {
    quad.subject.value.removeprefix(NAMESPACE)
    for quad in pyoxigraph.parse(vocabulary(), pyoxigraph.RdfFormat.TURTLE)
}
"""Local names of our own terms."""


@cache
def schema() -> Any:
    """Give a validator of the PROV-JSON schema that comes with ``prov``."""
    text = files("prov").joinpath("tests/schemas/prov-json.schema.json").read_text("utf-8")
    found = json.loads(text)
    # A fault of the schema: without this no document may say how an activity ended.
    found["properties"]["wasEndedBy"] = found["properties"].pop("wasEndedby")
    return jsonschema.Draft4Validator(found)


def assert_valid(document: dict[str, Any]) -> None:
    """Hold a PROV-JSON object against the schema, PROV's constraints, and our vocabulary."""
    schema().validate(document)
    assert violations(document) == []
    assert coincidences(document) == []
    assert faults_of_form(document, TERMS, BORROWED) == []
