"""Checks that every PROV-JSON document of ours has to pass."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import pyoxigraph

from support.oracles.constraints import coincidences, form_errors, violations
from yprov_mlflow.prov.formats.rdf import vocabulary
from yprov_mlflow.prov.model.vocabulary import BORROWED, NAMESPACE

TERMS = {
    quad.subject.value.removeprefix(NAMESPACE)
    for quad in pyoxigraph.parse(vocabulary(), pyoxigraph.RdfFormat.TURTLE)
}
"""Local names of the terms in our vocabulary."""


@cache
def schema() -> Any:
    """Return a validator for the PROV-JSON schema that is part of ``prov``."""
    text = files("prov").joinpath("tests/schemas/prov-json.schema.json").read_text("utf-8")
    content = json.loads(text)
    # The schema misspells wasEndedBy, and would therefore reject documents that use it.
    content["properties"]["wasEndedBy"] = content["properties"].pop("wasEndedby")
    return jsonschema.Draft4Validator(content)


@cache
def jsonld_schemas() -> dict[str, Any]:
    """Return a validator for each type of statement in the PROV-JSONLD schema.

    The schema itself tries all types for each statement, which takes 17 times as long.
    """
    text = files("prov").joinpath("tests/schemas/prov-jsonld.schema.json").read_text("utf-8")
    definitions = json.loads(text)["definitions"]
    return {
        name.removeprefix("prov:"): jsonschema.Draft7Validator(
            {"$ref": f"#/definitions/{name}", "definitions": definitions}
        )
        for name in definitions
        if name.startswith("prov:")
    }


def assert_valid_jsonld(content: dict[str, Any]) -> None:
    """Check PROV-JSONLD, a document or a bundle, against the schema."""
    schemas = jsonld_schemas()
    schemas[content.get("@type", "Document")].validate({**content, "@graph": []})
    for statement in content["@graph"]:
        if statement["@type"] == "Bundle":
            assert_valid_jsonld(statement)
        else:
            schemas[statement["@type"]].validate(statement)


def assert_valid(document: dict[str, Any]) -> None:
    """Check a PROV-JSON object against the schema, PROV-CONSTRAINTS and our vocabulary."""
    schema().validate(document)
    assert violations(document) == []
    assert coincidences(document) == []
    assert form_errors(document, TERMS, BORROWED) == []
