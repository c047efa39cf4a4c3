"""PROV-N reads as by the parser of the ``prov`` library."""

from __future__ import annotations

import io
from importlib.resources import files as resources
from pathlib import Path

import pytest
from prov import Error
from prov.identifier import QualifiedName
from prov.model import ProvDocument

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, prov_json

CASES = sorted((Path(str(resources("prov"))) / "tests" / "provn").rglob("*.provn"))
HEAD = "document\nprefix ex <http://example.org/>\n"


def load(text):
    return list(FORMATS["prov-n"].load(io.BytesIO(text.encode())))


def load_flat(statements):
    (document,) = load(f"{HEAD}{statements}\nendDocument")
    return document


def expanded(value):
    return value.uri if isinstance(value, QualifiedName) else str(value)


def records(document):
    """Return the records of a ``prov`` document; prefixes and the ids of blank ones may differ."""
    return {
        (
            type(record).__name__,
            None if str(record.identifier).startswith("_:") else expanded(record.identifier),
            frozenset((expanded(key), expanded(value)) for key, value in record.attributes),
        )
        for record in document.get_records()
    }


def loaded_by_prov(text):
    """Return all records of a document; None if prov rejects it, or ids contradict each other."""
    try:
        document = ProvDocument.deserialize(content=text, format="provn")
        parts = [part.unified() for part in (document, *document.bundles)]
    except Error:
        return None
    return set().union(*map(records, parts))


@pytest.mark.filterwarnings("ignore::prov._warnings.ProvWarning")
def test_documents_of_the_corpus_are_equal_to_those_of_prov():
    compared = 0
    for path in CASES:
        text = path.read_text("utf-8")
        expected = loaded_by_prov(text)
        if expected is None or path.stem.startswith("scruffy"):
            continue
        ours = set().union(*(records(prov_json.to_prov(document)) for document in load(text)))
        assert ours == expected, path.name
        compared += 1
    assert compared > 400


def test_values_keep_their_text():
    document = load_flat(
        'entity(ex:e, [ex:a="0.50" %% xsd:double, ex:a=007, ex:a="x"@en-GB, ex:b=\'ex:q\','
        ' ex:c="""two "lines"\n""", ex:d="tab\\t quote\\" \\u2603"])'
    )
    assert document.records["entity"]["ex:e"] == {
        "ex:a": [
            {"$": "0.50", "type": "xsd:double"},
            {"$": "7", "type": "xsd:int"},
            {"$": "x", "lang": "en-GB"},
        ],
        "ex:b": {"$": "ex:q", "type": "prov:QUALIFIED_NAME"},
        "ex:c": 'two "lines"\n',
        "ex:d": 'tab\t quote" ☃',
    }


def test_statements_without_ids_get_keys():
    document = load_flat(
        "used(ex:a, ex:e, 2026-01-01T00:00:00Z)\nused(ex:a, ex:f, -)\nhadMember(ex:c, ex:e)"
        "\nhadMember(ex:c, ex:e)"
    )
    assert list(document.records["used"]) == ["_:id1", "_:id2"]
    assert document.records["used"]["_:id1"]["prov:time"] == "2026-01-01T00:00:00Z"
    assert list(document.records["hadMember"]) == ["_:hadMember/ex$c!ex$e"]


def test_bundles_inherit_prefixes_and_come_first():
    bundle, outer = load(
        f"{HEAD}entity(ex:e)\nbundle ex:b prefix in <urn:in:>\nagent(in:x) endBundle endDocument"
    )
    assert bundle.name.iri == "http://example.org/b"
    assert bundle.prefixes == {"ex": "http://example.org/", "in": "urn:in:"}
    assert list(outer.records) == ["entity"]


def test_id_of_a_bundle_may_have_a_prefix_that_only_the_bundle_declares():
    (bundle,) = load("document bundle in:b prefix in <urn:in:> agent(in:x) endBundle endDocument")
    assert bundle.name.iri == "urn:in:b"


@pytest.mark.parametrize(
    "statement",
    [
        "entity(ex:e",
        'entity(ex:e, [ex:a="\\q"])',
        'entity(ex:e, [ex:a="\\ud800"])',
        f"entity(ex:e, [ex:a={'1' * 5000}])",
        "used(ex:a, ex:e, soon)",
    ],
)
def test_syntax_errors_have_a_line(statement):
    with pytest.raises(DocumentError, match=r"not a valid PROV-N document: .*line 3"):
        load_flat(statement)
