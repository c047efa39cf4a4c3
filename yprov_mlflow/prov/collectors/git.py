"""The executed code: git commit, branch, remote, uncommitted changes, entry point.

The repository is that of the script; that of the working directory if the script is installed
software (pytest, a notebook kernel) or outside any repository.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, Collector, Unavailable
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.redaction import redact

TIMEOUT_S = 10.0
"""Time limit of one git command."""

# Git must neither take locks nor start a daemon in the user's repository.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=true")
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_LAUNCHERS = {"ipykernel_launcher.py", "colab_kernel_launcher.py"}


class GitError(Exception):
    """Git is not installed, timed out or failed."""


class Git(Collector):
    """Facts about the code; some of them, such as the entry point, need no git."""

    name = "git"

    def probe(self) -> Available | Unavailable:
        """Describe the script's repository, see ``collect``."""
        return Available(collect(self.context.argv, self.context.cwd))


def collect(argv: Sequence[str], cwd: Path) -> dict[str, Json]:
    """Return the facts about the code of a process.

    Args:
        argv: Arguments of the process, starting with the script (``sys.argv``).
        cwd: Working directory of the process.

    Returns:
        ``commit`` (None before the first), ``commit_time`` (s since the epoch), ``branch`` (None
        when detached), ``remote`` (without credentials), ``dirty`` (tracked files differ from the
        commit), ``diff_sha256`` (of the output of ``git diff HEAD``; None when not dirty or on
        failure) and ``untracked`` (number of untracked entries in ``git status``), or
        ``unavailable``; then ``entry_point`` (path in the repository, absolute when outside) and
        ``entry_point_sha256`` if the script is a file.
    """
    script = script_path(argv, cwd)
    root: Path | None = None
    try:
        root = repository_root(script, cwd)
        facts = _repository(root)
    except GitError as error:
        facts = {"unavailable": str(error)}
    if script is not None:
        try:
            with script.open("rb") as file:
                facts["entry_point_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return facts
        inside = root is not None and script.is_relative_to(root)
        facts["entry_point"] = (script.relative_to(root) if inside and root else script).as_posix()
    return facts


def script_path(argv: Sequence[str], cwd: Path) -> Path | None:
    """Return the script of a process, if it is a file and not the launcher of a notebook."""
    if not argv or not argv[0] or argv[0] in ("-c", "-m"):
        return None
    try:
        path = (cwd / argv[0]).resolve()
        return path if path.is_file() and path.name not in _LAUNCHERS else None
    except (OSError, ValueError):  # programs overwrite sys.argv: name too long, NUL character
        return None


def repository_root(script: Path | None, cwd: Path) -> Path:
    """Return the root of the repository of a script, or else of the working directory.

    Raises:
        GitError: Neither is in a repository, or git does not work.
    """
    if script is not None and not is_installed(script):
        with suppress(GitError):
            return _toplevel(script.parent)
    return _toplevel(cwd)


def _toplevel(folder: Path) -> Path:
    return Path(os.fsdecode(call_git(folder, "rev-parse", "--show-toplevel")).rstrip("\n"))


def is_installed(script: Path) -> bool:
    """Return whether a file is part of the installed software of this interpreter."""
    prefix = Path(sys.prefix).resolve()
    return "site-packages" in script.parts or script.is_relative_to(prefix / "bin")


def _repository(root: Path) -> dict[str, Json]:
    facts: dict[str, Json] = {"commit": None, "branch": None, "remote": _remote(root)}
    dirty, untracked = False, 0
    entries = iter(call_git(root, "status", "--porcelain=v2", "--branch", "-z").split(b"\0"))
    for entry in entries:
        kind, _, details = entry.partition(b" ")
        if kind == b"#":
            key, _, value = os.fsdecode(details).partition(" ")
            if key == "branch.oid" and value != "(initial)":
                facts["commit"] = value
            elif key == "branch.head" and value != "(detached)":
                facts["branch"] = value
        elif kind == b"?":
            untracked += 1
        elif kind:
            dirty = True
            if kind == b"2":  # a rename: the old path is a separate entry
                next(entries, None)
    facts |= {"dirty": dirty, "untracked": untracked, "diff_sha256": None}
    if facts["commit"]:
        with suppress(GitError, ValueError):
            facts["commit_time"] = int(call_git(root, "show", "--no-patch", "--format=%ct", "HEAD"))
    if dirty and facts["commit"]:
        with suppress(GitError, OSError):  # timeout, or no space for the temporary file
            facts["diff_sha256"] = _diff_sha256(root)
    return facts


def _remote(root: Path) -> str | None:
    try:
        listing = call_git(root, "config", "-z", "--get-regexp", r"^remote\..*\.url$")
    except GitError:  # no remote is configured
        return None
    remotes = [os.fsdecode(entry).partition("\n") for entry in listing.split(b"\0") if entry]
    urls = {key: url for key, _, url in reversed(remotes)}
    url = urls.get("remote.origin.url", remotes[0][2] if remotes else None)
    return redact(url) if url else None


def _diff_sha256(root: Path) -> str:
    with tempfile.TemporaryFile() as output:  # a diff may not fit in memory
        plain = ("--no-ext-diff", "--no-textconv", "--no-color")
        call_git(root, "diff", *plain, "HEAD", stdout=output.fileno())
        output.seek(0)
        return hashlib.file_digest(output, "sha256").hexdigest()


def call_git(folder: Path, *arguments: str, stdout: int = subprocess.PIPE) -> bytes:
    """Call git in a folder, within a time limit, and return its output.

    Raises:
        GitError: It is not installed, failed or took too long.
    """
    try:
        process = subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        reason = "git is not installed" if folder.is_dir() else f"the folder {folder} is missing"
        raise GitError(reason) from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took more than {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise GitError(f"git cannot be run: {error}") from None
    if process.returncode != 0:
        message = process.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise GitError(message or f"git {arguments[0]} failed")
    return process.stdout or b""
