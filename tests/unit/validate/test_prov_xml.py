"""PROV-XML of other programs, and hostile files."""

from __future__ import annotations

import pytest

from yprov_mlflow.prov.validate import Finding, documents

HEAD = (
    '<prov:document xmlns:prov="http://www.w3.org/ns/prov#" xmlns:ex="http://example.org/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
)
USED = '<prov:used><prov:activity prov:ref="ex:a"/><prov:entity prov:ref="{}"/></prov:used>'


def judge(content: str, declaration: str = "") -> list[Finding]:
    text = f"{declaration}{HEAD}{content}</prov:document>"
    return documents.check_bytes("test", text.encode()).findings


def test_subtypes_are_statements() -> None:
    assert judge('<prov:plan prov:id="ex:p"/><prov:person prov:id="ex:p"/>') == []
    (finding,) = judge('<prov:softwareAgent prov:id="ex:p"/>' + USED.format("ex:a"))
    assert finding.rule.startswith("Constraint 55")
    member = (
        '<prov:hadMember><prov:collection prov:ref="ex:c"/><prov:entity prov:ref="ex:e"/>'
        "</prov:hadMember>"
    )
    (finding,) = judge(f'<prov:emptyCollection prov:id="ex:c"/>{member}')
    assert finding.rule.startswith("Constraint 56")
    revision = (
        '<prov:wasRevisionOf><prov:generatedEntity prov:ref="ex:e"/>'
        '<prov:usedEntity prov:ref="ex:e"/></prov:wasRevisionOf>'
    )
    (finding,) = judge(revision)
    assert finding.rule.startswith("Constraint 42")


@pytest.mark.parametrize("element", ["bundleContent", "bundle"])
def test_bundles_of_both_kinds(element: str) -> None:
    inside = '<prov:entity prov:id="ex:e"/><prov:activity prov:id="ex:e"/>'
    content = f'<prov:{element} prov:id="ex:b">{inside}</prov:{element}><prov:entity prov:id="x"/>'
    found = judge(content)
    assert [(f.rule[:13], f.bundle) for f in found] == [
        ("Constraint 55", "ex:b"),
        ("Namespaces", None),
    ]


def test_an_entity_may_be_a_bundle() -> None:
    label = "<prov:label>so</prov:label>"
    assert judge(f'<prov:bundle prov:id="ex:b">{label}</prov:bundle>') == []
    assert judge('<prov:bundle prov:id="ex:b"/><prov:activity prov:id="ex:b"/>')


def test_prefixes_are_local_to_their_element() -> None:
    entity = '<prov:entity prov:id="{}" xmlns:e2="http://example.org/" xmlns:ex="urn:other:"/>'
    activity = '<prov:activity prov:id="ex:a"/>'
    assert judge(entity.format("ex:a") + activity) == []
    (finding,) = judge(entity.format("e2:a") + activity)
    assert finding.rule.startswith("Constraint 55")


def test_a_membership_may_have_several_members() -> None:
    content = (
        '<prov:hadMember><prov:collection prov:ref="ex:c"/><prov:entity prov:ref="ex:e"/>'
        '<prov:entity prov:ref="ex:f"/></prov:hadMember>'
    )
    assert judge(content) == []
    (finding,) = judge(content + '<prov:activity prov:id="ex:f"/>')
    assert finding.rule.startswith("Constraint 55")


def test_elements_outside_prov() -> None:
    others = "<ex:more><prov:entity/></ex:more><prov:other><ex:x/></prov:other>"
    assert judge(others + '<prov:entity prov:id="ex:e"/>') == []
    (finding,) = judge("<prov:nonsense/>")
    assert (finding.severity, finding.rule) == ("error", "Syntax")


def test_repeated_argument_in_a_statement() -> None:
    (finding,) = judge(
        '<prov:used><prov:activity prov:ref="ex:a"/><prov:activity prov:ref="ex:b"/>'
        '<prov:entity prov:ref="ex:e"/></prov:used>'
    )
    assert "prov:activity has two values, ex:a and ex:b" in finding.message


@pytest.mark.parametrize(
    ("content", "declaration", "reason"),
    [
        ("<prov:entity>", "", "mismatched tag"),
        (
            "<prov:entity prov:id='&b;'/>",
            '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>',
            "declaration of the entity 'a'",
        ),
        (
            "<prov:label>&x;</prov:label>",
            '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
            "declaration of the entity 'x'",
        ),
        (
            "",
            '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY % p SYSTEM "http://example.org/p"> %p;]>',
            "declaration of the entity 'p'",
        ),
        ("<ex:a>" * 100_000 + "</ex:a>" * 100_000, "", "nested more than 32 deep"),
        ("", '<?xml version="1.0" encoding="none-such"?>', "not well-formed XML"),
    ],
)
def test_hostile_files_are_errors(content: str, declaration: str, reason: str) -> None:
    (finding,) = [f for f in judge(content, declaration) if f.severity == "error"]
    assert finding.rule == "Syntax"
    assert reason in finding.message


def test_other_root_elements() -> None:
    report = documents.check_bytes("test", b'<?xml version="1.0"?><html/>')
    assert [f.message for f in report.findings] == [
        "not a valid prov-xml document: the root element is 'html', not prov:document (line 1)"
    ]
