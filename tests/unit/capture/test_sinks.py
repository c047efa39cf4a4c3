"""Sinks that fail, hang or are slow."""

from __future__ import annotations

import threading
import time

import pytest

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.capture import sinks
from yprov_mlflow.prov.journal import JournalDirectory

RUN = "a" * 32
SIZES = {"0123456789abcdef.journal": 7}


class Sink:
    """A sink that waits and then takes or refuses documents."""

    def __init__(self):
        self.go_on = threading.Event()
        self.contents = []
        self.error = None

    def send(self, delivery):
        assert self.go_on.wait(30)
        if self.error:
            raise self.error
        self.contents.append([file.read_bytes() for file in delivery.files])


@pytest.fixture
def sink(monkeypatch):
    sink = Sink()
    monkeypatch.setattr(sinks, "_load", {"toy": sink}.__getitem__)
    plugins.warn_once.cache_clear()
    yield sink
    sink.go_on.set()


@pytest.fixture
def folder(tmp_path):
    folder = JournalDirectory(tmp_path / "state", RUN)
    folder.path.mkdir(parents=True)
    folder.mark_delivered(SIZES)
    return folder


@pytest.fixture
def delivery(tmp_path):
    document = tmp_path / "prov.json"
    document.write_bytes(b"{}")
    return sinks.Delivery(RUN, "", document, (document,))


def test_run_does_not_wait_for_a_sink_that_hangs(sink, folder, delivery, monkeypatch, caplog):
    monkeypatch.setattr(sinks, "EXIT_TIMEOUT_S", 0.05)
    outbox = sinks.Outbox(["toy"])
    start = time.monotonic()
    outbox.put(folder, delivery)
    assert time.monotonic() - start < 5
    delivery.document.unlink()  # the delivery's folder is gone by then
    outbox.finish()
    assert "1 documents are not at toy yet" in caplog.text
    assert "`yprov-mlflow recover` sends them" in caplog.text
    assert sinks.pending(folder, ["toy"]) == ["toy"]
    monkeypatch.setattr(sinks, "EXIT_TIMEOUT_S", 30)
    sink.go_on.set()
    outbox.finish()
    assert sink.contents == [[b"{}"]]
    assert sinks.pending(folder, ["toy"]) == []


def test_failure_is_logged_once_and_document_stays_pending(sink, folder, delivery, caplog):
    sink.error = ValueError("https://ada:secret@example.org refuses\ntraceback")
    sink.go_on.set()
    outbox = sinks.Outbox(["toy"])
    for _ in range(3):
        outbox.put(folder, delivery)
    outbox.finish()
    assert caplog.text.count("The sink 'toy' failed") == 1
    assert "secret" not in caplog.text
    assert sinks.pending(folder, ["toy"]) == ["toy"]


def test_document_that_changed_is_pending_again(sink, folder, delivery):
    sink.go_on.set()
    assert [*sinks.send(folder, delivery, ["toy"])] == []
    assert sinks.pending(folder, ["toy"]) == []
    folder.mark_delivered({**SIZES, "fedcba9876543210.journal": 1})
    assert sinks.pending(folder, ["toy"]) == ["toy"]


def test_broken_mark_only_means_that_the_document_is_sent_again(sink, folder, delivery):
    sink.go_on.set()
    assert [*sinks.send(folder, delivery, ["toy"])] == []
    (folder.path / "sent.json").write_text("{")
    assert sinks.pending(folder, ["toy"]) == ["toy"]
