"""The registry of formats, and files opened by extension or content."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import weakref

import pytest

from yprov_mlflow.prov.errors import DocumentError, UsageError
from yprov_mlflow.prov.formats import FORMATS, open_documents, prov_json
from yprov_mlflow.prov.formats.bundles import Bundle
from yprov_mlflow.prov.formats.file_formats import HEAD, detect_format
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.validate.documents import check_bytes

EXACT = ["prov-json", "prov-jsonld", "prov-xml", "turtle", "trig", "n-quads", "json-ld"]
MANY = [name for name, form in FORMATS.items() if form.many]


def written(name, documents, **options):
    stream = io.BytesIO()
    FORMATS[name].dump(documents, stream, **options)
    return stream.getvalue()


def test_eight_formats_all_but_turtle_hold_many_documents():
    assert list(FORMATS) == [
        "prov-json",
        "prov-jsonld",
        "prov-n",
        "prov-xml",
        "turtle",
        "trig",
        "n-quads",
        "json-ld",
    ]
    assert [name for name, form in FORMATS.items() if not form.many] == ["turtle"]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("flat", [True, False])
def test_reference_reads_back_equal(name, flat, example, tmp_path):
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    path.write_bytes(written(name, [example], single=flat or not FORMATS[name].many))
    (document,) = open_documents(path)
    assert document == example
    assert prov_json.dumps(document) == prov_json.dumps(example)


def test_reference_in_prov_n_reads_back_equal_in_the_model_of_prov(example):
    (document,) = FORMATS["prov-n"].load(io.BytesIO(written("prov-n", [example], single=True)))
    assert prov_json.to_prov(document) == prov_json.to_prov(example)


@pytest.mark.parametrize("name", MANY)
def test_several_documents_in_a_file_read_back_equal(name, documents):
    content = written(name, documents, single=False)
    loaded = list(FORMATS[name].load(io.BytesIO(content)))
    assert list(map(prov_json.to_prov, loaded)) == list(map(prov_json.to_prov, documents))
    assert [d.prefixes for d in loaded] == [d.prefixes for d in documents]
    assert not any(isinstance(d, Bundle) for d in loaded)
    if name != "prov-n":  # prov normalizes the texts of times
        assert written(name, loaded, single=False) == content


@pytest.mark.parametrize("name", MANY)
def test_documents_of_the_same_run_are_kept_apart(name, documents):
    twice = [documents[0], documents[0]]
    loaded = list(FORMATS[name].load(io.BytesIO(written(name, twice, single=False))))
    assert list(map(len, loaded)) == list(map(len, twice))


@pytest.mark.parametrize("name", MANY)
def test_dump_keeps_one_document_in_memory(name, documents):
    references = []

    def copies():
        for document in documents:
            assert sum(reference() is not None for reference in references) <= 1
            copy = prov_json.loads(prov_json.dumps(document))
            references.append(weakref.ref(copy))
            yield copy
            del copy

    written(name, copies(), single=False)
    assert len(references) == 3


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [0, 2])
def test_flat_file_requires_exactly_one_document(name, count, documents):
    with pytest.raises(UsageError, match="holds one document"):
        written(name, documents[:count], single=True)


@pytest.mark.parametrize("name", MANY)
def test_file_without_documents_is_readable(name):
    loaded = list(FORMATS[name].load(io.BytesIO(written(name, [], single=False))))
    assert sum(map(len, loaded)) == 0


@pytest.mark.parametrize("name", MANY)
def test_run_with_two_namespaces_is_two_documents(name):
    run = "00000000-0000-4000-8000-000000000001"
    namespaces = [f"urn:uuid:{run}#", f"https://example.org/run/{run}#"]
    documents = [Document({"run": uri}, {"entity": {"run:e": {}}}) for uri in namespaces]
    content = written(name, documents)
    loaded = FORMATS[name].load(io.BytesIO(content))
    assert [document.prefixes["run"] for document in loaded] == namespaces
    report = check_bytes(name, content)
    assert (report.bundles, report.findings) == (2, [])


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_detected_without_extension(name, documents, tmp_path):
    path = tmp_path / "download"
    path.write_bytes(written(name, documents[:1], single=True))
    (document,) = open_documents(path)
    assert prov_json.to_prov(document) == prov_json.to_prov(documents[0])


@pytest.mark.parametrize("name", FORMATS)
def test_error_names_the_unreadable_file(name, tmp_path):
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    path.write_bytes(b'{"entity": {"\xff no')
    with pytest.raises(DocumentError) as caught:
        list(open_documents(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_file_is_an_error(name, documents, tmp_path):
    path = tmp_path / f"prov{FORMATS[name].suffix}"
    many = FORMATS[name].many
    content = written(name, documents if many else documents[:1], single=not many)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DocumentError):
        list(open_documents(path))


def test_file_truncated_between_bundles_is_an_error(documents):
    lines = written("prov-json", documents).splitlines(keepends=True)
    with pytest.raises(DocumentError, match="ends inside its bundles"):
        list(FORMATS["prov-json"].load(io.BytesIO(b"".join(lines[:2]))))


def test_unknown_format_error_lists_the_formats(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DocumentError, match="n-quads"):
        list(open_documents(path))


def test_compressed_file_is_an_error(tmp_path):
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
def test_detect_format_by_the_start_of_a_file(start, name):
    if name is None:
        with pytest.raises(DocumentError, match="Give the file the extension"):
            detect_format("", start)
    else:
        assert detect_format("", start[:HEAD]).name == name


def test_bytes_do_not_depend_on_hash_seed(documents):
    program = (
        "import hashlib, sys; from yprov_mlflow.prov.formats import FORMATS, prov_json; import io\n"
        "document = prov_json.loads(sys.stdin.buffer.read())\n"
        "for name in FORMATS:\n"
        "    stream = io.BytesIO(); FORMATS[name].dump([document], stream)\n"
        "    print(name, hashlib.sha256(stream.getvalue()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=prov_json.dumps(documents[0]),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
