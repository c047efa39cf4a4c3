import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.cli.console import PARTLY, FormatChoice
from yprov_mlflow.prov.formats import FORMATS, open_documents
from yprov_mlflow.prov.views import summary

DATA = Path(__file__).parents[2] / "data"


def show(*arguments):
    return CliRunner().invoke(main, ["show", *map(str, arguments)])


def test_json_has_the_logged_data(captured, document):
    workspace, finished, _ = captured
    path, records = document
    shown = json.loads(show(path, "--json").output)
    assert shown == summary.from_document(records).to_dict()
    assert shown["run"]["id"] == finished
    assert shown["run"]["name"] == "finished"
    assert shown["run"]["status"] == "FINISHED"
    assert shown["run"]["experiment"] == "demo"
    assert shown["run"]["start"] < shown["run"]["end"]
    assert shown["params"] == {"lr": "0.1", "odd key: a/b": "[bold]" + "x" * 100}
    assert shown["tags"]["stage"] == "second"
    bad, loss = shown["metrics"]
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
    (artifact,) = shown["artifacts"]
    assert artifact["path"] == "notes/a.txt"
    assert artifact["sha256"] == hashlib.sha256(b"two").hexdigest()
    assert (artifact["size"], artifact["versions"]) == (3, 2)
    (session,) = shown["sessions"]
    assert "train.py" in session["command"]
    (environment,) = shown["environments"]
    assert "mlflow-skinny" in environment["packages"]
    assert shown["hosts"][0]["cpu_count"] >= 1
    (code,) = shown["code"]
    script = (workspace.folder / "train.py").read_bytes()
    assert code["entry_point_sha256"] == hashlib.sha256(script).hexdigest()
    assert sum(shown["records"].values()) == sum(
        len(section) for name, section in records.items() if name != "prefix"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_documents_in_every_format_are_shown(document, tmp_path, name):
    path = tmp_path / f"run{FORMATS[name].suffix}"
    with path.open("wb") as stream:
        FORMATS[name].dump(open_documents(document[0]), stream, single=True)
    assert show(path, "--json").output == show(document[0], "--json").output


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("turtle ttl .TTL Turtle", "turtle"),
        ("json-ld jsonld JSON-LD", "json-ld"),
        ("provn prov-n PROV_N", "prov-n"),
        ("json provjson prov-json", "prov-json"),
        ("nt n-triples nq n-quads", "n-quads"),
        ("xml provx prov-xml", "prov-xml"),
    ],
)
def test_formats_have_any_usual_name(words, name):
    for word in words.split():
        assert FormatChoice().convert(word, None, None) == name


def test_tables(document):
    shown = show(document[0])
    assert shown.exit_code == 0
    words = "finished FINISHED [bold]xxx notes/a.txt loss"
    for text in [*words.split(), "odd key: a/b", "PROV records"]:
        assert text in shown.output
    assert "Models" not in shown.output


def test_run_id_with_and_without_journal(captured, tmp_path):
    workspace, finished, _ = captured
    for env in ({}, {"YPROV_MLFLOW_DIR": str(tmp_path)}):  # from the journal, from the artifacts
        done = workspace.command("show", finished, "--json", **env)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["params"]["lr"] == "0.1"


def test_unknown_run(captured):
    workspace, *_ = captured
    done = workspace.command("show", "0" * 32)
    assert done.returncode == 1
    assert done.stderr.endswith("MLFLOW_TRACKING_URI.\n")
    assert f"run '{'0' * 32}' does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_store(workspace):
    done = workspace.command("show", "0" * 32, "--tracking-uri", "nonsense://ada:secret@host/x")
    assert done.returncode == 1
    assert "the tracking store failed" in done.stderr
    assert "nonsense://host/x" in done.stderr


MALFORMED = [
    b"{",
    b"[]",
    b"{}",
    b"\xff",
    b'{"prefix": {}, "entity": []}',
    b'{"prefix": {}, "a": {"b": 1}}',
    b'{"name": {"first": {}}}',
]


