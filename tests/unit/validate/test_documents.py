"""Files in any format and condition: every problem becomes a finding, never an exception."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.validate import documents

DOCUMENT = {
    "prefix": {"ex": "http://example.org/"},
    "entity": {"ex:e": {"prov:label": "it"}},
    "activity": {"ex:a": {"prov:endTime": "2026-01-01T00:00:00Z"}},
    "wasGeneratedBy": {
        "ex:g": {
            "prov:entity": "ex:e",
            "prov:activity": "ex:a",
            "prov:time": "2026-01-02T00:00:00Z",
        }
    },
}
PROVN = b"document\nprefix ex <http://example.org/>\nentity(ex:e)\nendDocument"


def encoded(document: Any = DOCUMENT) -> bytes:
    return json.dumps(document).encode()


def messages(content: bytes) -> list[str]:
    return [f.message for f in documents.check_bytes("test", content).findings]


@pytest.mark.parametrize("name", FORMATS)
def test_findings_are_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    records = {section: found for section, found in DOCUMENT.items() if section != "prefix"}
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    with path.open("wb") as stream:
        FORMATS[name].dump([Document(DOCUMENT["prefix"], records)], stream, single=True)
    for report in (documents.check(path), documents.check_bytes("test", path.read_bytes())):
        rules = [f.rule for f in report.findings]
        assert rules == ["Times against Constraint 34: generation-within-activity"]
        assert (report.records, report.valid) == (3, False)
    assert documents.check(path).format == name


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "the file is empty"),
        (b"{", "not a valid prov-json document: expected a key and a colon"),
        (b"[1", "not a valid JSON-LD document"),
        (b'{"entity": {"ex:e": {"a": NaN}}}', "not a valid prov-json"),
        (b'{"entity": {"ex:e": {"a": "\\ud800"}}}', "not a valid prov-json"),
        (b'{"entity": {"ex:e": {"a": "\xff"}}}', "not a valid prov-json"),
        (b'{"a":' * 100_000, "not a valid prov-json"),
        (b"document\n\xff", "not a valid prov-n document: 'utf-8' codec"),
        (b"document entity(" + b"[" * 100_000, "not a valid prov-n"),
        (b"<?xml version='1.0'?>", "not a valid prov-xml document: "),
        (b"@prefix ex: <http://example.org/> . ex:a ex:b", "not a valid TriG"),
        (
            b"\x00\x01\x02",
            "neither the name nor the first bytes of the file identify its format. ",
        ),
        (gzip.compress(b"document", mtime=0), "this file is compressed. Unpack it first"),
    ],
)
def test_unreadable_content_is_an_error(content: bytes, part: str) -> None:
    assert any(message.startswith(part) for message in messages(content)), messages(content)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"document endDocument", b"# nothing"])
def test_empty_documents_are_a_warning(content: bytes) -> None:
    (finding,) = documents.check_bytes("test", content).findings
    assert finding.severity == "warning"
    assert finding.message == "the document contains no PROV statements"


def test_huge_numbers() -> None:
    text = f'{{"prefix":{{"ex":"urn:e:"}},"entity":{{"ex:e":{{"ex:k":{"9" * 400},"ex:l":1e400}}}}}}'
    assert all(message.startswith("not a valid prov-json") for message in messages(text.encode()))


def test_text_that_is_too_long_for_the_parser_of_rdf() -> None:
    label = f'<urn:e> <http://www.w3.org/2000/01/rdf-schema#label> "{"x" * (17 << 20)}" .\n'
    (message,) = messages(label.encode())
    assert message.startswith("a text is too long for the parser of N-Quads")


@pytest.mark.parametrize("name", ["ex:" + "x" * 100_000, "ex:\x1b[31m", "ex:\u202e", "ex:", ":"])
def test_unusual_ids(name: str) -> None:
    document = {**DOCUMENT, "entity": {name: {}}, "used": {"ex:u": {"prov:activity": name}}}
    rules = {f.rule for f in documents.check_bytes("test", encoded(document)).findings}
    assert any(rule.startswith("Constraint 55") for rule in rules)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([encoded(), PROVN, b"<a/>", b"@prefix ex: <urn:e:> . ex:a a ex:b ."]),
    st.integers(0, 400),
    st.binary(max_size=4),
)
def test_damaged_content_never_raises(content: bytes, place: int, put: bytes) -> None:
    damaged = content[:place] + put + content[place + len(put) :]
    documents.check_bytes("test", damaged)


def test_repeated_ids_are_reported() -> None:
    content = b'{"prefix": {"ex": "urn:e:"}, "entity": {"ex:e": {}, "ex:e": {}}}'
    (message,) = messages(content)
    assert message.startswith("1 of the ids in 'entity' occur more than once")


def test_bundles_are_counted_and_named() -> None:
    inside = {key: value for key, value in DOCUMENT.items() if key != "prefix"}
    document = {"prefix": DOCUMENT["prefix"], "bundle": {"ex:b": inside, "ex:c": {}}}
    report = documents.check_bytes("test", encoded(document))
    assert (report.records, report.bundles, report.errors) == (3, 2, 1)
    assert [f.bundle for f in report.findings] == ["ex:b"]


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.many])
def test_findings_name_the_graph_of_the_run(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    twice = {"entity": {"run:e": {}}, "activity": {"run:e": {}}}
    runs = [
        Document({"run": f"urn:uuid:00000000-0000-4000-8000-00000000000{n}#"}, twice) for n in "12"
    ]
    with path.open("wb") as stream:
        FORMATS[name].dump(runs, stream)
    report = documents.check(path)
    assert {finding.rule[:13] for finding in report.findings} == {"Constraint 55"}
    found = sorted(str(finding.bundle).replace("-", "") for finding in report.findings)
    for number, bundle in zip("12", found, strict=True):
        assert f"0000000000004000800000000000000{number}" in bundle
        assert bundle.endswith("record")
    assert (report.records, report.bundles) == (4, 2)


def test_a_hundred_thousand_records_in_ten_seconds() -> None:
    made = {
        f"ex:g{n}": {
            "prov:entity": f"ex:e{n}",
            "prov:activity": f"ex:a{n % 50}",
            "prov:time": f"2026-01-01T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z",
        }
        for n in range(33_000)
    }
    derived = {
        f"ex:d{n}": {"prov:generatedEntity": f"ex:e{n + 1}", "prov:usedEntity": f"ex:e{n}"}
        for n in range(34_000)
    }
    document = {
        "prefix": DOCUMENT["prefix"],
        "entity": {f"ex:e{n}": {"ex:step": n} for n in range(33_000)},
        "wasGeneratedBy": made,
        "wasDerivedFrom": derived,
    }
    content = encoded(document)
    start = time.process_time()
    report = documents.check_bytes("test", content)
    assert report.records == 100_000
    assert time.process_time() - start < 10


def test_find_returns_the_documents_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".parts").mkdir()
    for name, content in {
        "deep/er/prov.json": b"{}",
        "deep/run.json": encoded(),
        "deep/config.json": b'{"learning_rate": 0.1}',
        "deep/pom.xml": b"<project/>",
        "a.provn": PROVN,
        ".parts/prov.json": b"{}",
        "deep/.b.provn": PROVN,
        "metrics.parquet": b"PAR1",
        "broken.json": encoded()[:-20],
    }.items():
        (tmp_path / name).write_bytes(content)
    found = [path.relative_to(tmp_path).as_posix() for path in documents.find([tmp_path])]
    assert found == ["a.provn", "broken.json", "deep/er/prov.json", "deep/run.json"]
    config = tmp_path / "deep" / "config.json"
    assert list(documents.find([config])) == [config]
    assert not documents.check(config).valid


def test_missing_file(tmp_path: Path) -> None:
    report = documents.check(tmp_path / "none.json")
    assert not report.valid
    assert "cannot be read: No such file" in report.findings[0].message


def test_findings_about_long_ids_are_shortened() -> None:
    name = "ex:" + "x" * 100_000
    document = {"prefix": DOCUMENT["prefix"], "entity": {name: {}}, "activity": {name: {}}}
    (finding,) = documents.check_bytes("test", encoded(document)).findings
    assert len(finding.record) == 4000
    assert len(finding.message) == 4001
    assert finding.message.endswith("…")


@pytest.mark.parametrize(
    ("time", "odd"), [("2026-03-01T23:00:00Z", 0), ("2026-03-02T01:00:00Z", 1)]
)
def test_clocks_may_be_a_day_ahead(time: str, odd: int) -> None:
    document = {"prefix": DOCUMENT["prefix"], "activity": {"ex:a": {"prov:startTime": time}}}
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert documents.check_bytes("test", encoded(document), now).warnings == odd


def test_all_findings_are_counted() -> None:
    several = [{"prov:activity": f"ex:a{n}"} for n in range(10_101)]
    document = {"prefix": DOCUMENT["prefix"], "used": {"ex:u": several}}
    report = documents.check_bytes("test", encoded(document))
    assert (report.errors, len(report.findings)) == (10_100, 10_000)
