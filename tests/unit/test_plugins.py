"""Plugins of other packages that are broken, or whose name is taken."""

from __future__ import annotations

import io
import logging

import pytest

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.capture import sinks
from yprov_mlflow.prov.errors import DocumentError, PluginError, StoreError
from yprov_mlflow.prov.formats import FORMATS, open_documents, plugin_formats, prov_json
from yprov_mlflow.prov.formats.file_formats import BUILT_IN
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.plugin_testing import (
    check_format,
    check_sink,
    check_source,
    example_document,
)
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.validate.documents import check

GOOD_FORMAT = """
from yprov_mlflow.prov.formats import prov_json
suffixes = [".toy"]
def write(document, file):
    file.write(b"toy" + prov_json.dumps(document))
def read(file):
    assert file.read(3) == b"toy", "it does not start with toy"
    return prov_json.loads(file.read())
"""


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Install a package with one module, which is a plugin."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    plugin_formats.codec.cache_clear()
    plugins.warn_once.cache_clear()

    def write(group, name, code, package="toy_package"):
        (site / f"{package}.py").write_text(code)
        folder = site / f"{package}-1.0.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        (folder / "METADATA").write_text(metadata)
        (folder / "entry_points.txt").write_text(f"[{group}]\n{name} = {package}\n")

    yield write
    plugin_formats.codec.cache_clear()


def test_format_is_written_and_read_and_validated(register, tmp_path):
    register(plugins.FORMATS, "toy", GOOD_FORMAT, "toy_good")
    assert list(FORMATS) == [*BUILT_IN, "toy"]
    path = tmp_path / "prov.toy"
    with path.open("wb") as stream:
        FORMATS["toy"].dump([example_document()], stream, single=True)
    assert list(open_documents(path)) == [example_document()]
    assert check(path).errors == 0
    path.write_bytes(b"other")
    with pytest.raises(DocumentError, match="it does not start with toy"):
        list(open_documents(path))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("def write(document, file): pass", "it lacks the function read"),
        (GOOD_FORMAT.replace(".toy", "toy"), "not a list of extensions such as .toy"),
    ],
    ids=["import", "function", "suffix"],
)
def test_broken_format_names_its_package_and_stops_no_other(
    code, message, register, tmp_path, caplog
):
    package = f"toy_{abs(hash(code))}"
    register(plugins.FORMATS, "toy", code, package)
    with pytest.raises(PluginError, match=message) as caught:
        FORMATS["toy"]
    assert f"of the package {package}" in str(caught.value)
    path = tmp_path / "prov.unknown"
    path.write_bytes(prov_json.dumps(example_document()))
    with caplog.at_level(logging.WARNING):
        assert list(open_documents(path)) == [example_document()]
        assert list(open_documents(path)) == [example_document()]
    assert caplog.text.count(f"of the package {package}") == 1


def test_name_that_is_taken_has_no_effect(register, caplog):
    register(plugins.FORMATS, "turtle", GOOD_FORMAT, "toy_taken")
    assert list(FORMATS) == [*BUILT_IN]
    assert "'turtle' of the package toy_taken has no effect" in caplog.text
    assert FORMATS["turtle"] is BUILT_IN["turtle"]


def test_first_of_two_packages_with_the_same_name_wins(register):
    for package in ("toy_b", "toy_a"):
        register(plugins.SINKS, "toy", f"package = '{package}'\ndef send(delivery): ...", package)
    ((name, sentence),) = plugins.conflicts(plugins.SINKS)
    assert name == "toy"
    assert "of the package toy_b has no effect, as toy_a has one" in sentence
    assert plugins.load(plugins.SINKS, "toy", sinks.CHECK).package == "toy_a"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def recognizes(location): 1 / 0\ndef open(location): ...", None),
        ("import no_such_module", None),
        ("def recognizes(location): return True\ndef open(location): 1 / 0", "cannot open it: div"),
        ("def recognizes(location): return True\ndef open(location): ...", "returned NoneType"),
    ],
    ids=["recognizes", "import", "open", "type"],
)
def test_broken_source_is_an_error_only_for_its_own_stores(code, message, register, tmp_path):
    register(plugins.SOURCES, "toy", code, f"toy_{abs(hash(code))}")
    document = tmp_path / "prov.json"
    document.write_bytes(prov_json.dumps(example_document()))
    assert open_source(str(document)).of_documents
    other = tmp_path / "other.txt"
    other.write_text("x")
    with pytest.raises(StoreError, match=message or "neither a SQLite database nor a document"):
        open_source(str(other))


# -- the test kit ------------------------------------------------------------------------


class Toy:
    """A format that loses ids of relations."""

    suffixes = (".toy",)

    def write(self, document, file):
        file.write(prov_json.dumps(document))

    def read(self, file):
        document = prov_json.loads(file.read())
        return Document(document.prefixes, {**document.records, "used": {}})


def test_kit_reports_a_format_that_loses_records():
    with pytest.raises(AssertionError, match="does not read back equal: used run:"):
        check_format(Toy())


def test_kit_reports_a_format_that_is_not_deterministic():
    toy, numbers = Toy(), iter(range(9))
    toy.write = lambda document, file: file.write(b"%d" % next(numbers))
    toy.read = lambda file: example_document()
    with pytest.raises(AssertionError, match="equal documents give different bytes"):
        check_format(toy)


def test_kit_reports_a_sink_that_fails_and_changes_files():
    def send(delivery):
        delivery.document.write_bytes(b"")
        raise ValueError("no")

    toy = Toy()
    toy.send = send
    with pytest.raises(AssertionError, match=r"(?s)raised ValueError.*changes the files"):
        check_sink(toy)


def test_kit_reports_a_source_that_recognizes_everything(tmp_path):
    document = tmp_path / "prov.json"
    document.write_bytes(prov_json.dumps(example_document()))
    toy = Toy()
    toy.recognizes = lambda location: True
    toy.open = open_source
    with pytest.raises(AssertionError, match="recognizes a location that does not exist"):
        check_source(toy, str(document))


def test_stream_stays_open_after_a_format_has_failed(register):
    register(plugins.FORMATS, "toy", GOOD_FORMAT, "toy_stream")
    stream = io.BytesIO(b"other")
    with pytest.raises(DocumentError):
        list(FORMATS["toy"].load(stream))
    assert not stream.closed
