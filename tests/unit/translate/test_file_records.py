"""Data files of a run in its document, and back."""

from __future__ import annotations

from typing import Any

import pytest

from yprov_mlflow.prov.events import Event, FilesAccessed, RunCreated, RunUpdated, SessionStarted
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import content
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.translate.inverse import events_of
from yprov_mlflow.prov.validate import validate

RUN = "1" * 32
START = 1_700_000_000_000_000_000


def row(path: str, mode: str = "read", digit: str | None = "a", **more: Any) -> dict[str, Any]:
    sha256 = digit * 64 if digit else None
    return {
        "path": path,
        "mode": mode,
        "time_ns": START + 1000,
        "size": 4,
        "sha256": sha256,
        "not_hashed": None if digit else "it is too large",
        **more,
    }


def document_of(*batches: list[dict[str, Any]], most: int | None = None) -> Document:
    store = {"uuid": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "uri": "file:///s"}
    created = ("0", "exp", "fox", "ada", START // 10**6, "file:///s/a", {}, store)
    log: list[Event] = [
        SessionStarted(RUN, "s1", 0, START, {"host": "h", "pid": 1}),
        RunCreated(RUN, "s1", 1, START, *created),
    ]
    for batch in batches:
        log.append(FilesAccessed(RUN, "s1", len(log), START + 10**9, batch, most))
    log.append(RunUpdated(RUN, "s1", len(log), START + 2 * 10**9, "FINISHED", 1_700_000_002_000))
    return translate(log)


def files(document: Document) -> dict[str, Any]:
    return {
        identifier.removeprefix("run:"): record
        for identifier, record in document.records["entity"].items()
        if identifier.startswith(("run:file/", "run:files/"))
    }


def test_a_file_that_was_read_is_used_and_specializes_its_content():
    document = document_of([row("/d/a.csv"), row("/d/b.csv", "written", "b")])
    assert set(files(document)) == {"file/read/%2Fd%2Fa.csv", "file/written/%2Fd%2Fb.csv"}
    (usage,) = [
        record
        for record in document.records["used"].values()
        if record["prov:entity"] == "run:file/read/%2Fd%2Fa.csv"
    ]
    assert usage["prov:activity"] == "run:run"
    assert usage["prov:role"]["$"] == "mlf:readFile"
    assert usage["prov:time"].startswith("2023-11-14T22:13:20.000001")
    (generation,) = [
        record
        for record in document.records["wasGeneratedBy"].values()
        if record["prov:entity"] == "run:file/written/%2Fd%2Fb.csv"
    ]
    assert generation["prov:activity"] == "run:session/1"
    ends = document.records["specializationOf"].values()
    assert {end["prov:generalEntity"] for end in ends} >= {"sha256:" + x * 64 for x in "ab"}
    assert [finding for finding in validate(document) if finding.severity == "error"] == []


def test_a_later_word_about_a_written_file_counts():
    first = row("/d/out", "written", None, not_hashed="the run has not ended")
    gone = row("/d/tmp", "written", None)
    document = document_of([first, gone], [row("/d/out", "written"), {**gone, "removed": True}])
    (record,) = files(document).values()
    assert record["mlf:sha256"] == "a" * 64
    assert "mlf:notHashed" not in record


def test_many_files_of_a_folder_are_one_collection():
    rows = [row(f"/d/images/{i:03}.png", digit=f"{i % 10}") for i in range(21)]
    document = document_of([*rows, row("/d/labels.csv")])
    assert set(files(document)) == {"files/read/%2Fd%2Fimages", "file/read/%2Fd%2Flabels.csv"}
    record = files(document)["files/read/%2Fd%2Fimages"]
    assert record["mlf:fileCount"]["$"] == "21"
    assert record["mlf:size"]["$"] == "84"
    members = [[f"{i:03}.png", 4, f"{i % 10}" * 64] for i in range(21)]
    assert f"sha256:{record['mlf:sha256']}" == content({"files": members})
    assert len(document.records["hadMember"]) >= 10


@pytest.mark.parametrize(
    ("paths", "collections"),
    [
        ([f"/d/{c}/{i}.png" for c in "ab" for i in range(21)], {"/d/a": 21, "/d/b": 21}),
        ([f"/d/train/{c}/{i}.png" for c in range(30) for i in range(25)], {"/d/train": 750}),
        ([f"/d/z/c/{c}/0" for c in range(40)], {"/d/z/c": 40}),
        ([f"/d/{i}.csv" for i in range(20)], {}),
    ],
)
def test_trees_of_files_are_as_many_collections_as_they_have_large_folders(paths, collections):
    document = document_of([row(path) for path in paths])
    counts = {
        record["mlf:path"]: int(record["mlf:fileCount"]["$"])
        for record in files(document).values()
        if "mlf:fileCount" in record
    }
    assert counts == collections
    assert len(files(document)) == (len(collections) or len(paths))


def test_a_collection_with_an_unknown_file_has_no_digest():
    rows = [row(f"/d/{i}", digit="a" if i else None) for i in range(30)]
    (record,) = files(document_of(rows)).values()
    assert "mlf:sha256" not in record
    assert record["mlf:notHashed"] == "1 of its files have no hash"


def test_thousands_of_files_are_one_record():
    rows = [row(f"/d/{i // 100}/{i}.png") for i in range(10_000)]
    (record,) = files(document_of(rows, most=200_000)).values()
    assert record["mlf:fileCount"]["$"] == "10000"


def test_damaged_rows_are_skipped():
    damaged: list[dict[str, Any]] = [
        {},
        {"path": 1, "mode": "read"},
        {"path": "/a", "mode": "eaten"},
        {"path": "/b", "mode": "read", "time_ns": "x", "size": True, "sha256": "zz"},
    ]
    (record,) = files(document_of(damaged)).values()
    assert record["mlf:path"] == "/b"


def test_files_survive_the_way_to_events_and_back():
    many = [row(f"/d/images/{i}.png", digit=f"{i % 10}") for i in range(30)]
    single = [row("/d/a.csv"), row("/d/b", "written", "b"), row("s3://b/x", digit=None)]
    batch = [*many, *single, row("/d/big.bin", digit=None)]
    document = document_of(batch, most=5)
    stored = translate(list(events_of(document)))
    assert files(stored) == files(document)
    assert translate(list(events_of(stored))) == stored
