"""The code that ran, kept: changes since the commit, files that git lacks, and the command.

Texts are kept without secrets (``redaction``), within limits of size. A changed file with a secret
is kept as a whole and not as a part of the patch, so that the patch always applies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import posixpath
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.base import Available, Collector, CollectorContext
from yprov_mlflow.prov.collectors.git import (
    GitError,
    call_git,
    is_installed,
    repository_root,
    script_path,
)
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.layout import (
    KEPT_FILES,
    KEPT_PATCH,
    KEPT_SCRIPT,
    PRIVATE_FILE,
    private_folder,
)
from yprov_mlflow.prov.redaction import (
    is_secret_file,
    redact,
    redact_arguments,
    redact_source,
)

MAX_FILE_BYTES = 256 * 1024
MAX_TOTAL_BYTES = 2 * 1024 * 1024
MAX_FILES = 100
MAX_REASONS = 50  # files that a document names as not kept

VARIABLES = (
    "OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS NUMEXPR_NUM_THREADS"
    " CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG"
    " NVIDIA_TF32_OVERRIDE PYTORCH_CUDA_ALLOC_CONF PYTHONHASHSEED PYTHONPATH PYTHONOPTIMIZE"
    " TF_DETERMINISTIC_OPS TF_ENABLE_ONEDNN_OPTS TOKENIZERS_PARALLELISM XLA_FLAGS JAX_PLATFORMS"
    " JAX_ENABLE_X64 MLFLOW_EXPERIMENT_NAME LANG LC_ALL TZ"
).split()
"""Environment variables that may change results; only these are recorded."""

# Folders of stores and caches, whose files are not code even where git does not ignore them.
_NO_CODE = frozenset(
    "mlruns mlartifacts outputs wandb __pycache__ node_modules site-packages .venv venv .git"
    " .ipynb_checkpoints .pytest_cache .mypy_cache .ruff_cache".split()
)
_CODE_FIRST = (".py", ".ipynb", ".sh", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".json", ".txt")
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--full-index"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--ignore-submodules=dirty"),
)
_SECTION = re.compile(rb"^diff --git ", re.MULTILINE)
_UNTRACKED = ("--others", "--exclude-standard")
_VALUE_OPTIONS = ("-W", "-X", "--check-hash-based-pycs")


class Code(Collector):
    """Keeps the code and the command of a process."""

    name = "code"

    def probe(self) -> Available:
        """Keep the code, see ``collect``."""
        return Available(collect(self.context))


class KeptCode:
    """The files that are kept of one process, and the reasons why others are not.

    Args:
        folder: Folder for the content of files; None to only describe them.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files: list[dict[str, Json]] = []
        self._not_kept: list[dict[str, Json]] = []
        self._left = MAX_TOTAL_BYTES

    def add(self, path: str, content: bytes, *, withheld: bool = False) -> None:
        """Keep a content under a path; one that exceeds the limits is reported instead."""
        if len(content) > self._left or len(self._files) >= MAX_FILES:
            self.refuse(path, "the limit of all kept files is reached")
            return
        self._left -= len(content)
        sha256 = hashlib.sha256(content).hexdigest()
        if self._folder is not None:
            keep(self._folder, sha256, content)
        entry: dict[str, Json] = {"path": path, "sha256": sha256, "size": len(content)}
        self._files.append({**entry, "withheld": True} if withheld else entry)

    def add_source(self, path: str, content: bytes) -> None:
        """Keep a text file without its secrets."""
        if reason := _reason_to_refuse(path, content):
            self.refuse(path, reason)
            return
        text = content.decode()
        source = redact_source(text, path)
        if source is None:
            self.refuse(path, "it contains a secret")
        else:
            self.add(path, source.encode(), withheld=source != text)

    def refuse(self, path: str, reason: str) -> None:
        """Report a file that is not kept."""
        self._not_kept.append({"path": path, "reason": reason})

    def facts(self) -> dict[str, Json]:
        """Return ``files``, ``not_kept`` and ``digest``, which identifies the files together."""
        facts: dict[str, Json] = {"files": sorted(self._files, key=lambda file: str(file["path"]))}
        if self._not_kept:
            facts["not_kept"] = self._not_kept[:MAX_REASONS]
            facts["not_kept_count"] = len(self._not_kept)
        if self._files:
            listing = json.dumps(facts["files"], sort_keys=True).encode()
            facts["digest"] = hashlib.sha256(listing).hexdigest()[:16]
        return facts


