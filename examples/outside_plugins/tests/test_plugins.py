from yprov_mlflow_plugins_example import csv_source, folder_sink, yaml_format

from yprov_mlflow.prov.plugin_testing import RUN_ID, check_format, check_sink, check_source


def test_format():
    check_format(yaml_format)


def test_sink(tmp_path, monkeypatch):
    monkeypatch.setenv("YPROV_EXAMPLE_FOLDER", str(tmp_path))
    check_sink(folder_sink)
    assert [path.name for path in tmp_path.iterdir()] == [f"{RUN_ID}.json"]


def test_source(tmp_path):
    (tmp_path / "first.csv").write_text("epoch,accuracy,loss\n0,0.5,1.2\n1,0.7,\nx,1,1\n")
    (tmp_path / "other.csv").write_text("name,value\na,1\n")
    source = check_source(csv_source, str(tmp_path))
    (run,) = source.runs()
    _, points = source.events(run)
    assert [*zip(points.keys, points.values, points.steps, strict=True)] == [
        ("accuracy", 0.5, 0),
        ("loss", 1.2, 0),
        ("accuracy", 0.7, 1),
    ]
    assert [problem.lost for problem in source.problems()] == ["a line"]
