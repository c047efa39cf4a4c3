from __future__ import annotations

from pathlib import Path

import pytest
from support.builders.pipeline_documents import FAILED, FIRST, SECOND, pipeline

from yprov_mlflow.prov.capture import run_names
from yprov_mlflow.prov.errors import AmbiguousRunError, DocumentError, RunNotFoundError
from yprov_mlflow.prov.graph.index_folder import IndexFolder
from yprov_mlflow.prov.layout import INDEX


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    IndexFolder(folder / INDEX).add(pipeline())
    return folder


@pytest.fixture(autouse=True)
def _settings(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(state))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        (SECOND, SECOND),
        ("cccc", SECOND),
        ("second", SECOND),
        ("E/first", FIRST),
        (f"runs:/{FIRST}/model", FIRST),
        ("runs:/cccc", SECOND),
        ("run:second", SECOND),
    ],
)
def test_names_of_runs(name: str, run_id: str) -> None:
    assert run_names.resolve(name) == run_id


def test_latest_is_the_run_that_started_last() -> None:
    assert run_names.resolve("latest") == FAILED


def test_ambiguous_names_list_the_candidates() -> None:
    with pytest.raises(AmbiguousRunError, match=rf"{FIRST} \(first, E\)") as caught:
        run_names.resolve("first")
    assert "Name one by its id" in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "ffff", "it's", "E/nothing", "prov/"])
def test_unknown_names_say_what_is_possible(name: str) -> None:
    with pytest.raises(RunNotFoundError, match="yprov-mlflow list"):
        run_names.resolve(name)


def test_folders_and_patterns_are_documents(tmp_path: Path) -> None:
    for number in "12":
        (tmp_path / number).mkdir()
        (tmp_path / number / "prov.ttl").write_text("")
    paths = [str(tmp_path / number / "prov.ttl") for number in "12"]
    assert run_names.expand(str(tmp_path)) == paths
    assert run_names.expand(f"{tmp_path}/*/prov.ttl") == paths
    with pytest.raises(DocumentError, match="no file matches"):
        run_names.expand(f"{tmp_path}/*.json")
