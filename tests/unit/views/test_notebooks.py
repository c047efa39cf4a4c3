"""Notebooks: lineage and documents as pictures, and a run that is watched while it trains."""

import sys
import types
from pathlib import Path

import mlflow
import pytest
from support.builders.pipeline_documents import pipeline

import yprov_mlflow.prov as prov
from yprov_mlflow.prov.capture import notebooks, run_views
from yprov_mlflow.prov.errors import UsageError


class Handle:
    def __init__(self) -> None:
        self.views: list[str] = []

    def update(self, view: object) -> None:
        self.views.append(view._repr_html_())  # type: ignore[attr-defined]


def test_lineage_and_documents_are_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = pipeline()
    assert "<svg" in prov.lineage("models:/clf@champion", documents=documents)._repr_html_()
    monkeypatch.setattr(run_views, "_fetch", lambda *_: documents[1])
    shown = prov.document("any")
    assert "<svg" in shown._repr_html_() and "first" in shown._repr_html_()


def test_exported_notebooks_have_pictures_and_tables_in_markdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = pipeline()
    lineage = prov.lineage("models:/clf@champion", documents=documents)._repr_markdown_()
    assert lineage.startswith("```mermaid\nflowchart") and lineage.endswith("\n```")
    monkeypatch.setattr(run_views, "_fetch", lambda *_: documents[1])
    assert "first" in prov.document("any")._repr_markdown_()
    table = prov.energy(documents[1])._repr_markdown_()
    assert table.startswith("## Run") and "|---|" in table and "| name | first |" in table


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Handle:
    handle = Handle()
    ipython = types.SimpleNamespace(
        get_ipython=object, display=types.SimpleNamespace(display=lambda *_, **__: handle)
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return handle


def test_a_watched_run_is_shown_to_its_end(
    notebook: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = iter(pipeline()[1:3])
    last: list[object] = []

    def summary(run_id: str) -> object:
        last[:] = [next(contents, *last)]
        return run_views.summary(last[0])  # type: ignore[arg-type]

    monkeypatch.setattr(notebooks, "summary", summary)
    with prov.watch("a" * 32, interval_s=0.1):
        while not notebook.views:
            pass
    assert "0.3" in notebook.views[0] and "Params" not in notebook.views[0]
    assert "0.2" in notebook.views[-1] and "own share of the run" in notebook.views[-1]


def test_watching_needs_a_run_and_an_interval(tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'm.db'}")
    with pytest.raises(UsageError, match="start_run"), prov.watch():
        pass
    with pytest.raises(UsageError, match="interval_s"), prov.watch("a" * 32, interval_s=0):
        pass
