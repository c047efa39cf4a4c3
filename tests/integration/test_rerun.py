"""``yprov-mlflow rerun`` names what is missing before it starts, and writes nothing outside DIR."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.collectors import code, environment, git
from yprov_mlflow.prov.collectors.base import CollectorContext
from yprov_mlflow.prov.events import (
    CODE_FACTS,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    SessionStarted,
)
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.layout import KEPT, KEPT_CODE
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

RUN = "5f0c9b2e6d3a4b0f8a7c1d2e3f405162"
SCRIPT = """\
import sys
from pathlib import Path

import mlflow

with mlflow.start_run(run_name="fit"):
    mlflow.log_param("rate", sys.argv[1])
    mlflow.log_metric("loss", float(Path("data.csv").read_text()) / float(sys.argv[1]))
"""


def run_git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture(autouse=True)
def author(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.org")


class Lab:
    """A folder with a script, and the document of a run of it, made without running it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = folder.parent / "provenance" / "prov.json"
        self.into = folder.parent / "again"
        (folder / "sub").mkdir(parents=True)
        (folder / "train.py").write_text(SCRIPT)

    def commit(self) -> None:
        run_git(self.folder, "init", "-b", "main")
        run_git(self.folder, "add", ".")
        run_git(self.folder, "commit", "-m", "first")

    def capture(
        self,
        edit: Callable[[dict[str, Any]], None] = lambda facts: None,
        *,
        data: str | None = None,
        arguments: tuple[str, ...] = ("2",),
        loss: float = 3.0,
    ) -> None:
        """Write the document of a run, as the collectors see its process."""
        keep = self.document.parent / KEPT
        command = [sys.executable, "train.py", *arguments]
        context = CollectorContext(
            argv=command[1:], command=command, cwd=self.folder, keep=keep, environ={}
        )
        facts: dict[str, Any] = {
            CODE_FACTS: code.collect(context),
            "git": git.collect(command[1:], self.folder),
            "environment": environment.collect(),
        }
        for file in facts[CODE_FACTS]["files"]:
            target = self.document.parent / KEPT_CODE / facts[CODE_FACTS]["digest"] / file["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(keep / file["sha256"], target)
        edit(facts)
        source = json.dumps({"uri": data})
        dataset = {"name": "data", "digest": "12345678", "source": source, "tags": {}}
        started = {"argv": command[1:], "cwd": str(self.folder), "host": "h", "side": "client"}
        store = {"uuid": "0" * 32, "uri": "sqlite:////nowhere.db"}
        created = ("0", "Default", "fit", "ada", 1000, "/a", {"mlflow.runName": "fit"}, store)
        head = (RUN, "s")
        events = [
            SessionStarted(*head, 0, 10**9, started),
            RunCreated(*head, 1, 10**9 + 1, *created),
            *(
                FactsCollected(*head, 2 + i, 10**9 + 2 + i, name, found)
                for i, (name, found) in enumerate(facts.items())
            ),
            ParamsLogged(*head, 8, 10**9 + 8, {"rate": arguments[0]}),
            *([InputsLogged(*head, 9, 10**9 + 9, [dataset], [])] if data else []),
            MetricsLogged(*head, 10, 10**9 + 10, ["loss"], [loss], [1000], [0]),
            RunUpdated(*head, 11, 10**9 + 11, "FINISHED", 1001, None, None),
        ]
        self.document.parent.mkdir(exist_ok=True)
        self.document.write_bytes(prov_json.dumps(translate(events)))

    def rerun(self, *options: str) -> Result:
        words = ["rerun", str(self.document), "--into", str(self.into), "--environment", "current"]
        return CliRunner().invoke(main, [*words, *options])

    def plan(self, *options: str) -> list[tuple[str, str, str]]:
        """Return part, state and text of each finding, and test that nothing was written."""
        result = self.rerun("--dry-run", "--json", *options)
        assert result.exit_code == 0, result.output
        assert not self.into.exists()
        return [(i["part"], i["state"], i["text"]) for i in json.loads(result.stdout)["plan"]]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    folder = (tmp_path / "lab").resolve()
    lab = Lab(folder)
    (folder / "data.csv").write_text("6")
    return lab


def missing(plan: list[tuple[str, str, str]]) -> list[str]:
    return [text for _, state, text in plan if state == "missing"]


def outside(lab: Lab) -> Iterator[Path]:
    """Yield everything in the test's folder that is not the rerun's."""
    yield from (p for p in lab.folder.parent.rglob("*") if not p.is_relative_to(lab.into))


def test_changes_and_untracked_files_are_in_the_source_tree(lab: Lab) -> None:
    lab.commit()
    (lab.folder / "train.py").write_text(SCRIPT.replace('"fit"', '"again"'))
    (lab.folder / "new.py").write_text("x = 1\n")
    lab.capture()
    (lab.folder / "train.py").write_text("broken")
    before = sorted(outside(lab))
    with pytest.MonkeyPatch.context() as patch:
        # The interpreter is fast without MLflow; the command is tested on its own below.
        patch.setattr("yprov_mlflow.prov.rerun.execution.execute", lambda plan, output: 0)
        result = lab.rerun("--yes")
    assert result.exit_code == 1, "the command logged no run"
    assert "logged no run" in result.stderr
    assert '"again"' in (lab.into / "code" / "train.py").read_text()
    assert (lab.into / "code" / "new.py").read_text() == "x = 1\n"
    assert (lab.into / "code" / "data.csv").read_text() == "6"
    assert sorted(outside(lab)) == before


def test_a_killed_command_is_named(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    (lab.folder / "train.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    lab.capture()
    words = ["rerun", str(lab.document), "--into", str(lab.into), "--environment", "current"]
    with pytest.raises(SystemExit) as exit:
        main([*words, "--yes"])
    assert exit.value.code == 1
    assert "The command was ended by the signal SIGKILL" in capfd.readouterr().err


def test_commit_that_is_gone(lab: Lab) -> None:
    lab.commit()
    lab.capture()
    shutil.rmtree(lab.folder / ".git")
    (text,) = missing(lab.plan())
    assert "is in no repository here" in text
    result = lab.rerun("--yes")
    assert result.exit_code == 1
    assert "--repository" in result.output
    assert not lab.into.exists()


def test_another_clone_has_the_commit(lab: Lab, tmp_path: Path) -> None:
    lab.commit()
    lab.capture()
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", str(lab.folder), str(clone))
    shutil.rmtree(lab.folder / ".git")
    assert missing(lab.plan("--repository", str(clone))) == []


def test_without_git_the_commit_is_missing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.commit()
    lab.capture()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert any("is in no repository here" in text for text in missing(lab.plan()))


def test_changes_that_do_not_apply(lab: Lab) -> None:
    lab.commit()
    (lab.folder / "train.py").write_text(SCRIPT.replace('"fit"', '"again"'))
    lab.capture()
    (lab.folder / "train.py").write_text("other\n")
    run_git(lab.folder, "commit", "-am", "second")
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=lab.folder, text=True).strip()

    text = lab.document.read_text()
    commit = json.loads(text)["entity"]
    first = next(e["mlf:gitCommit"] for e in commit.values() if "mlf:gitCommit" in e)
    lab.document.write_text(text.replace(first, head))
    assert any("changes do not apply" in text for text in missing(lab.plan()))


def test_changes_that_were_not_kept(lab: Lab) -> None:
    lab.commit()
    (lab.folder / "train.py").write_text(SCRIPT + "\n")
    lab.capture(lambda facts: facts.pop(CODE_FACTS))
    assert "the code had changes that were not kept" in missing(lab.plan())


def test_kept_files_must_have_their_recorded_content(lab: Lab) -> None:
    lab.capture()
    for path in lab.document.parent.rglob("train.py"):
        path.write_text("import evil")
    assert any("train.py cannot be read" in text for text in missing(lab.plan()))


def test_data_that_changed_is_missing(lab: Lab) -> None:
    lab.capture(data="data.csv")
    (entry,) = (f for f in lab.plan() if f[0] == "data")
    assert entry[1:] == ("differs", "data.csv, dataset data is there; its content was not recorded")
    (lab.folder / "data.csv").unlink()
    assert missing(lab.plan()) == ["data.csv, dataset data does not exist any more"]


def test_recorded_files_are_compared_by_hash(lab: Lab) -> None:
    lab.capture()
    content = json.loads(lab.document.read_text())
    content["entity"]["run:file/1"] = {
        "prov:type": {"$": "mlf:File", "type": "xsd:QName"},
        "mlf:path": "data.csv",
        "mlf:sha256": "e7f6c011776e8db7cd330b54174fd76f7d0216b612387a5ffcfb81e6f0919683",
    }
    lab.document.write_text(json.dumps(content))
    assert ("data", "ready", "data.csv has the same content") in lab.plan()
    (lab.folder / "data.csv").write_text("7")
    assert missing(lab.plan()) == ["data.csv has changed since the run"]


def test_data_of_the_commit_need_not_be_here_any_more(lab: Lab) -> None:
    lab.commit()
    lab.capture(data="data.csv")
    (lab.folder / "data.csv").unlink()
    (entry,) = (entry for entry in lab.plan() if entry[0] == "data")
    assert entry[1] == "differs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yprov_mlflow.prov.rerun.execution.execute", lambda plan, output: 0)
        lab.rerun("--yes")
        assert (lab.into / "code" / "data.csv").read_text() == "6"
        shutil.rmtree(lab.into)
        lab.capture(data="gone.csv")
        result = lab.rerun("--yes")
    assert result.exit_code == 1
    assert "gone.csv, dataset data does not exist any more" in result.output


def test_folders_of_data_are_copied(lab: Lab) -> None:
    (lab.folder / "data" / "deep").mkdir(parents=True)
    (lab.folder / "data" / "deep" / "a.csv").write_text("1")
    lab.capture()
    content = json.loads(lab.document.read_text())
    content["entity"]["run:file/1"] = {
        "prov:type": {"$": "mlf:FileCollection", "type": "xsd:QName"},
        "mlf:path": str(lab.folder / "data"),
    }
    lab.document.write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yprov_mlflow.prov.rerun.execution.execute", lambda plan, output: 0)
        result = lab.rerun("--yes")
    assert "folders are not checked" in result.output
    assert (lab.into / "code" / "data" / "deep" / "a.csv").read_text() == "1"


def test_a_document_without_code(lab: Lab) -> None:
    def forget(facts: dict[str, Any]) -> None:
        facts.pop(CODE_FACTS)
        facts.pop("git")

    lab.capture(forget)
    parts = [part for part, state, _ in lab.plan() if state == "missing"]
    assert parts == ["code", "command"]
    result = lab.rerun("--yes", "--ignore-missing")
    assert result.exit_code == 1
    assert "there is no command to run" in result.output


@pytest.mark.parametrize(
    "path", ["../evil.py", "/tmp/evil.py", "sub/../../evil.py", ".git/hooks/x", "a//b", "a\\b"]
)
def test_hostile_names_stay_out(lab: Lab, path: str) -> None:
    lab.capture(lambda facts: facts[CODE_FACTS]["files"][0].update(path=f"files/{path}"))
    before = sorted(outside(lab))
    assert any("leads out of the source tree" in text for text in missing(lab.plan()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yprov_mlflow.prov.rerun.execution.execute", lambda plan, output: 0)
        lab.rerun("--yes", "--ignore-missing")
    assert sorted(outside(lab)) == before


def test_links_of_the_commit_are_not_followed(lab: Lab, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (lab.folder / "out").symlink_to(victim)
    (lab.folder / "file").symlink_to(victim / "file")
    lab.commit()
    (lab.folder / "new.py").write_text("x = 1\n")
    lab.capture(lambda facts: facts[CODE_FACTS]["files"][0].update(path="files/file"))
    for path in lab.document.parent.rglob("new.py"):
        path.rename(path.with_name("file"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yprov_mlflow.prov.rerun.execution.execute", lambda plan, output: 0)
        lab.rerun("--yes")
        assert not (lab.into / "code" / "file").is_symlink()
        shutil.rmtree(lab.into)
        lab.capture(lambda facts: facts[CODE_FACTS]["files"][0].update(path="files/out/x.py"))
        result = lab.rerun("--yes", "--ignore-missing")
    assert "through a link" in result.output or "cannot be read" in result.output
    assert not list(victim.iterdir())


@pytest.mark.parametrize("remote", ["ext::sh -c evil", "--upload-pack=evil", "-x"])
def test_hostile_remotes_are_not_used(lab: Lab, remote: str) -> None:
    lab.commit()
    lab.capture(lambda facts: facts["git"].update(remote=remote))
    shutil.rmtree(lab.folder / ".git")
    assert any("no remote is known" in text for text in missing(lab.plan()))


def test_a_document_sets_only_variables_that_are_recorded(lab: Lab) -> None:
    variables = {"LD_PRELOAD": "/evil.so", "PYTHONHASHSEED": "0"}
    lab.capture(lambda facts: facts[CODE_FACTS]["invocation"].update(variables=variables))
    result = lab.rerun("--dry-run", "--json")
    assert json.loads(result.stdout)["variables"] == {"PYTHONHASHSEED": "0"}


def test_withheld_arguments_are_missing_until_they_are_given(lab: Lab) -> None:
    lab.capture(arguments=("2", "--token", "abc"))
    assert missing(lab.plan()) == ["secrets in the command are not recorded"]
    assert missing(lab.plan("--", "2", "--token", "abc")) == []


def test_packages_that_are_not_from_an_index_are_named(lab: Lab) -> None:
    def add(facts: dict[str, Any]) -> None:
        facts["environment"] = {
            "python": environment.platform.python_version(),
            "packages": {"lab": "1.0", "gone": "2.0", "--evil": "1", "numpy": "1.26.4"},
            "local": {"lab": lab.folder.as_uri(), "gone": "file:///nowhere"},
        }

    lab.capture(add)
    plan = lab.plan("--environment", "new")
    assert any(
        "lab 1.0 is a local package" in text for _, state, text in plan if state != "missing"
    )
    assert missing(plan) == [
        "'--evil' '1' is not the name and version of a package",
        "gone 2.0 is a local package from file:///nowhere",
    ] or set(missing(plan)) == {
        "'--evil' '1' is not the name and version of a package",
        "gone 2.0 is a local package from file:///nowhere",
    }


def read_from_store(lab: Lab, uri: str) -> None:
    """Let the document say that the run read from its store."""
    content = json.loads(lab.document.read_text())
    content["used"]["run:usage/read"] = {
        "prov:activity": "run:run",
        "prov:entity": "store:model/clf/version/1",
        "prov:role": {"$": "mlf:loaded", "type": "xsd:QName"},
        "mlf:requested": "models:/clf@champion",
    }
    for record in content["entity"].values():
        if "mlf:TrackingStore" in str(record):
            record["mlf:uri"] = uri
    lab.document.write_text(json.dumps(content))


def test_a_store_that_cannot_be_copied_is_missing(lab: Lab) -> None:
    lab.capture()
    read_from_store(lab, "https://mlflow.example.org")
    (text,) = missing(lab.plan())
    assert text.startswith("the run read models:/clf@champion from https://mlflow.example.org")
    assert missing(lab.plan("--log-to", "https://mlflow.example.org")) == []


def test_a_copy_of_the_store_takes_new_runs(lab: Lab, empty_database: Path) -> None:
    lab.capture()
    read_from_store(lab, f"sqlite:///{empty_database}")
    before = empty_database.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yprov_mlflow.prov.rerun.execution.execute", lambda plan, output: 0)
        result = lab.rerun("--yes")
    assert "a copy of" in result.output
    with contextlib.closing(sqlite3.connect(lab.into / "mlflow.db")) as connection:
        ((location,),) = connection.execute("SELECT artifact_location FROM experiments")
    assert Path(location).is_relative_to(lab.into)
    assert empty_database.read_bytes() == before


def test_runs_have_the_names_of_the_index(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.capture()
    document = prov_json.loads(lab.document.read_bytes())
    graph = LocalGraph.in_memory([document])
    monkeypatch.setattr("yprov_mlflow.prov.capture.indexing.graph_of", lambda *_: graph)
    asked = []

    def load(run: str, uri: str | None) -> Document:
        asked.append(run)
        return document

    monkeypatch.setattr("yprov_mlflow.prov.capture.run_views.load_document", load)
    for name in ("fit", RUN[:6], "latest", RUN):
        result = CliRunner().invoke(main, ["rerun", name, "--dry-run", "--environment", "current"])
        assert result.exit_code == 0, result.output
    assert asked == [RUN] * 4
    result = CliRunner().invoke(main, ["rerun", "nothing", "--dry-run"])
    assert result.exit_code == 1
    assert "nothing" in result.output


def test_nothing_is_run_without_consent(lab: Lab) -> None:
    lab.capture()
    result = lab.rerun()
    assert result.exit_code == 2
    assert "--yes" in result.output
    assert not lab.into.exists()


def test_a_folder_with_files_is_refused(lab: Lab) -> None:
    lab.capture()
    lab.into.mkdir()
    (lab.into / "mine").touch()
    result = lab.rerun("--yes")
    assert result.exit_code == 2
    assert "not empty" in result.output
