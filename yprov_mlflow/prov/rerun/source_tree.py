"""The source tree of a rerun: a commit with its changes, or the files that were kept.

Paths, patches and URLs come from the document, and may be hostile: nothing is written outside of
the folder, no hook or helper of a repository runs, and only plain transports are used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from yprov_mlflow.prov.errors import RerunError
from yprov_mlflow.prov.rerun.plan import Content, Plan
from yprov_mlflow.prov.rerun.recipe import KeptFile, Recipe

_TIMEOUT_S = 1800.0  # of a clone
_QUICK_S = 20.0
_GIT = (
    *("git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    *("-c", "protocol.ext.allow=never", "-c", "submodule.recurse=false", "-c", "gc.auto=0"),
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "LC_ALL": "C",
}
_LOCAL = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"})
_URL = re.compile(r"(?:https?|ssh|git|file)://[^\s-]\S*|[\w.][\w.-]*@[\w.][\w.-]*:\S+|/\S+")
_FIND = "Put the document beside its folder `code`, or name the run's store with --tracking-uri"
_NOT_TREE = frozenset({"", ".", ".."})


def plan_code(plan: Plan, recipe: Recipe, content: Content, repository: Path | None) -> None:
    """Add the source tree to a plan: findings, and the steps that make it."""
    files = [*recipe.files, *((file.path, file) for file in [recipe.script] if file is not None)]
    if recipe.commit is not None:
        _plan_checkout(plan, recipe, content, repository)
    elif files or recipe.cells:
        plan.add("code", "ready", "no commit; the kept files are used alone")
        plan.steps.append(("make the source tree", lambda: plan.code_folder.mkdir(parents=True)))
    else:
        plan.add(
            *("code", "missing", "the document names no commit, and no file of the code was kept"),
            "Log the run with the collector `code` (on by default)",
        )
    for path, file in [*files, *((f.path, f) for f in [recipe.cells] if f is not None)]:
        _plan_file(plan, content, path, file)
    for path, reason in recipe.not_kept:
        _plan_original(plan, recipe, path, reason)


# -- the commit --------------------------------------------------------------------------


def _plan_checkout(plan: Plan, recipe: Recipe, content: Content, repository: Path | None) -> None:
    commit, short = str(recipe.commit), str(recipe.commit)[:12]
    local = next(_repositories_with(commit, recipe, repository), None)
    remote = recipe.remote if recipe.remote and _URL.fullmatch(recipe.remote) else None
    source = str(local) if local is not None else remote
    if local is not None:
        plan.add("code", "ready", f"commit {short} from {local}")
    elif remote is not None:
        plan.add("code", "ready", f"commit {short} from {remote}, if it is there")
    else:
        plan.add(
            *(
                "code",
                "missing",
                f"commit {short} is in no repository here, and no remote is known",
            ),
            "Pass a clone that has it with --repository",
        )
    patch = recipe.patch
    changes = content(patch.path, patch.sha256) if patch is not None else None
    if patch is not None and changes is None:
        plan.add("code", "missing", "the kept changes since the commit cannot be read", _FIND)
    elif patch is None and recipe.is_dirty and not recipe.files:
        cure = "Use --ignore-missing to run the commit without them"
        plan.add("code", "missing", "the code had changes that were not kept", cure)
    elif changes is not None and local is not None and (reason := _misfit(local, commit, changes)):
        cure = "Use --ignore-missing to run the commit without them"
        plan.add("code", "missing", f"the kept changes do not apply: {reason}", cure)
        changes = None
    elif changes is not None:
        plan.add("code", "ready", f"changes since the commit, {len(changes):,} bytes")
    if source is not None:
        plan.steps.append(
            (f"check out {short}", lambda: _check_out(source, commit, plan.code_folder))
        )
    else:
        plan.steps.append(("make the source tree", lambda: plan.code_folder.mkdir(parents=True)))
    if changes is not None and source is not None:
        plan.steps.append(("apply the changes", lambda: _apply(plan.code_folder, changes)))


def _repositories_with(commit: str, recipe: Recipe, repository: Path | None) -> Iterator[Path]:
    """Yield the local repositories that have a commit, the one that the user named first."""
    origin = recipe.invocation.origin if recipe.invocation is not None else None
    candidates = [repository, origin, recipe.working_folder, Path.cwd()]
    for folder in dict.fromkeys(Path(c) for c in candidates if c):
        if not (folder.is_absolute() and folder.is_dir()):
            continue
        try:
            top = _git(folder, "rev-parse", "--show-toplevel", timeout_s=_QUICK_S)
            _git(folder, "cat-file", "-e", f"{commit}^{{commit}}", timeout_s=_QUICK_S)
        except RerunError:
            continue
        yield Path(os.fsdecode(top).rstrip("\n"))


def _misfit(repository: Path, commit: str, changes: bytes) -> str:
    """Return why changes do not apply to a commit, tried in an index of its own; "" if they do."""
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        try:
            _git(repository, "read-tree", commit, environ=index)
            _git(repository, "apply", "--cached", "--check", "-", content=changes, environ=index)
        except RerunError as error:
            return error.what
    return ""


def _check_out(source: str, commit: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    clone = ("clone", "--quiet", "--no-checkout", "--no-recurse-submodules", "--template=")
    _git(folder.parent, *clone, "--", source, folder.name)
    try:
        _git(folder, "checkout", "--quiet", "--detach", commit)
    except RerunError:
        # A commit of no branch is not cloned, but a server may have it.
        try:
            _git(folder, "fetch", "--quiet", "origin", commit)
            _git(folder, "checkout", "--quiet", "--detach", commit)
        except RerunError as error:
            cure = "Pass a clone that has it with --repository"
            raise RerunError(f"commit {commit[:12]} is gone", source, cure) from error


def _apply(folder: Path, changes: bytes) -> None:
    try:
        _git(folder, "apply", "--whitespace=nowarn", "-", content=changes)
    except RerunError as error:
        what = f"the kept changes do not apply: {error.what}"
        raise RerunError(what, str(folder), "Use another clone with --repository") from error


def _git(
    folder: Path,
    *arguments: str,
    content: bytes | None = None,
    environ: dict[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> bytes:
    # GIT_DIR and the like of a hook would name another repository.
    inherited = {key: value for key, value in os.environ.items() if key not in _LOCAL}
    try:
        process = subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env={**inherited, **_ENVIRONMENT, **(environ or {})},
            input=content if content is not None else b"",
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise RerunError("git is not installed", None, "Install git") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RerunError(f"git {arguments[0]} failed: {error}", str(folder)) from None
    if process.returncode != 0:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        reason = next((line for line in lines if line), f"git {arguments[0]} failed")
        raise RerunError(reason.rstrip("."), str(folder))
    return process.stdout


# -- files --------------------------------------------------------------------------------


def _plan_file(plan: Plan, content: Content, path: str, file: KeptFile) -> None:
    if not is_safe(path):
        cure = "The document is damaged or hostile; --ignore-missing leaves the file out"
        plan.add("code", "missing", f"the path {path!r} leads out of the source tree", cure)
        return
    kept = content(file.path, file.sha256)
    if kept is None:
        plan.add("code", "missing", f"the kept file {path} cannot be read", _FIND)
        return
    if file.withheld:
        cure = f"Put the secrets into {plan.code_folder / path}, or into the environment"
        plan.add("code", "differs", f"{path} is kept without its secrets", cure)
    else:
        plan.add("code", "ready", f"{path} is kept")
    plan.steps.append((f"write {path}", lambda: write_inside(plan.code_folder, path, kept)))


def _plan_original(plan: Plan, recipe: Recipe, kept_path: str, reason: str) -> None:
    """Add a file that was not kept: the one where the run found it, if it is still there."""
    path = kept_path.partition("/")[2]
    origin = recipe.invocation.origin if recipe.invocation is not None else None
    original = Path(origin, path) if origin and is_safe(path) else None
    if original is None or original.is_symlink() or not original.is_file():
        cure = "Copy it into the source tree if the code needs it"
        plan.add("code", "differs", f"{kept_path} was not kept: {reason}", cure)
        return
    plan.add("code", "differs", f"{path} was not kept ({reason}); today's {original} is copied")
    plan.steps.append((f"copy {path}", lambda: copy_inside(plan.code_folder, path, original)))


def is_safe(path: str) -> bool:
    """Return whether a path of a document stays inside a folder and out of git's own files."""
    if "\0" in path or "\\" in path or PurePosixPath(path).is_absolute():
        return False
    return not any(part in _NOT_TREE or part.lower() == ".git" for part in path.split("/"))


def write_inside(root: Path, path: str, content: bytes) -> None:
    """Write a file below a folder, through no link.

    Raises:
        RerunError: A part of the path is a link or not a folder, or the disk rejects it.
    """
    target = _target(root, path)
    try:
        target.unlink(missing_ok=True)  # a link of the commit, which must not be followed
        with open(target, "xb") as file:
            file.write(content)
    except OSError as error:
        raise RerunError.unwritable(str(target), error) from error


def copy_inside(root: Path, path: str, original: Path) -> None:
    """Copy a file or folder to a path below a folder, through no link; see ``write_inside``."""
    target = _target(root, path)
    try:
        target.unlink(missing_ok=True)
        if original.is_dir():
            shutil.copytree(original, target, ignore_dangling_symlinks=True)
        else:
            shutil.copyfile(original, target)
    except OSError as error:
        raise RerunError.unwritable(str(target), error) from error


def _target(root: Path, path: str) -> Path:
    *folders, name = path.split("/")
    folder = root
    for part in folders:
        folder = folder / part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            what = f"the path {path!r} leads through a link or file"
            raise RerunError(what, str(folder), "The document is damaged or hostile")
        folder.mkdir(exist_ok=True)
    return folder / name
