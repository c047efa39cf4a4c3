"""A captured run with authors and a license: its views, crates and cards."""

import json
import zipfile

import pytest
from click.testing import CliRunner
from support.builders.run_log import RUN_ID, Log

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.events import FactsCollected, RunUpdated
from yprov_mlflow.prov.translate.workflow_document import TaskEntry, TaskFile, workflow_document

ABOUT = """\
[tool.yprov-mlflow.about]
title = "Digits from pixels"
description = "Trains a network that recognizes digits."
keywords = ["digits"]
license = "{license}"
publisher = {{ name = "University of Trento", ror = "05trd4x28" }}

[[tool.yprov-mlflow.about.authors]]
name = "Josiah Carberry"
orcid = "0000-0002-1825-0097"
affiliation = {{ name = "University of Trento", ror = "05trd4x28" }}
"""


@pytest.fixture
def described(workspace):
    """Return a workspace with a described run, and its document."""
    (workspace.folder / "yprov-mlflow.toml").write_text(ABOUT.format(license="Apache-2.0"))
    script = "import mlflow\nwith mlflow.start_run() as run:\n  mlflow.log_param('lr', 0.1)\n"
    script += "print(run.info.run_id)\n"
    done = workspace.command("run", workspace.script(script))
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return workspace, workspace.document(done.stdout.strip())


def test_captured_runs_are_described(described):
    workspace, document = described
    shown = json.loads(workspace.command("show", str(document), "--json").stdout)
    assert shown["about"]["title"] == "Digits from pixels"
    assert shown["about"]["authors"][0]["orcid"] == "0000-0002-1825-0097"
    assert "Digits from pixels" in workspace.command("show", str(document)).stdout
    assert workspace.command("validate", str(document)).returncode == 0


def test_unknown_license_is_named_and_stops_nothing(workspace):
    (workspace.folder / "yprov-mlflow.toml").write_text(ABOUT.format(license="Free as in beer"))
    script = "import mlflow\nwith mlflow.start_run() as run: pass\nprint(run.info.run_id)\n"
    done = workspace.command("run", workspace.script(script))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("'Free as in beer' is unknown and kept as text") == 1
    assert "Apache-2.0" in done.stderr  # the cure
    document = json.loads(workspace.document(done.stdout.strip()).read_bytes())
    assert document["entity"]["run:record"]["dcterms:license"] == "Free as in beer"
    assert "Free as in beer" in workspace.command("doctor").stdout


def test_conversion_states_what_a_file_says(captured, tmp_path):
    workspace, _, _ = captured
    file = tmp_path / "who.toml"
    file.write_text(ABOUT.format(license="MIT"))
    arguments = ("convert", workspace.uri, "-o", str(tmp_path / "prov"), "--about", str(file))
    done = workspace.command(*arguments)
    assert done.returncode == 0, done.stderr
    documents = [*(tmp_path / "prov").glob("**/prov.json")]
    for path in documents:
        if "run" in (document := json.loads(path.read_bytes()))["prefix"]:
            license_ = document["entity"]["run:record"]["dcterms:license"]
            assert license_["$"] == "https://spdx.org/licenses/MIT"
    # Another license is a change: the runs are converted again.
    file.write_text(ABOUT.format(license="0BSD"))
    assert workspace.command(*arguments).stdout.startswith("2 of 2 runs converted")


# -- crates ------------------------------------------------------------------------------


