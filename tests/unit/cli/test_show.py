import hashlib
import json

import pytest
from click.testing import CliRunner

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.views import summary


def show(*arguments):
    return CliRunner().invoke(main, ["show", *map(str, arguments)])


def test_summary_says_what_was_logged(captured, document):
    place, whole, _ = captured
    path, records = document
    found = json.loads(show(path, "--json").output)
    assert found["run"]["id"] == whole
    assert found["run"]["name"] == "whole"
    assert found["run"]["status"] == "FINISHED"
    assert found["run"]["experiment"] == "demo"
    assert found["run"]["start"] < found["run"]["end"]
    assert found["params"] == {"lr": "0.1", "odd key: a/b": "[bold]" + "x" * 100}
    assert found["tags"]["stage"] == "second"
    bad, loss = found["metrics"]
    assert loss == {
        "context": [],
        "key": "loss",
        "count": 2,
        "first": 2.0,
        "last": 0.5,
        "min": 0.5,
        "max": 2.0,
    }
    assert (bad["key"], bad["last"]) == ("bad", "NaN")
    (artifact,) = found["artifacts"]
    assert artifact["path"] == "notes/a.txt"
    assert artifact["sha256"] == hashlib.sha256(b"two").hexdigest()
    assert (artifact["size"], artifact["versions"]) == (3, 2)
    (session,) = found["sessions"]
    assert "train.py" in session["command"]
    (environment,) = found["environments"]
    assert "mlflow-skinny" in environment["packages"]
    assert found["hosts"][0]["cpu_count"] >= 1
    (code,) = found["code"]
    script = (place.folder / "train.py").read_bytes()
    assert code["entry_point_sha256"] == hashlib.sha256(script).hexdigest()
    assert sum(found["records"].values()) == sum(
        len(section) for name, section in records.items() if name != "prefix"
    )


def test_tables_for_people(document):
    shown = show(document[0])
    assert shown.exit_code == 0
    words = "whole FINISHED [bold]xxx notes/a.txt loss"
    for text in [*words.split(), "odd key: a/b", "PROV records"]:
        assert text in shown.output
    assert "Models" not in shown.output


def test_a_run_by_its_id_in_any_folder(captured, tmp_path):
    place, whole, _ = captured
    for env in ({}, {"YPROV_MLFLOW_DIR": str(tmp_path)}):  # from the journal, from the artifacts
        done = place.command("show", whole, "--json", **env)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["params"]["lr"] == "0.1"


def test_a_run_that_is_not_there(captured):
    place, *_ = captured
    done = place.command("show", "0" * 32)
    assert done.returncode == 1
    assert done.stderr.endswith("MLFLOW_TRACKING_URI.\n")
    assert f"there is no run '{'0' * 32}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_is_not_there(place):
    done = place.command("show", "0" * 32, "--tracking-uri", "nonsense://ada:secret@host/x")
    assert done.returncode == 1
    assert "the tracking store cannot be asked" in done.stderr
    assert "nonsense://host/x" in done.stderr


NO_DOCUMENTS = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"\xff",
    b'{"prefix": {}, "entity": []}',
    b'{"prefix": {}, "a": {"b": 1}}',
]


@pytest.mark.parametrize("content", NO_DOCUMENTS)
def test_files_that_are_no_document(tmp_path, content):
    path = tmp_path / "prov.json"
    path.write_bytes(content)
    shown = show(path)
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: this is no PROV-JSON document")
    assert str(path) in shown.output


def test_a_file_that_is_not_there(tmp_path):
    shown = show(tmp_path / "gone.json")
    assert (shown.exit_code, "No such file" in shown.output) == (1, True)


def test_documents_of_others_show_what_there_is(tmp_path):
    path = tmp_path / "prov.json"
    path.write_text(
        json.dumps(
            {
                "prefix": {"ex": "http://example.org/"},
                "entity": {"ex:a": {"prov:type": "mlf:Param"}, "ex:b": {}},
                "used": {"_:u": {"prov:entity": "ex:a"}},
            }
        )
    )
    assert show(path).exit_code == 0
    assert json.loads(show(path, "--json").output)["records"] == {"entity": 2, "used": 1}


def test_names_cannot_steer_the_terminal(tmp_path):
    path = tmp_path / "prov.json"
    label = "\x1b[31mred\x07"
    path.write_text(json.dumps({"prefix": {}, "activity": {"run:run": {"prov:label": label}}}))
    shown = show(path).output
    assert "red" in shown
    assert "\x1b" not in shown and "\x07" not in shown


def test_contexts_data_sets_and_models():
    def q(name):
        return {"$": name, "type": "xsd:QName"}

    found = summary.summarise(
        {
            "prefix": {},
            "activity": {
                "run:context/a": {"prov:type": q("mlf:Context"), "prov:label": "a"},
                "run:context/a/epoch/0": {
                    "prov:type": [q("mlf:Epoch")],
                    "dcterms:isPartOf": q("run:context/a"),
                },
            },
            "entity": {
                "sha256:d": {"prov:type": q("mls:Dataset"), "schema:name": "iris"},
                "store:logged-model/m": {
                    "prov:type": q("mlf:LoggedModel"),
                    "mlf:modelId": "m-1",
                    "mlf:status": q("mlf:READY"),
                },
                "store:logged-model/gone": {"prov:type": q("mlf:LoggedModel")},
                "run:metric/a/loss": {
                    "prov:type": q("mlf:MetricSeries"),
                    "schema:name": "loss",
                    "mlf:context": "a",
                    "mlf:last": {"$": "INF", "type": "xsd:double"},
                    "mlf:count": {"$": "many", "type": "xsd:int"},
                },
            },
            "used": {"u": {"prov:entity": "sha256:d", "mlf:datasetContext": "train"}},
            "wasInvalidatedBy": {"i": {"prov:entity": "store:logged-model/gone"}},
        }
    )
    assert found["contexts"] == [{"name": "a", "epochs": 1}]
    assert found["datasets"] == [{"name": "iris", "contexts": ["train"]}]
    assert found["models"] == [{"id": "m-1", "status": "READY"}]
    assert found["metrics"] == [{"context": ["a"], "key": "loss", "last": "INF", "count": "many"}]
