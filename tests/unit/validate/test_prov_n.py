"""PROV-N is read as by the parser of ``prov``, or the reason is documented."""

from __future__ import annotations

import warnings
from importlib.resources import files as resources
from pathlib import Path

import pytest
from prov import Error
from prov.model import ProvDocument
from support.oracles.provn_validation import validate_statements

from yprov_mlflow.prov.formats.prov_n_parser import ProvNSyntaxError, parse
from yprov_mlflow.prov.validate import Finding, parsed_reader
from yprov_mlflow.prov.validate.documents import check_bytes

CORPUS = Path(str(resources("prov"))) / "tests" / "provn"
CASES = sorted(CORPUS.rglob("*.provn"))

HEAD = "document\nprefix ex <http://example.org/>\n"


def count_by_prov(text: str) -> int | None:
    """Count records as ``prov`` reads them; None if it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            document = ProvDocument.deserialize(content=text, format="provn")
        except Error:
            return None
    return sum(len(bundle.get_records()) for bundle in (document, *document.bundles))


def test_corpus_is_complete() -> None:
    assert len(CASES) > 500


def test_corpus() -> None:
    """Where ``prov`` reads nothing we may: less is needed to judge than to keep."""
    differing, read_by_us_only = [], []
    for path in CASES:
        text = path.read_text("utf-8")
        theirs = count_by_prov(text)
        found: list[Finding] = []
        try:
            instances = list(parsed_reader.instances(parse(text)))
        except ProvNSyntaxError:
            ours = None
        else:
            ours = sum(len(list(instance.statements)) for instance in instances)
            for instance in instances:
                found += [*instance.findings, *instance.names.findings()]
        if theirs is None and ours is not None:
            read_by_us_only.append(path.name)
            reasons = ("all of the optional arguments or none", "extension of PROV", " declared")
            assert any(reason in f.message for f in found for reason in reasons), path.name
        elif theirs != ours:
            differing.append(path.name)
    assert differing == []
    assert len(read_by_us_only) < 20


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a document starts with 'document'"),
        ("entity(ex:a)", "a document starts with 'document' (line 1, column 1)"),
        (f"{HEAD}entity(ex:a)", "expected a statement or an end (line 3, column 13)"),
        (f"{HEAD}entity(ex:a\nendDocument", "an id, '-' or a time, and then ',', ';' or ')'"),
        (f"{HEAD}entity()\nendDocument", "(line 3, column 8)"),
        (f"{HEAD}entity(ex:a, [ex:k=])\nendDocument", "an attribute, and then ',' or ']'"),
        (f'{HEAD}entity(ex:a, [ex:k="1])\nendDocument', "an attribute, and then ',' or ']'"),
        (f"{HEAD}entity(ex:a, ex:b)\nendDocument", "entity takes 0 arguments, not 1"),
        (f"{HEAD}entity(ex:i; ex:a)\nendDocument", "unexpected ';'"),
        (f"{HEAD}used(ex:i; ex:j; ex:a)\nendDocument", "unexpected ';'"),
        (f"{HEAD}used(ex:a, ex:b, yesterday)\nendDocument", "'yesterday' is not a time"),
        (f"{HEAD}used(ex:a., ex:b, -)\nendDocument", "'ex:a.' is not a name"),
        (f"{HEAD}used(ex:a:b, ex:b, -)\nendDocument", "'ex:a:b' is not a name"),
        (f"{HEAD}wasUsedBy(ex:a, ex:b)\nendDocument", "unknown statement 'wasUsedBy'"),
        (f"{HEAD}hadMember(ex:i; ex:a, ex:b)\nendDocument", "neither an id nor attributes"),
        (f"{HEAD}bundle ex:b bundle ex:c endBundle endBundle\nendDocument", "cannot contain"),
        (f"{HEAD}endDocument more", "content after 'endDocument' (line 3, column 13)"),
        (f"{HEAD}prefix ex <urn:e>\nendDocument", "'ex' is declared twice"),
        (f"{HEAD}ex:other(\nendDocument", "does not end"),
        (f"{HEAD}/* no end\nendDocument", "expected a statement"),
    ],
)
def test_error_names_line_and_column(text: str, reason: str) -> None:
    with pytest.raises(ProvNSyntaxError) as caught:
        list(parse(text))
    assert reason in str(caught.value)


def test_all_constructs() -> None:
    found = validate_statements(
        """
        // a comment, with "quotes" and (brackets
        entity(ex:a/b-c.d, [ex:k="a \\" b" %% xsd:string, /* here, too */ ex:l='ex:x',
               prov:label="so"@en-GB, ex:n=-5, ex:m=\"\"\"two "lines"
               (here)\"\"\", prov:type='ex:T'])
        entity(ex:odd\\=name%2F\\,x, [])
        used(-; ex:act, ex:a/b-c.d, 2026-01-01T00:00:00.5+01:00, [prov:role='ex:r'])
        wasAssociatedWith(ex:w; ex:act, -, ex:plan)
        prov:mentionOf(ex:m, ex:n, ex:b)
        bundle ex:b
          prefix ex <http://other.org/>
          entity(ex:act)
        endBundle
        entity(ex:last)
        """
    )
    assert found == []


def test_escaped_names_are_equal() -> None:
    (finding,) = validate_statements("entity(ex:a\\-b) activity(ex:a-b)")
    assert finding.rule.startswith("Constraint 55")


def test_content_beyond_the_grammar() -> None:
    (finding,) = validate_statements("used(ex:a, ex:b)")
    assert (finding.severity, finding.rule) == ("warning", "Syntax")
    (finding,) = validate_statements(
        'dict:hadMembers(ex:a, {("k", ex:b)}) entity(ex:a) prefix', None
    )[:1]
    assert finding.severity == "error"


def test_prefix_of_a_value_must_be_declared() -> None:
    text = "document prefix ex <urn:e:> entity(ex:e, [ex:a='other:x']) endDocument"
    (finding,) = check_bytes("test", text.encode()).findings
    assert finding.message == "'other:x' uses the prefix 'other', which is not declared"
