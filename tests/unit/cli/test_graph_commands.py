from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.builders.pipeline_documents import FIRST, SECOND, pipeline

from yprov_mlflow import prov
from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.formats import prov_json


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    for number, document in enumerate(pipeline()):
        (folder / str(number)).mkdir()
        (folder / str(number) / "prov.json").write_bytes(prov_json.dumps(document))
    return folder


def command(documents: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--from", str(documents)])


def test_lineage_as_a_tree_and_as_json(documents: Path) -> None:
    tree = command(documents, "lineage", "models:/clf@champion", "--up")
    assert tree.exit_code == 0
    assert "└── dataset clean  digest bbbb2222" in tree.output
    down = command(documents, "lineage", "clean", "--down", "--format", "json")
    runs = {t["run_id"] for t in json.loads(down.output)["things"] if t["kind"] == "run"}
    assert {FIRST, SECOND} < runs


@pytest.mark.parametrize("form", ["table", "dot", "mermaid"])
def test_lineage_in_other_forms(documents: Path, form: str) -> None:
    result = command(documents, "lineage", "second", "--format", form)
    assert result.exit_code == 0
    assert "clean" in result.output


def test_a_thing_without_origins_says_so(documents: Path) -> None:
    result = command(documents, "lineage", "clean", "--up")
    assert result.exit_code == 0
    assert "state no origins of it" in result.output


def test_the_front_of_loss_and_energy(documents: Path) -> None:
    result = command(documents, "runs", "--pareto", "loss,energy", "--format", "json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row["run_id"] for row in rows] == [SECOND, FIRST]
    assert "3 runs have no number to compare" in result.stderr


def test_list_takes_sources_and_is_runs(documents: Path) -> None:
    listed = CliRunner().invoke(main, ["list", str(documents), "--csv", "--columns", "model"])
    assert listed.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(listed.stdout)))
    assert {row["run_id"]: row["model"] for row in rows}[SECOND] == "net"
    runs = command(documents, "runs", "--json", "-n", "2")
    assert [row["run_id"] for row in json.loads(runs.stdout)] == [r["run_id"] for r in rows[:2]]
    table = CliRunner().invoke(main, ["list", str(documents)], env={"COLUMNS": "80"})
    lines = table.output.splitlines()
    assert len(lines) >= len(rows) + 1 and max(map(len, lines)) <= 80


def test_energy_of_many_runs(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_user = json.loads(command(documents, "energy", "--by", "user", "--json").stdout)
    assert by_user["total"]["measured"] == 3 and "assumed" not in by_user
    assert by_user["total"]["runs"] == sum(row["runs"] for row in by_user["sums"])
    monkeypatch.setenv("YPROV_MLFLOW_PUE", "2")
    monkeypatch.setenv("YPROV_MLFLOW_ENERGY_PRICE", "0.5 EUR")
    energy_kwh = by_user["total"]["energy_kwh"]
    assumed = json.loads(command(documents, "energy", "--json").stdout)
    assert assumed["total"]["energy_kwh"] == energy_kwh
    assert assumed["assumed"]["cost"] == pytest.approx(energy_kwh)
    table = command(documents, "energy", "--since", "2026-01-02").output
    assert "Assumed by you, not measured: PUE 2, 0.5 EUR per kWh" in table
    header = command(documents, "energy", "--by", "model", "--csv").stdout.splitlines()[0]
    assert header.startswith("model,runs,measured,energy_kwh,emissions_g,assumed_pue")


def test_quiet_silences_notes_only(documents: Path) -> None:
    words = ["runs", "--pareto", "loss,energy", "--from", str(documents)]
    quiet = CliRunner().invoke(main, ["-q", *words])
    assert quiet.exit_code == 0 and quiet.stderr == "" and "second" in quiet.stdout


def test_diff_and_why(documents: Path) -> None:
    diff = command(documents, "diff", "E/first", "second")
    assert diff.exit_code == 0
    assert "Equal: data 1" in diff.output
    why = command(documents, "why", "E/first", "second")
    assert "Likely reasons" in why.output
    assert why.output.index("gitCommit") < why.output.index("lr") < why.output.index("numpy")


def test_shipped_questions(documents: Path) -> None:
    assert "@runs-with-dataset" in command(documents, "query", "--list").output
    explained = command(documents, "query", "@runs-with-dataset", "--explain").output
    assert "DATASET (dataset): name or digest" in explained
    result = command(documents, "query", "@runs-with-dataset", "clean", "--format", "csv")
    assert result.output.count("training") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("lineage", "nothing"), 1, "yprov-mlflow index"),
        (("lineage", ""), 2, "it is empty"),
        (("lineage", "first"), 1, "fits several things"),
        (("query", "SELECT ?x {"), 1, "not valid SPARQL"),
        (("query", "@nothing"), 2, "query --list"),
        (("query",), 2, "there is no query"),
        (("runs", "--where", "loss <"), 2, "character 1"),
        (("runs", "--columns", "nothing"), 2, "no run has 'nothing'"),
        (("diff", "first", "second"), 1, "fits several"),
    ],
)
def test_bad_input_gets_a_message(
    documents: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = command(documents, *arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_the_same_from_python(documents: Path) -> None:
    report = prov.lineage("models:/clf@champion", documents=documents)
    assert report.people == ["bob"]
    assert len(prov.runs("loss < 1", documents=documents)) == 2
    assert prov.diff("E/first", "second", documents=documents).likely_reasons
    answer = prov.query("@runs-of-person", documents=documents, person="bob")
    assert len(answer.rows) == 2
