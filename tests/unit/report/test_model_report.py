"""Reports of models over several documents, and pictures as PNG."""

import builtins

import pytest
from click.testing import CliRunner
from support.builders.pipeline_documents import pipeline

from yprov_mlflow.prov.cli import application
from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.report import picture_formats
from yprov_mlflow.prov.report.prov_picture import Node, Picture

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    for number, document in enumerate(pipeline()):
        (folder / str(number)).mkdir()
        (folder / str(number) / "prov.json").write_bytes(prov_json.dumps(document))
    return folder


def report(folder, name, out):
    arguments = ["report", name, "--from", str(folder), "-o", str(out)]
    return CliRunner().invoke(application.main, arguments)


def test_a_model_has_origins_and_products(folder, tmp_path):
    for name, out in (("models:/clf@champion", "x.html"), ("models:/clf/2", "x.md")):
        assert report(folder, name, tmp_path / out).exit_code == 0
        text = (tmp_path / out).read_text("utf-8")
        assert "clean" in text and "second" in text and "bob" in text
        assert text.index("bbbb2222") < text.index("the documents asked state nothing")
    assert report(folder, "models:/clf@champion", tmp_path / "x.png").exit_code == 0
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)
    assert report(folder, "models:/nothing/1", tmp_path / "y.html").exit_code == 1


def test_png_without_its_library_names_the_extra(monkeypatch):
    imported = builtins.__import__

    def without(name, *arguments, **more):
        if name == "resvg_py":
            raise ModuleNotFoundError(name=name)
        return imported(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"yprov-mlflow\[png\]"):
        picture_formats.to_png(Picture({"a": Node("entity", "a", "b")}, []))
