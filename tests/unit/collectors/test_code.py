"""The code that is kept of a process: patch, files, command; never secrets, never unbounded."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors import code, git
from yprov_mlflow.prov.collectors.base import CollectorContext


def run_git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.org")
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    run_git(folder, "init", "-b", "main")
    (folder / "src" / "train.py").write_text("import os\nprint('training')\n")
    (folder / "settings.py").write_text('password = "hunter22"\nrate = 1\n')
    (folder / ".gitignore").write_text("ignored\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-m", "first")
    return folder.resolve()


def collect(cwd, *command, **options):
    keep = cwd.parent / "state" / "kept"
    arguments = {"argv": [command[-1]], "command": [sys.executable, *command], "environ": {}}
    context = CollectorContext(cwd=cwd, keep=keep, **{**arguments, **options})
    facts = code.collect(context)
    assert json.loads(json.dumps(facts)) == facts
    return facts, {file["path"]: (keep / file["sha256"]).read_bytes() for file in facts["files"]}


def refused(facts):
    return {entry["path"]: entry["reason"] for entry in facts.get("not_kept", ())}


def test_patch_and_untracked_files_restore_the_working_tree(repository, tmp_path):
    (repository / "src" / "train.py").write_text("import os\nprint('more')\n")
    (repository / "src" / "a new ü.py").write_text("x = 1\n")
    (repository / "ignored").write_text("no")
    facts, files = collect(repository, "src/train.py")
    assert set(files) == {"changes.patch", "files/src/a new ü.py"}
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", str(repository), str(clone))
    subprocess.run(["git", "apply"], input=files["changes.patch"], cwd=clone, check=True)
    assert (clone / "src" / "train.py").read_text() == "import os\nprint('more')\n"
    assert files["files/src/a new ü.py"] == b"x = 1\n"
    for file in facts["files"]:
        assert hashlib.sha256(files[file["path"]]).hexdigest() == file["sha256"]


def test_only_the_owner_can_read_kept_files(repository):
    (repository / "new.py").write_text("x = 1\n")
    collect(repository, "new.py")
    kept = repository.parent / "state" / "kept"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (kept, *kept.iterdir())}
    assert modes == {0o700, 0o600}


def test_a_clean_repository_keeps_nothing(repository):
    facts, files = collect(repository, "src/train.py")
    assert files == {}
    assert "digest" not in facts and "not_kept" not in facts


def test_user_settings_of_git_do_not_change_the_patch(repository):
    (repository / "src" / "train.py").write_text("import os\nprint('more')\n")
    _, plain = collect(repository, "src/train.py")
    for key, value in (
        ("diff.noprefix", "true"),
        ("diff.external", "false"),
        ("color.ui", "always"),
        ("diff.renames", "copies"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.context", "0"),
    ):
        run_git(repository, "config", key, value)
    assert collect(repository, "src/train.py")[1] == plain


def test_a_changed_file_with_a_secret_is_kept_whole_without_it(repository):
    (repository / "settings.py").write_text('password = "hunter22"\nrate = 2\n')
    (repository / "src" / "train.py").write_text("import os\nprint('more')\n")
    facts, files = collect(repository, "src/train.py")
    assert b"settings" not in files["changes.patch"]
    assert files["files/settings.py"] == b'password = "(withheld)"\nrate = 2\n'
    (entry,) = (file for file in facts["files"] if file["path"] == "files/settings.py")
    assert entry["withheld"] is True


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env", "A=1"),
        ("server.pem", "x"),
        ("id_rsa", "x"),
        ("credentials.json", "{}"),
        ("notes.txt", "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n"),
        ("multi.py", 'password = """ab\ncd"""\n'),
    ],
)
def test_files_with_secrets_are_not_kept(repository, name, content):
    (repository / name).write_text(content)
    facts, files = collect(repository, "src/train.py")
    assert files == {}
    assert "secret" in refused(facts)[f"files/{name}"]


def test_large_binary_and_linked_files_are_named_but_not_kept(repository):
    (repository / "large.csv").write_text("1,2\n" * 100_000)
    (repository / "weights.bin").write_bytes(b"\0\1")
    (repository / "link.py").symlink_to("/etc/hostname")
    facts, files = collect(repository, "src/train.py")
    assert files == {}
    assert refused(facts) == {
        "files/large.csv": "it has 400,000 bytes",
        "files/weights.bin": "it is not text",
        "files/link.py": "it is not a regular file",
    }


def test_all_kept_files_together_are_bounded(repository):
    for number in range(200):
        (repository / f"{number}.txt").write_text("x" * number)
    (repository / "model.py").write_text("x = 1\n")
    facts, files = collect(repository, "src/train.py")
    assert len(files) == code.MAX_FILES
    assert "files/model.py" in files  # code comes first
    assert facts["not_kept_count"] == 101
    assert len(facts["not_kept"]) == code.MAX_REASONS


def test_runs_of_mlflow_are_not_code(repository):
    (repository / "mlruns" / "0").mkdir(parents=True)
    (repository / "mlruns" / "0" / "meta.yaml").write_text("a: 1\n")
    assert collect(repository, "src/train.py")[1] == {}


def test_a_repository_without_commit_keeps_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    run_git(tmp_path, "init")
    (tmp_path / "train.py").write_text("x = 1\n")
    assert collect(tmp_path.resolve(), "train.py")[1] == {"files/train.py": b"x = 1\n"}


def test_without_repository_the_script_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "train.py").write_text("import os\n")
    (folder / "other.py").write_text("x = 1\n")
    facts, files = collect(tmp_path.resolve(), "lab/train.py")
    assert files == {"files/lab/train.py": b"import os\n"}
    assert "problem" not in facts
    assert facts["invocation"]["origin"] == str(tmp_path.resolve())
    assert facts["invocation"]["repository"] is False


def test_without_git_the_script_is_kept(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert set(collect(repository, "src/train.py")[1]) == {"files/src/train.py"}


def test_git_that_hangs_leaves_a_reason(repository, monkeypatch, tmp_path):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\ncase $* in *toplevel*) echo {repository};; *) sleep 9;; esac\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git, "TIMEOUT_S", 0.2)
    facts, files = collect(repository, "src/train.py")
    assert files == {}
    assert "more than 0.2 s" in facts["problem"]


@pytest.mark.parametrize(
    ("command", "kind", "target", "options", "arguments"),
    [
        (["-O", "src/train.py", "--lr", "1"], "script", "src/train.py", ["-O"], ["--lr", "1"]),
        (["-X", "dev", "-m", "lab.train", "-c"], "module", "lab.train", ["-X", "dev"], ["-c"]),
        (["-Wignore", "-Bm", "lab"], "module", "lab", ["-Wignore", "-B"], []),
        (["-c", "print(1)", "2"], "code", "print(1)", [], ["2"]),
        (["-"], "other", "", [], []),
    ],
)
def test_commands_are_understood(repository, command, kind, target, options, arguments):
    whole = [sys.executable, *command]
    argv = ["src/train.py"] if kind == "script" else ["-c"]
    facts, _ = collect(repository, "", argv=argv, command=whole)
    invocation = facts["invocation"]
    assert (invocation["kind"], invocation["target"]) == (kind, target)
    assert (invocation["options"], invocation["arguments"]) == (options, arguments)
    assert invocation["folder"] == "."


def test_command_has_chosen_variables_and_no_secrets(repository):
    command = [sys.executable, "src/train.py", "--api-key", "abc", "--lr", "1"]
    environ = {"OMP_NUM_THREADS": "2", "AWS_SECRET_ACCESS_KEY": "abc", "HOME": "/home/ada"}
    facts, _ = collect(repository, "", argv=["src/train.py"], command=command, environ=environ)
    assert facts["invocation"]["variables"] == {"OMP_NUM_THREADS": "2"}
    assert facts["invocation"]["arguments"] == ["--api-key", "(withheld)", "--lr", "1"]


def test_an_installed_program_is_no_script_of_the_user(repository):
    program = str(Path(sys.prefix) / "bin" / "pytest")
    facts, files = collect(repository, program)
    assert files == {}
    assert (facts["invocation"]["kind"], facts["invocation"]["target"]) == ("program", "pytest")