def command(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def entities(metadata):
    graph = json.loads(metadata)["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return {entity["@id"]: entity for entity in graph}


@pytest.fixture
def who(tmp_path):
    path = tmp_path / "who.toml"
    path.write_text(ABOUT.format(license="MIT"))
    return path


def test_crate_of_a_run_describes_it_and_has_its_files(captured, tmp_path, who):
    workspace, run, _ = captured
    out = tmp_path / "crate"
    arguments = (run, "-o", out, "--about", who, "--tracking-uri", workspace.uri)
    done = workspace.command("crate", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    by_id = entities((out / "ro-crate-metadata.json").read_bytes())
    root, action = by_id["./"], by_id[f"#run/{run}"]
    assert root["license"] == {"@id": "https://spdx.org/licenses/MIT"}
    assert root["author"] == {"@id": "https://orcid.org/0000-0002-1825-0097"}
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert by_id[root["publisher"]["@id"]]["url"] == "https://ror.org/05trd4x28"
    assert by_id["https://orcid.org/0000-0002-1825-0097"]["affiliation"] == root["publisher"]
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert action["startTime"] < action["endTime"]
    names = {key: [by_id[e["@id"]]["name"] for e in action[key]] for key in ("object", "result")}
    assert "odd key: a/b" in names["object"]
    assert {"a.txt", "loss", "bad"} <= {*names["result"]}
    values = [by_id[e["@id"]].get("value") for e in action["result"]]
    assert 0.5 in values and "nan" in values
    assert "Person" in by_id[action["agent"]["@id"]]["@type"]
    for instrument in action["instrument"]:
        assert by_id[instrument["@id"]]["softwareVersion"]
    assert (out / "artifacts" / "notes" / "a.txt").read_text() == "two"
    assert (out / "README.md").read_text().startswith("# Workflow card: Digits from pixels")
    # What is in the crate is what its description says.
    for part in root["hasPart"]:
        assert (out / part["@id"]).stat().st_size == int(by_id[part["@id"]]["contentSize"])
    assert "Recommended" not in done.stderr
    again = command("crate", *arguments)
    assert again.exit_code == 1 and "exists already" in again.output


def test_crate_without_the_artifacts_names_them(document, tmp_path):
    path, content = document
    alone = tmp_path / "prov.json"
    alone.write_text(json.dumps(content))
    done = command("crate", alone, "-o", tmp_path / "crate.zip")
    assert done.exit_code == 4
    assert "artifacts/notes/a.txt: not found" in done.output
    # The settings that fill the blanks.
    for blank in ("license: set license in", "authors: set authors", "publisher: set publisher"):
        assert blank in done.output
    with zipfile.ZipFile(tmp_path / "crate.zip") as crate:
        files = {"README.md", "provenance/prov.json", "ro-crate-metadata.json"}
        assert {*crate.namelist()} == files
        by_id = entities(crate.read("ro-crate-metadata.json"))
    assert by_id["#artifacts/notes/a.txt"]["@type"] == "CreativeWork"
    assert by_id["./"]["license"] == "No license is stated."
    named = command("crate", path, "-o", tmp_path / "named", "--no-files")
    assert named.exit_code == 0
    assert not (tmp_path / "named" / "artifacts").exists()


def test_crate_leaves_out_a_file_that_changed(document, tmp_path):
    _, content = document
    folder = tmp_path / "artifacts" / "notes"
    folder.mkdir(parents=True)
    (tmp_path / "prov.json").write_text(json.dumps(content))
    (folder / "a.txt").write_text("tow")  # as long as what was logged
    assert command("crate", tmp_path / "prov.json", "-o", tmp_path / "changed").exit_code == 4
    (folder / "a.txt").write_text("two")
    assert command("crate", tmp_path / "prov.json", "-o", tmp_path / "same").exit_code == 0


def test_crate_of_an_experiment(captured, tmp_path):
    workspace, finished, killed = captured
    store = ("--tracking-uri", workspace.uri)
    for experiment, run in (("demo", finished), ("0", killed)):
        done = command("crate", experiment, "-o", tmp_path / experiment, *store)
        assert done.exit_code == 0, done.output
        by_id = entities((tmp_path / experiment / "ro-crate-metadata.json").read_bytes())
        assert by_id["./"]["mentions"] == {"@id": f"#run/{run}"}
    # The killed run has no end, and the crate makes none up.
    assert "endTime" not in by_id[f"#run/{killed}"]
    assert "yprov-mlflow recover" in done.output
    absent = command("crate", "absent", "-o", tmp_path / "no", *store)
    assert absent.exit_code == 1
    assert "neither a run nor an experiment" in absent.output


def test_crate_of_documents_has_an_action_for_each_run(captured, tmp_path):
    workspace, *runs = captured
    assert command("convert", workspace.uri, "-o", tmp_path / "prov", "--workers", 1).exit_code == 0
    done = command("crate", tmp_path / "prov", "-o", tmp_path / "crate")
    by_id = entities((tmp_path / "crate" / "ro-crate-metadata.json").read_bytes())
    assert {e["@id"] for e in by_id["./"]["mentions"]} == {f"#run/{run}" for run in runs}
    assert f"{runs[0]}/artifacts/notes/a.txt: not found" in done.output
    for run in runs:
        assert by_id[by_id[f"#run/{run}"]["subjectOf"]["@id"]]["@type"] == "File"


ENGINE = {"engine": "snakemake", "engine_version": "9.1", "execution": "e1", "workflow": "digits"}
REMOTE = "https://github.com/example/digits.git"
START_NS = 1_767_322_800 * 10**9


def test_crate_with_a_workflow_has_its_steps_and_executions(tmp_path):
    log = Log()
    log.add(FactsCollected, "git", {"commit": "c" * 40, "remote": REMOTE, "entry_point": "fit.py"})
    log.add(FactsCollected, "workflow", {"tasks": [{**ENGINE, "task": "fit", "task_id": "2"}]})
    log.metric("loss", 0.5)
    log.add(RunUpdated, "FINISHED", None)
    prepare = TaskEntry({"task": "prepare", "task_id": "1"}, START_NS - 9, START_NS - 1, "FINISHED")
    prepare.outputs = [TaskFile("data.csv", "ab" * 32, 3)]
    fit = TaskEntry({"task": "fit", "task_id": "2"}, START_NS, START_NS + 9 * 10**9, "FINISHED")
    for name, each in (
        ("run", log.document()),
        ("flow", workflow_document(ENGINE, [fit, prepare])),
    ):
        (tmp_path / "prov" / name).mkdir(parents=True)
        (tmp_path / "prov" / name / "prov.json").write_bytes(each.to_json_bytes())
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text("rule all:\n")
    arguments = ("crate", tmp_path / "prov", "-o", tmp_path / "crate", "--workflow")
    done = command(*arguments, snakefile)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "crate" / "workflow" / "Snakefile").read_text() == "rule all:\n"
    by_id = entities((tmp_path / "crate" / "ro-crate-metadata.json").read_bytes())
    root = by_id["./"]
    main_workflow = by_id[root["mainEntity"]["@id"]]
    assert {e["@id"].split("/")[-2] for e in root["conformsTo"]} == {
        "process",
        "workflow",
        "provenance",
        "workflow-ro-crate",
    }
    assert by_id[main_workflow["programmingLanguage"]["@id"]]["name"] == "Snakemake"
    assert main_workflow["version"] == "c" * 40
    steps = [by_id[step["@id"]] for step in main_workflow["step"]]
    assert [step["name"] for step in steps] == ["prepare", "fit"]
    (organize,) = [e for e in by_id.values() if e["@type"] == "OrganizeAction"]
    assert by_id[organize["instrument"]["@id"]]["softwareVersion"] == "9.1"
    execution = by_id[organize["result"]["@id"]]
    assert execution["instrument"] == root["mainEntity"]
    assert execution["startTime"] < execution["endTime"]
    controls = [by_id[control["@id"]] for control in organize["object"]]
    actions = [by_id[control["object"]["@id"]] for control in controls]
    assert actions[1]["identifier"] == RUN_ID
    assert by_id[actions[0]["result"]["@id"]]["name"] == "data.csv"
    for action, step, control in zip(actions, steps, controls, strict=True):
        assert control["instrument"] == {"@id": step["@id"]}
        assert step["workExample"] == action["instrument"]
        assert {"@id": action["@id"]} in root["mentions"]


def test_workflow_that_no_document_names_is_an_error(document, tmp_path):
    path, _ = document
    done = command("crate", path, "-o", tmp_path / "crate", "--workflow", path)
    assert done.exit_code == 2
    assert "no document names a task of a workflow" in done.output
    assert not (tmp_path / "crate").exists()


# -- cards -------------------------------------------------------------------------------


def fields(card):
    return {
        (section["number"], section.get("name", ""), field): content
        for section in card["sections"]
        for field, content in section["fields"].items()
    }


def values(content):
    return [value["value"] for value in content["values"]]


def records_of(content):
    """Return the IRIs of all records of a document."""
    prefixes = content["prefix"]
    return {
        prefixes[key.partition(":")[0]] + key.partition(":")[2]
        for section in ("entity", "activity", "agent")
        for key in content.get(section, {})
    }


def test_card_fills_the_required_fields_and_links_each_value_to_its_record(document, who, tmp_path):
    path, content = document
    done = command("card", path, "--json", "--about", who, "-o", tmp_path / "card.json")
    assert done.exit_code == 0, done.output
    made = json.loads((tmp_path / "card.json").read_text())
    assert made["version"] == "v6"
    by_field = fields(made)
    assert values(by_field["1.", "", "name"]) == ["Digits from pixels"]
    assert values(by_field["2.", "", "status"]) == ["Completed"]
    assert values(by_field["4.1", "", "status_counts"]) == ["Completed: 1"]
    assert "lr: 0.1" in values(by_field["4.1", "", "arguments"])
    assert "loss: 0.5" in values(by_field["5.", "finished", "outputs"])
    assert "the last value of bad is nan" in values(by_field["4.4", "", "observations"])
    (file,) = values(by_field["6.2", "notes/a.txt", "reference"])
    assert file.startswith("runs:/") and file.endswith("/notes/a.txt")
    assert [key for key, field in by_field.items() if "blank" in field] == []
    known = records_of(content) | {content["prefix"]["run"] + "record"}
    for key, field in by_field.items():
        for value in field["values"]:
            assert value["records"] and known.issuperset(value["records"]), (key, value)


def test_card_names_blanks_with_what_fills_them(document):
    path, content = document
    done = command("card", path)
    assert "- **description**: not recorded; set description in" in done.stdout
    assert "1. description: set description in [tool.yprov-mlflow.about]" in done.stderr
    assert "- **version**: ~" in done.stdout
    loss = content["prefix"]["run"] + "metric/@run/loss"
    assert f"loss: 0.5 ([record](<{loss}>))" in done.stdout
    # Texts of users are not Markdown.
    assert "\\[bold\\]" in done.stdout


def test_card_of_several_runs_spreads_values(document, tmp_path):
    _, content = document
    other = json.loads(json.dumps(content).replace(content["prefix"]["run"], "urn:uuid:other#"))
    other["entity"]["run:param/lr"]["prov:value"] = "0.3"
    other["entity"]["run:param/lr"].pop("mlf:text", None)
    for name, each in (("a", content), ("b", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prov.json").write_text(json.dumps(each))
    done = command("card", tmp_path, "--json")
    by_field = fields(json.loads(done.stdout))
    assert "lr: min 0.1, median 0.2, max 0.3 (2 runs)" in values(by_field["4.1", "", "arguments"])
    assert values(by_field["5.", "finished", "task_count"]) == ["2"]
    (count,) = by_field["4.1", "", "status_counts"]["values"]
    assert count["value"] == "Completed: 2"
    assert count["records"] == [content["prefix"]["run"] + "run", "urn:uuid:other#run"]