def keep(folder: Path, sha256: str, content: bytes) -> None:
    """Write a content to the folder of kept files, under its SHA-256, for its owner alone."""
    path = folder / sha256
    if path.exists():  # of another process; a new time protects it from ``recover --prune``
        os.utime(path)
        return
    private_folder(folder, folder.parent)
    descriptor, name = tempfile.mkstemp(prefix=".", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(name, PRIVATE_FILE)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


class _Change(NamedTuple):
    """A file that differs from its commit."""

    path: str
    is_binary: bool


def collect(context: CollectorContext) -> dict[str, Json]:
    """Keep the code of a process and return the facts about it.

    Returns:
        ``files`` (path, sha256 and size of each, ``withheld`` if secrets were replaced),
        ``digest`` if there are any, ``not_kept`` (path and reason) and its ``not_kept_count``,
        ``invocation`` (see ``invocation``), and ``problem`` if git failed.
    """
    kept = KeptCode(context.keep)
    context = dataclasses.replace(context, cwd=context.cwd.resolve())
    script = script_path(context.argv, context.cwd)
    if script is not None and is_installed(script):
        script = None
    problem, root = None, None
    try:
        root = repository_root(script, context.cwd)
        _keep_changes(kept, root, script)
    except (GitError, OSError) as error:  # no repository or git, a timeout, a full disk
        problem = str(error) if root is not None else None
    origin = root
    if root is None and script is not None:
        origin = context.cwd if script.is_relative_to(context.cwd) else script.parent
        _keep_scripts(kept, script, origin)
    elif root is not None and script is not None and not script.is_relative_to(root):
        _keep_file(kept, script, f"{KEPT_SCRIPT}/{script.name}")
    facts = kept.facts()
    facts["invocation"] = invocation(context, origin, in_repository=root is not None)
    return facts if problem is None else {**facts, "problem": redact(problem)}


# -- changes of a repository --------------------------------------------------------------


def _keep_changes(kept: KeptCode, root: Path, script: Path | None) -> None:
    try:
        call_git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:  # before the first commit
        paths = _listing(call_git(root, "ls-files", "-z", "--cached", *_UNTRACKED))
    else:
        _keep_patch(kept, root)
        paths = _listing(call_git(root, "ls-files", "-z", *_UNTRACKED))
        if script is not None and script.is_relative_to(root):
            entry = script.relative_to(root).as_posix()
            # A script that git ignores is code all the same.
            tracked = call_git(root, "ls-files", "-z", "--", f":(top,literal){entry}")
            paths = paths if tracked or entry in paths else [entry, *paths]
    for path in sorted(paths, key=_code_first):
        _keep_file(kept, root / path, f"{KEPT_FILES}/{path}")


def _listing(output: bytes) -> list[str]:
    paths = (os.fsdecode(path) for path in output.split(b"\0") if path)
    return [path for path in paths if _NO_CODE.isdisjoint(path.split("/"))]


def _code_first(path: str) -> tuple[int, int, str]:
    suffix = os.path.splitext(path)[1].lower()
    rank = _CODE_FIRST.index(suffix) if suffix in _CODE_FIRST else len(_CODE_FIRST)
    return rank, path.count("/"), path


def _keep_patch(kept: KeptCode, root: Path) -> None:
    """Keep the changes of tracked files; those with secrets as files and not in the patch."""
    # Both outputs list the same files in the same order.
    changes = list(_changes(call_git(root, *_DIFF, "--numstat", "-z", "HEAD")))
    if not changes:
        return
    with tempfile.TemporaryFile() as output:
        call_git(root, *_DIFF, "--unified=3", "HEAD", stdout=output.fileno())
        size = output.tell() if output.seek(0, os.SEEK_END) else 0
        if size > 4 * MAX_TOTAL_BYTES:
            kept.refuse(KEPT_PATCH, f"it has {size:,} bytes")
            return
        output.seek(0)
        content = output.read()
    starts = [match.start() for match in _SECTION.finditer(content)]
    if len(starts) != len(changes):
        kept.refuse(KEPT_PATCH, "git reports its changes in an unknown form")
        return
    sections = [content[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    patch = [
        section
        for change, section in zip(changes, sections, strict=True)
        if _belongs_in_patch(kept, root, change, section)
    ]
    if patch:
        kept.add(KEPT_PATCH, b"".join(patch))


def _changes(numstat: bytes) -> Iterator[_Change]:
    for entry in filter(None, numstat.split(b"\0")):
        added, _, path = entry.split(b"\t", 2)
        yield _Change(os.fsdecode(path), added == b"-")


def _belongs_in_patch(kept: KeptCode, root: Path, change: _Change, section: bytes) -> bool:
    target = f"{KEPT_FILES}/{change.path}"
    if is_secret_file(change.path):
        kept.refuse(target, "its name is that of a file with secrets")
    elif change.is_binary:
        kept.refuse(target, "its changes are not text")
    elif len(section) > MAX_FILE_BYTES:
        kept.refuse(target, f"its changes have {len(section):,} bytes")
    else:
        with suppress(UnicodeDecodeError):
            text = section.decode()
            # A section has the lines of the file, each with one character before it.
            lines = "\n".join(line[1:] for line in text.split("\n"))
            if redact_source(lines, change.path) == lines:
                return True
        if (root / change.path).exists():
            _keep_file(kept, root / change.path, target)
        else:
            kept.refuse(target, "it was deleted, and contains a secret")
    return False


# -- files ----------------------------------------------------------------------------------


def _keep_scripts(kept: KeptCode, script: Path, origin: Path) -> None:
    """Keep a script outside any repository, and the modules beside it that it has imported."""
    paths = {script}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            with suppress(OSError, ValueError):
                path = Path(file).resolve()
                if path.is_relative_to(script.parent) and not is_installed(path):
                    paths.add(path)
    for path in sorted(paths, key=lambda path: (path != script, path)):
        relative = path.relative_to(origin).as_posix()
        if _NO_CODE.isdisjoint(relative.split("/")):
            _keep_file(kept, path, f"{KEPT_FILES}/{relative}")


def _keep_file(kept: KeptCode, file: Path, path: str) -> None:
    try:
        path.encode()
        if file.is_symlink() or not file.is_file():
            kept.refuse(path, "it is not a regular file")
        elif (size := file.stat().st_size) > MAX_FILE_BYTES:
            kept.refuse(path, f"it has {size:,} bytes")
        else:
            kept.add_source(path, file.read_bytes())
    except UnicodeEncodeError:
        kept.refuse(path.encode(errors="replace").decode(), "its name is not UTF-8")
    except OSError as error:
        kept.refuse(path, f"it cannot be read: {error.strerror or error}")


def _reason_to_refuse(path: str, content: bytes) -> str:
    if is_secret_file(path):
        return "its name is that of a file with secrets"
    if len(content) > MAX_FILE_BYTES:  # it has grown since
        return f"it has {len(content):,} bytes"
    try:
        is_text = b"\0" not in content and bool(content.decode() or True)
    except UnicodeDecodeError:
        is_text = False
    return "" if is_text else "it is not text"


# -- the command -----------------------------------------------------------------------------


def invocation(
    context: CollectorContext, origin: Path | None, *, in_repository: bool
) -> dict[str, Json]:
    """Return how the process was started, without secrets.

    Args:
        context: The process.
        origin: Root of the repository, or the folder to which paths of kept files are relative.
        in_repository: Whether it is a repository.

    Returns:
        ``interpreter`` (path), ``options`` of Python, ``kind`` (``script``, ``module``,
        ``program``, an installed one, ``code`` or ``other``), ``target``, ``arguments``, ``folder``
        (working directory relative to the origin; None if outside), ``origin``, ``repository``
        and ``variables``.
    """
    options, kind, target, arguments = _split(context.command)
    if kind == "script":
        # Not always ``script``: a program may start another one in its own process.
        path = script_path([target], context.cwd)
        if path is None or is_installed(path):
            kind, target = "program", posixpath.basename(target)
        else:
            inside = origin is not None and path.is_relative_to(origin)
            target = path.relative_to(origin).as_posix() if inside and origin else str(path)
    elif kind == "code":
        target = redact_source(target, ".py") or redact(target)
    within = origin is not None and context.cwd.is_relative_to(origin)
    return {
        "interpreter": sys.executable,
        "options": list(options),
        "kind": kind,
        "target": redact(target),
        "arguments": redact_arguments(arguments),
        "folder": context.cwd.relative_to(origin).as_posix() if within and origin else None,
        "origin": str(origin) if origin is not None else None,
        "repository": in_repository,
        "variables": _variables(context.environ),
    }


def _split(command: Sequence[str]) -> tuple[list[str], str, str, list[str]]:
    """Split a command of Python: options, what follows, its name, arguments."""
    words = list(command[1:])
    options: list[str] = []
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        flag = word[-1] if re.fullmatch("-[A-Za-z]+", word) and word[:2] not in ("-W", "-X") else ""
        if flag in ("m", "c") and words:
            if len(word) > 2:
                options.append(word[:-1])
            return options, "module" if flag == "m" else "code", words[0], words[1:]
        options.append(word)
        if word in _VALUE_OPTIONS and words:
            options.append(words.pop(0))
    if not words or words[0] == "-":
        return options, "other", "", words[1:]
    return options, "script", words[0], words[1:]


def _variables(environ: Mapping[str, str]) -> dict[str, Json]:
    return {name: redact(environ[name]) for name in VARIABLES if environ.get(name)}
