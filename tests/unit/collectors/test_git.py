import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from yprov_mlflow.prov.collectors import git as code


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.org")
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    git(folder, "init", "-b", "main")
    (folder / "src" / "train.py").write_text("print('training')\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first", "--date=2001-02-03T04:05:06Z")
    return folder.resolve()


def test_clean_repository(repository):
    facts = code.collect(["src/train.py", "--lr", "0.1"], repository)
    assert facts == {
        "commit": git(repository, "rev-parse", "HEAD").decode().strip(),
        "commit_time": int(git(repository, "log", "-1", "--format=%ct")),
        "branch": "main",
        "remote": None,
        "dirty": False,
        "untracked": 0,
        "diff_sha256": None,
        "entry_point": "src/train.py",
        "entry_point_sha256": hashlib.sha256(b"print('training')\n").hexdigest(),
    }


def test_uncommitted_changes_are_hashed(repository):
    (repository / "src" / "train.py").write_text("print('more')\n")
    (repository / "notes ü.txt").write_text("untracked")
    facts = code.collect(["src/train.py"], repository)
    assert facts["dirty"] is True
    assert facts["untracked"] == 1
    assert facts["diff_sha256"] == hashlib.sha256(git(repository, "diff", "HEAD")).hexdigest()
    git(repository, "add", "src")
    assert code.collect([""], repository)["diff_sha256"] == facts["diff_sha256"]


def test_untracked_files_are_not_dirty(repository):
    (repository / "data.csv").write_text("1,2\n")
    facts = code.collect([""], repository)
    assert (facts["dirty"], facts["untracked"], facts["diff_sha256"]) == (False, 1, None)
    assert "entry_point" not in facts


def test_rename(repository):
    (repository / "? old").write_text("a name that looks like an untracked file's entry\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "second")
    git(repository, "mv", "? old", "new")
    facts = code.collect([""], repository)
    assert (facts["dirty"], facts["untracked"]) == (True, 0)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ada:secret@example.org/lab/model.git", "https://example.org/lab/model.git"),
        ("https://token@example.org/lab/model.git", "https://example.org/lab/model.git"),
        ("git@example.org:lab/model.git", "git@example.org:lab/model.git"),
    ],
)
def test_remote_without_credentials(repository, url, kept):
    git(repository, "remote", "add", "backup", "https://backup.example.org/x.git")
    git(repository, "remote", "add", "origin", url)
    assert code.collect([""], repository)["remote"] == kept


def test_first_remote_without_origin(repository):
    git(repository, "remote", "add", "upstream", "https://example.org/up.git")
    assert code.collect([""], repository)["remote"] == "https://example.org/up.git"


def test_detached_head_and_no_commit_yet(repository, tmp_path):
    git(repository, "checkout", "--detach")
    assert code.collect([""], repository)["branch"] is None
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    git(fresh, "init", "-b", "trunk")
    (fresh / "a.py").touch()
    git(fresh, "add", "a.py")
    facts = code.collect(["a.py"], fresh)
    assert (facts["commit"], facts["branch"], facts["dirty"]) == (None, "trunk", True)
    assert facts["diff_sha256"] is None


def test_repository_of_the_script(repository, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-b", "elsewhere")
    facts = code.collect([str(repository / "src" / "train.py")], other)
    assert (facts["branch"], facts["entry_point"]) == ("main", "src/train.py")


@pytest.mark.parametrize("program", ["bin/train", "lib/python3/site-packages/lab/train.py"])
def test_installed_program_uses_working_directory(repository, tmp_path, monkeypatch, program):
    tools = tmp_path / "tools"
    git(tmp_path, "init", "-b", "tools", "tools")
    script = tools / ".venv" / program
    script.parent.mkdir(parents=True)
    script.touch()
    monkeypatch.setattr(sys, "prefix", str(tools / ".venv"))
    facts = code.collect([str(script)], repository)
    assert facts["branch"] == "main"
    assert facts["entry_point"] == script.resolve().as_posix()


def test_outside_a_repository(repository, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "train.py").write_text("1\n")
    facts = code.collect(["train.py"], folder)
    assert "not a git repository" in facts["unavailable"]
    assert facts["entry_point"] == (folder / "train.py").resolve().as_posix()
    assert "commit" not in facts


def test_without_git(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    facts = code.collect(["src/train.py"], repository)
    assert facts["unavailable"] == "git is not installed"
    assert facts["entry_point_sha256"] == hashlib.sha256(b"print('training')\n").hexdigest()


def test_git_timeout_and_failure(repository, monkeypatch, tmp_path):
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(code, "TIMEOUT_S", 0.2)
    assert "took more than 0.2 s" in code.collect([""], repository)["unavailable"]
    monkeypatch.setattr(code, "TIMEOUT_S", 10.0)
    program.write_text("#!/bin/sh\necho 'fatal: dubious ownership' >&2\nexit 128\n")
    assert code.collect([""], repository)["unavailable"] == "fatal: dubious ownership"


def test_diff_timeout(repository, monkeypatch, tmp_path):
    (repository / "src" / "train.py").write_text("print('more')\n")
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" diff "*) exec sleep 60 ;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o755)
    commit = git(repository, "rev-parse", "HEAD").decode().strip()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(code, "TIMEOUT_S", 1.0)
    facts = code.collect(["src/train.py"], repository)
    assert (facts["commit"], facts["dirty"], facts["diff_sha256"]) == (commit, True, None)


def test_diff_without_temporary_folder(repository, monkeypatch, tmp_path):
    (repository / "src" / "train.py").write_text("print('more')\n")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    facts = code.collect(["src/train.py"], repository)
    assert (facts["branch"], facts["dirty"], facts["diff_sha256"]) == ("main", True, None)


@pytest.mark.parametrize("argv", [[], [""], ["-c"], ["-m"], ["missing.py"], ["x" * 5000], ["a\0b"]])
def test_no_script(repository, argv):
    facts = code.collect(argv, repository)
    assert facts["branch"] == "main"
    assert "entry_point" not in facts


def test_notebook_kernel_is_not_an_entry_point(repository):
    (repository / "ipykernel_launcher.py").touch()
    assert "entry_point" not in code.collect(["ipykernel_launcher.py"], repository)


def test_deleted_working_directory(repository, tmp_path):
    assert "is missing" in code.collect([""], tmp_path / "gone")["unavailable"]


def test_repository_is_unchanged(repository):
    index = repository / ".git" / "index"
    os.utime(repository / "src" / "train.py", (1, 1))  # a plain git status refreshes the index
    before = index.read_bytes()
    code.collect(["src/train.py"], repository)
    assert index.read_bytes() == before
