"""Test kit that checks formats, sinks and sources of other packages against their contracts.

Use it in a test; for collectors, there is ``yprov_mlflow.prov.collectors.testing``::

    from yprov_mlflow.prov.plugin_testing import check_format, check_sink, check_source

    import my_package

    def test_format():
        check_format(my_package.FORMAT)

    def test_source(tmp_path):
        source = check_source(my_package.SOURCE, str(make_a_store(tmp_path)))
        assert len(list(source.runs())) == 3

    def test_sink():
        check_sink(my_package.SINK)

Each raises an ``AssertionError`` that lists all violations.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import events
from yprov_mlflow.prov.capture import sinks
from yprov_mlflow.prov.capture.sinks import Delivery, SinkPlugin
from yprov_mlflow.prov.events import STORE_SESSION, Event
from yprov_mlflow.prov.formats import plugin_formats, prov_json
from yprov_mlflow.prov.formats.plugin_formats import FormatPlugin
from yprov_mlflow.prov.layout import PROV_JSON
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.sources import plugin_sources
from yprov_mlflow.prov.sources.plugin_sources import SourcePlugin
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.validate import validate

RUN_ID = "3f2c0a4e111142228333444455556666"
_STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
_START_MS = 1_767_322_800_000
_NASTY = "two\nlines, \"quoted\" \\ <&> ☃ \U0001f600 \x1b[31m 'x'"


def example_document() -> Document:
    """Return the document of a small run, with values that formats like to break."""
    keys = ("loss", "loss", "val/acc %")
    values, steps = (0.1, float("inf"), float("nan")), (0, -1, 2**40)
    rows: list[Any] = [
        (events.RunCreated, "1", "exp", _NASTY, "ada", _START_MS, "file:///a", {}, _STORE),
        (events.ParamsLogged, {"lr": "0.01", "opt/type: x": "", "note": _NASTY, "n": "007"}),
        (events.TagsSet, {"a b": "x" * 2000, "json": '{"a": [1]}'}),
        (events.MetricsLogged, [*keys], [*values], [_START_MS] * 3, [*steps]),
        (events.RunUpdated, "FINISHED", _START_MS + 5000),
    ]
    return translate(
        cls(RUN_ID, STORE_SESSION, number, 0, *fields) for number, (cls, *fields) in enumerate(rows)
    )


def check_format(plugin: FormatPlugin, documents: Sequence[Document] = ()) -> None:
    """Check a format: documents read back equal, and equal ones give equal bytes.

    Args:
        plugin: The object or module that the entry point names.
        documents: Further documents to write and read.

    Raises:
        AssertionError: The format violates the contract.
    """
    problems = _reasons(plugin_formats.check(plugin))
    for document in () if problems else (example_document(), *documents):
        problems += _round_trip_problems(plugin, document)
    _fail_if(problems, f"format {plugin!r}")


def _round_trip_problems(plugin: FormatPlugin, document: Document) -> Iterator[str]:
    before, contents = prov_json.dumps(document), []
    for _ in range(2):
        file = io.BytesIO()
        plugin.write(prov_json.loads(before), file)
        if file.closed:
            yield "write closes the file"
            return
        contents.append(file.getvalue())
    if contents[0] != contents[1]:
        yield "equal documents give different bytes"
    file = io.BytesIO(contents[0])
    read: object = plugin.read(file)
    if not isinstance(read, Document):
        yield f"read returns {type(read).__name__}, not a Document"
    elif prov_json.dumps(read) != before:
        yield f"a document does not read back equal: {_difference(document, read)}"


def _difference(expected: Document, actual: Document) -> str:
    if expected.prefixes != actual.prefixes:
        return f"the prefixes are {actual.prefixes!r}"
    for section in sorted({*expected.records, *actual.records}):
        records, others = expected.records.get(section, {}), actual.records.get(section, {})
        for key in sorted({*records, *others}):
            if records.get(key) != others.get(key):
                return f"{section} {key} is {others.get(key)!r}, not {records.get(key)!r}"
    return "the order of values differs"


def check_sink(plugin: SinkPlugin, delivery: Delivery | None = None) -> None:
    """Check a sink: it takes a document, also a second time, and leaves its files unchanged.

    Args:
        plugin: The object or module that the entry point names.
        delivery: The document to send; by default that of a small run.

    Raises:
        AssertionError: The sink violates the contract.
    """
    problems = _reasons(sinks.CHECK(plugin))
    with tempfile.TemporaryDirectory() as folder:
        if delivery is None:
            document = Path(folder, PROV_JSON)
            document.write_bytes(prov_json.dumps(example_document()))
            delivery = Delivery(RUN_ID, _STORE["uri"], document, (document,))
        before = _digests(delivery.document.parent)
        for time in () if problems else ("first", "second"):
            try:
                plugin.send(delivery)
            except Exception as error:  # noqa: BLE001 - reported as a violation
                problems.append(f"send raised {error!r} for the {time} document")
        if _digests(delivery.document.parent) != before:
            problems.append("send changes the files of the document")
    _fail_if(problems, f"sink {plugin!r}")


def check_source(plugin: SourcePlugin, location: str) -> Source:
    """Check a source: its runs become valid documents, and the store stays unchanged.

    Args:
        plugin: The object or module that the entry point names.
        location: A store that it recognizes; a path is compared before and afterwards.

    Returns:
        The source, for further assertions.

    Raises:
        AssertionError: The source violates the contract.
    """
    problems = _reasons(plugin_sources.CHECK(plugin))
    _fail_if(problems, f"source {plugin!r}")
    before = _digests(Path(location))
    if plugin.recognizes(f"{location}/this/does/not/exist"):
        problems.append("it recognizes a location that does not exist")
    if not plugin.recognizes(location):
        problems.append(f"it does not recognize {location!r}")
    source: object = plugin.open(location)
    if not isinstance(source, Source):
        problems.append(f"open returns {type(source).__name__}, not a Source")
        _fail_if(problems, f"source {plugin!r}")
    assert isinstance(source, Source)
    problems += _source_problems(source)
    source.close()
    if _digests(Path(location)) != before:
        problems.append("it changes the store")
    _fail_if(problems, f"source {plugin!r}")
    return source


def _source_problems(source: Source) -> Iterator[str]:
    if not source.store().get("uri"):
        yield "store() has no uri"
    refs = list(source.runs())
    if list(pickle.loads(pickle.dumps(source)).runs()) != refs:
        yield "a second copy has other runs, or the same in another order"
    if not refs:
        yield "it has no runs to check"
    if len({ref.key for ref in refs}) < len(refs):
        yield "two runs have the same key"
    for ref in refs:
        if source.fingerprint(ref) != source.fingerprint(ref):
            yield f"the fingerprint of {ref.key!r} changes"
        yield from _run_problems(ref, list(source.events(ref)))
    store_events = list(source.store_events())
    if not all(isinstance(event, Event) for event in store_events):
        yield "store_events() has other objects than events"
    if not all(isinstance(problem, Problem) for problem in source.problems()):
        yield "problems() has other objects than problems"
    if source.problems():
        yield "problems() does not clear the problems"


def _run_problems(ref: RunRef, run_events: Sequence[Event]) -> Iterator[str]:
    if not all(isinstance(event, Event) for event in run_events):
        yield f"the run {ref.key!r} has other objects than events"
        return
    if [event.seq for event in run_events] != [*range(len(run_events))]:
        yield f"the events of {ref.key!r} are not numbered from 0"
    if {event.session for event in run_events} != {STORE_SESSION}:
        yield f"an event of {ref.key!r} is not of the session STORE_SESSION"
    findings = validate(translate(run_events))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        yield f"the document of {ref.key!r} is not valid PROV: {errors[0].message}"


def _reasons(reason: str) -> list[str]:
    return [reason] if reason else []


def _digests(path: Path) -> str:
    """Return the digests of a file, or of all files in a folder, as JSON."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return json.dumps(
        [
            (os.fspath(file), hashlib.sha256(file.read_bytes()).hexdigest())
            for file in files
            if file.is_file()
        ]
    )


def _fail_if(problems: Sequence[str], subject: str) -> None:
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))
        raise AssertionError(f"{subject} violates the contract:\n{lines}")
