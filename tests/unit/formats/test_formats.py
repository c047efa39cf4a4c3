"""The registry: what each format can, and files opened by name or content."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys

import pytest

from yprov_mlflow.prov.errors import DocumentError, UsageError
from yprov_mlflow.prov.formats import FORMATS, open_documents, prov_json
from yprov_mlflow.prov.formats.bundles import Bundle
from yprov_mlflow.prov.formats.catalog import HEAD, recognise
from yprov_mlflow.prov.translate import Document
from yprov_mlflow.prov.validate.file_reports import check_bytes

EXACT = ["prov-json", "turtle", "trig", "n-quads", "json-ld"]
MANY = [name for name, one in FORMATS.items() if one.many]


def written(name, documents, **options):
    stream = io.BytesIO()
    FORMATS[name].dump(documents, stream, **options)
    return stream.getvalue()


def test_there_are_seven():
    assert list(FORMATS) == [
        "prov-json",
        "prov-n",
        "prov-xml",
        "turtle",
        "trig",
        "n-quads",
        "json-ld",
    ]
    assert [name for name, one in FORMATS.items() if not one.many] == ["turtle"]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("flat", [True, False])
def test_the_reference_reads_back_equal(name, flat, example, tmp_path):
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    path.write_bytes(written(name, [example], single=flat or not FORMATS[name].many))
    (found,) = open_documents(path)
    assert found == example
    assert prov_json.dumps(found) == prov_json.dumps(example)


@pytest.mark.parametrize("name", ["prov-n", "prov-xml"])
def test_the_reference_reads_back_as_prov_has_it(name, example):
    (found,) = FORMATS[name].load(io.BytesIO(written(name, [example], single=True)))
    assert prov_json.to_prov(found) == prov_json.to_prov(example)


@pytest.mark.parametrize("name", MANY)
def test_several_documents_share_a_file(name, documents):
    content = written(name, documents, single=False)
    found = list(FORMATS[name].load(io.BytesIO(content)))
    assert [prov_json.to_prov(one) for one in found] == [
        prov_json.to_prov(one) for one in documents
    ]
    assert [one.prefixes for one in found] == [one.prefixes for one in documents]
    assert not any(isinstance(one, Bundle) for one in found)
    assert written(name, found, single=False) == written(name, documents, single=False) or (
        name in ("prov-n", "prov-xml")  # prov changes the texts of times
    )


@pytest.mark.parametrize("name", MANY)
def test_the_same_run_of_two_experiments_is_there_twice(name, documents):
    twice = [documents[0], documents[0]]
    found = list(FORMATS[name].load(io.BytesIO(written(name, twice, single=False))))
    assert [len(one) for one in found] == [len(one) for one in twice]


@pytest.mark.parametrize("name", MANY)
def test_one_document_is_in_memory_at_a_time(name, documents):
    alive = []

    def passing():
        for document in documents:
            assert sum(one() is not None for one in alive) <= 1
            copy = prov_json.loads(prov_json.dumps(document))
            alive.append(weak(copy))
            yield copy
            del copy

    from weakref import ref as weak

    written(name, passing(), single=False)
    assert len(alive) == 3


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [0, 2])
def test_a_flat_file_holds_one_document(name, count, documents):
    with pytest.raises(UsageError, match="holds one document"):
        written(name, documents[:count], single=True)


@pytest.mark.parametrize("name", MANY)
def test_a_file_may_hold_no_documents(name):
    found = list(FORMATS[name].load(io.BytesIO(written(name, [], single=False))))
    assert sum(map(len, found)) == 0


@pytest.mark.parametrize("name", MANY)
def test_one_run_under_two_addresses_is_two_documents(name):
    run = "00000000-0000-4000-8000-000000000001"
    namespaces = [f"urn:uuid:{run}#", f"https://example.org/run/{run}#"]
    several = [Document({"run": uri}, {"entity": {"run:e": {}}}) for uri in namespaces]
    content = written(name, several)
    found = FORMATS[name].load(io.BytesIO(content))
    assert [document.prefixes["run"] for document in found] == namespaces
    report = check_bytes(name, content)
    assert (report.bundles, report.findings) == (2, [])


@pytest.mark.parametrize("name", FORMATS)
def test_files_are_known_by_their_content_too(name, documents, tmp_path):
    path = tmp_path / "download"
    path.write_bytes(written(name, documents[:1], single=True))
    (found,) = open_documents(path)
    assert prov_json.to_prov(found) == prov_json.to_prov(documents[0])


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_document_is_said_to_be_none(name, tmp_path):
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    path.write_bytes(b'{"entity": {"\xff no')
    with pytest.raises(DocumentError) as caught:
        list(open_documents(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_half_a_file_is_an_error(name, documents, tmp_path):
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    several = FORMATS[name].many
    content = written(name, documents if several else documents[:1], single=not several)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DocumentError):
        list(open_documents(path))


def test_a_file_that_ends_between_two_bundles_is_said_to_end_there(documents):
    lines = written("prov-json", documents).splitlines(keepends=True)
    with pytest.raises(DocumentError, match="ends within its bundles"):
        list(FORMATS["prov-json"].load(io.BytesIO(b"".join(lines[:2]))))


def test_a_file_of_no_format_is_told_which_there_are(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DocumentError, match="n-quads"):
        list(open_documents(path))


def test_a_compressed_file_is_said_to_be_one(tmp_path):
    path = tmp_path / "prov.json"
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(DocumentError, match=r"is compressed .*prov.json.* Unpack it"):
        list(open_documents(path))


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"// by hand\n/* * */ document", "prov-n"),
        (b"documentation", None),
        (b"<!-- by hand --><prov:document>", "prov-xml"),
        (b"<document xmlns='http://www.w3.org/ns/prov#'>", "prov-xml"),
        (b'<urn:s> <urn:p> "{http://www.w3.org/ns/prov#" <urn:g> .\n', "n-quads"),
        (b"# by hand\n_:s<urn:p>_:o.\n", "n-quads"),
        (b'<urn:s> <urn:p> "' + b"x" * HEAD, "n-quads"),
        (b"<urn:s> <urn:p> <urn:o> ;\n <urn:q> <urn:r> .\n", "trig"),
        (b"<urn:g> { <urn:s> a <urn:o> }", "trig"),
        (b"# by hand\nPREFIX ex: <urn:e:>", "trig"),
        (b"@base <urn:e:> .", "trig"),
        (b"# by hand", "trig"),
        (b'\xef\xbb\xbf [{"@id": "urn:s"}]', "json-ld"),
        (b'{"@graph": []}', "json-ld"),
        (b"{}", "prov-json"),
        (b"hello", None),
        (b"<" + b"a:" * HEAD, "trig"),
    ],
)
def test_what_files_begin_with(start, name):
    if name is None:
        with pytest.raises(DocumentError, match="Name it for its format"):
            recognise("", start)
    else:
        assert recognise("", start[:HEAD]).name == name


def test_bytes_do_not_depend_on_the_order_of_hashes(documents):
    program = (
        "import hashlib, sys; from yprov_mlflow.prov.formats import FORMATS, prov_json; import io\n"
        "document = prov_json.loads(sys.stdin.buffer.read())\n"
        "for name in FORMATS:\n"
        "    stream = io.BytesIO(); FORMATS[name].dump([document], stream)\n"
        "    print(name, hashlib.sha256(stream.getvalue()).hexdigest())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=prov_json.dumps(documents[0]),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
