"""Locations of stores: folders, files and URIs."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.builders.file_store_builder import RUN, FileStoreBuilder, write_files

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.file_store import FileStoreSource
from yprov_mlflow.prov.sources.rest import ServerSource


@pytest.fixture
def tree(tmp_path):
    found = FileStoreBuilder(tmp_path / "a b" / "mlruns")
    found.run()
    return found


@pytest.mark.parametrize(
    "form",
    ["{root}", "{root}/", "{above}", "yprov+{root}", "file://{quoted}", "yprov+file://{quoted}"],
)
def test_location_is_the_mlruns_folder_or_its_parent(tree, form):
    quoted = str(tree.root).replace(" ", "%20")
    location = form.format(root=tree.root, above=tree.root.parent, quoted=quoted)
    source = open_source(location)
    assert isinstance(source, FileStoreSource)
    assert source.location == location
    assert source.store()["uri"] == f"file://{tree.root}"
    assert [ref.run_id for ref in source.runs()] == [f"{RUN}0"]


@pytest.mark.parametrize("form", ["mlruns", "./mlruns", ".", "file:mlruns"])
def test_location_may_be_relative(tree, monkeypatch, form):
    monkeypatch.chdir(tree.root.parent)
    assert len(list(open_source(form).runs())) == 1


def test_file_store_may_have_any_name_and_be_empty(tmp_path):
    tree = FileStoreBuilder(tmp_path / "runs of 2019")
    assert list(open_source(str(tree.root)).runs()) == []
    (tmp_path / "mlruns").mkdir()
    assert list(open_source(str(tmp_path / "mlruns")).runs()) == []
    bare = tmp_path / "bare"
    write_files(bare / "7" / f"{RUN}0" / "params", {"a": "1"})
    assert len(list(open_source(str(bare)).runs())) == 1
    registry = tmp_path / "registry"
    write_files(registry / "models" / "net" / "version-1", {"meta.yaml": "name: net\n"})
    assert list(open_source(str(registry)).runs()) == []


def test_folder_without_runs_is_an_error_with_a_cure(tree, tmp_path):
    with pytest.raises(StoreError, match="folders below it: a b/mlruns"):
        open_source(str(tmp_path))
    empty = tmp_path / "empty"
    write_files(empty, {"sub/readme.txt": "x"})
    with pytest.raises(StoreError, match="Give the folder mlruns, or one that contains it"):
        open_source(str(empty))
    write_files(empty, {"mlflow.db": "x"})
    with pytest.raises(StoreError, match=r"Give the database in it: mlflow\.db"):
        open_source(str(empty))


@pytest.mark.parametrize("part", ["0", f"0/{RUN}0"])
def test_folder_of_an_experiment_or_run_is_an_error(tree, part):
    with pytest.raises(StoreError, match="give the mlruns folder that contains it"):
        open_source(str(tree.root / part))


def test_databases_and_servers_are_recognized_by_uri(tmp_path):
    from yprov_mlflow.prov.sources.rest import ServerSource
    from yprov_mlflow.prov.sources.sql import DatabaseSource

    path = tmp_path / "odd name.x"
    sqlite3.connect(path).execute("create table t (a)").connection.close()
    for location in (str(path), f"file://{path}", f"sqlite:///{path}", "yprov+sqlite:///x.db"):
        assert isinstance(open_source(location), DatabaseSource)
    for location in ("http://127.0.0.1:1", "yprov+https://host/x", "databricks"):
        assert isinstance(open_source(location), ServerSource)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("no/such/place", "no such file or folder"),
        ("x" * 5000, "no such file or folder"),
        ("s3://user:secret@bucket/mlruns", "the scheme 's3' is not supported"),
    ],
)
def test_location_without_store_is_an_error(location, message):
    with pytest.raises(StoreError, match=message) as raised:
        open_source(location)
    assert "secret" not in str(raised.value)


def test_empty_folder_is_reported(tmp_path):
    (tmp_path / "mlruns").mkdir()
    source = open_source(str(tmp_path / "mlruns"))
    assert list(source.runs()) == []
    assert [problem.reason for problem in source.problems()] == [
        "contains no experiment, run or model"
    ]


def test_documents_are_recognized_by_their_content(tmp_path):
    write_files(tmp_path, {"run.text": "document\nendDocument\n"})
    assert open_source(str(tmp_path / "run.text")).of_documents


def test_file_that_is_not_a_database_is_an_error(tmp_path):
    write_files(tmp_path, {"notes.txt": "SQLite"})
    with pytest.raises(StoreError, match="neither a SQLite database nor a document"):
        open_source(str(tmp_path / "notes.txt"))


def test_id_of_a_run_does_not_lead_out_of_the_downloads(tmp_path, monkeypatch):
    folders = []
    client = SimpleNamespace(
        list_artifacts=lambda *_: [SimpleNamespace(path="provenance/prov.json")],
        download_artifacts=lambda run_id, path, folder: folders.append(Path(folder)),
    )
    server = SimpleNamespace(client=client, ask=lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    source = ServerSource("http://localhost:5000")
    source._server = server
    source._download("../../x")
    assert folders[0].is_dir() and folders[0].is_relative_to(tmp_path / "a" / "b")
    assert ".." not in folders[0].parts
    source.close()
    assert not any((tmp_path / "a" / "b").iterdir())