@pytest.mark.parametrize("content", MALFORMED)
def test_malformed_files(tmp_path, content):
    path = tmp_path / "prov.json"
    path.write_bytes(content)
    shown = show(path)
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: ")
    assert str(path) in shown.output


def test_several_records_with_one_id_are_shown(tmp_path):
    path = tmp_path / "prov.json"
    record = {"prov:activity": "ex:a", "prov:agent": "ex:b"}
    path.write_text(
        json.dumps({"prefix": {"ex": "urn:e:"}, "wasAssociatedWith": {"_:w": [record]}})
    )
    assert json.loads(show(path, "--json").output)["records"] == {"wasAssociatedWith": 1}


def test_each_document_of_a_file_is_shown(tmp_path):
    path = tmp_path / "prov.json"
    records = {"prefix": {"ex": "urn:e:"}, "entity": {"ex:a": {}}}
    path.write_text(json.dumps({**records, "bundle": {"ex:b": {"activity": {"ex:c": {}}}}}))
    shown = json.loads(show(path, "--json").output)
    assert [document["records"] for document in shown] == [{"entity": 1}, {"activity": 1}]
    assert show(path).output.count("neither a run nor a store") == 2


def test_long_values_are_cut_in_tables_only(tmp_path):
    path = tmp_path / "prov.json"
    long = "x" * 2_000_000
    tag = {"prov:type": "mlf:Tag", "schema:name": "note", "prov:value": long}
    path.write_text(json.dumps({"prefix": {}, "entity": {"run:tag/note/1": tag}}))
    assert len(show(path).output) < 10_000
    assert json.loads(show(path, "--json").output)["tags"] == {"note": long}


@pytest.mark.parametrize("command", ["show", "energy"])
def test_examples_of_prov_are_shown(command):
    for path in sorted((DATA / "reference").iterdir()) + sorted((DATA / "traps").iterdir()):
        done = CliRunner().invoke(main, [command, str(path)])
        assert done.exit_code in (0, PARTLY), (path, done.output)
        assert max(map(len, done.output.splitlines())) <= 80 or command == "energy", path


def test_missing_file(tmp_path):
    shown = show(tmp_path / "gone.json")
    assert (shown.exit_code, "No such file" in shown.output) == (1, True)


def test_foreign_documents(tmp_path):
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


def test_control_characters_are_replaced(tmp_path):
    path = tmp_path / "prov.json"
    label = "\x1b[31mred\x07"
    path.write_text(json.dumps({"prefix": {}, "activity": {"run:run": {"prov:label": label}}}))
    shown = show(path).output
    assert "red" in shown
    assert "\x1b" not in shown and "\x07" not in shown


@pytest.mark.parametrize("command", ["show", "energy"])
def test_missing_store_is_not_created(workspace, command):
    folder = workspace.folder / f"empty-{command}"
    folder.mkdir()
    uris = (f"sqlite:///{folder}/new.db", f"file://{folder}/mlruns")
    for uri in uris:
        done = workspace.command(command, "0" * 32, "--tracking-uri", uri)
        assert done.returncode == 1
        assert "there is no tracking store" in done.stderr
    assert not list(folder.iterdir())


LOST = """\
import mlflow
with mlflow.start_run() as run:
    mlflow.log_param("lr", 0.5)
print(run.info.run_id)
"""


def test_run_of_a_deleted_store_is_shown_from_its_journal(workspace, tmp_path):
    lost = tmp_path / "lost.db"
    env = {"MLFLOW_TRACKING_URI": f"yprov+sqlite:///{lost}"}
    script = workspace.folder / workspace.script(LOST, "lost.py")
    command = [sys.executable, str(script)]
    run_id = subprocess.run(
        command, cwd=tmp_path, env={**workspace.env, **env}, capture_output=True, text=True
    ).stdout.split()[-1]
    lost.unlink()
    done = workspace.command("show", run_id, "--json")
    assert json.loads(done.stdout)["params"] == {"lr": "0.5"}
    assert "is used alone" in done.stderr
    assert not lost.exists()
