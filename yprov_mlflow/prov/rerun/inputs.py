"""The data and the store of a rerun: whether files have the content that the run read."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import quote

from yprov_mlflow.prov.errors import RerunError
from yprov_mlflow.prov.rerun.plan import Item, Plan
from yprov_mlflow.prov.rerun.recipe import DataFile, Recipe
from yprov_mlflow.prov.rerun.source_tree import copy_inside, is_safe

COPY = "copy"
"""Stands for a copy of the store of the run, in place of a URI."""

_SQLITE = "sqlite:///"
_PUT_BACK = "Put it back, or use --ignore-missing to run without it"


def plan_data(plan: Plan, recipe: Recipe, *, ignore_missing: bool) -> None:
    """Add the files that the run read; those inside of its source tree are copied into the new."""
    for file in recipe.data:
        _plan_file(plan, recipe, file, ignore_missing)
    for source in recipe.remote_data:
        plan.add("data", "differs", f"{source} is not checked: it is not a local file")


def _plan_file(plan: Plan, recipe: Recipe, file: DataFile, ignore_missing: bool) -> None:
    if "\0" in file.path:
        plan.add("data", "missing", f"{file.label!r} is not a path", _PUT_BACK)
        return
    original = Path(recipe.working_folder or "/", file.path)
    path = _path_in_tree(recipe, original)
    if path is None and original.is_relative_to(tempfile.gettempdir()):
        plan.add("data", "differs", f"{file.label} was a temporary file, and is not checked")
        return
    finding = _finding(original, file)
    if path is None:
        plan.extend([finding])
        return
    is_missing = finding.state == "missing"
    if is_missing and (recipe.commit or path in dict(recipe.files)):
        text = f"{finding.text}; the source tree may have it, and is checked before the command"
        plan.add("data", "differs", text)
    else:
        plan.extend([finding])
    if not is_missing:
        plan.steps.append((f"copy {path}", lambda: _copy(plan.code_folder, path, original)))
    elif not ignore_missing:
        plan.steps.append((f"check {path}", lambda: _verify(plan.code_folder / path, file)))


def _path_in_tree(recipe: Recipe, original: Path) -> str | None:
    """Return the path of a file in the source tree; None for a file outside of it."""
    origin = recipe.invocation.origin if recipe.invocation is not None else None
    if origin is None or not original.is_relative_to(origin):
        return None
    path = original.relative_to(origin).as_posix()
    return path if is_safe(path) else None


def _finding(path: Path, file: DataFile) -> Item:
    """Return the finding about a file of today."""
    if not path.exists():
        return Item("data", "missing", f"{file.label} does not exist any more", _PUT_BACK)
    if not path.is_file():
        return Item("data", "differs", f"{file.label} is there; folders are not checked")
    if file.sha256 is None:
        return Item("data", "differs", f"{file.label} is there; its content was not recorded")
    try:
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        text = f"{file.label} cannot be read: {error.strerror or error}"
        return Item("data", "missing", text, "Change its permissions, or use --ignore-missing")
    if sha256 == file.sha256:
        return Item("data", "ready", f"{file.label} has the same content")
    cure = "Put the file of then back, or use --ignore-missing to run with that of today"
    return Item("data", "missing", f"{file.label} has changed since the run", cure)


def _copy(root: Path, path: str, original: Path) -> None:
    # What the commit has is in place already.
    if not (root / path).exists():
        copy_inside(root, path, original)


def _verify(path: Path, file: DataFile) -> None:
    finding = _finding(path, file)
    if finding.state == "missing":
        raise RerunError(f"{finding.text}, nor does the source tree have it", None, _PUT_BACK)


# -- the store ----------------------------------------------------------------------------


def plan_store(plan: Plan, recipe: Recipe, tracking_uri: str | None) -> None:
    """Choose the store of the rerun: a new one in its folder, unless the user names another.

    A run that read from its store finds a copy of it, if it is a local SQLite database, as it does
    with ``COPY``: the rerun is logged in the copy, and files of other runs are where they were.
    """
    if tracking_uri not in (None, COPY):
        plan.tracking_uri = str(tracking_uri)
        plan.add("store", "ready", f"the rerun is logged to {tracking_uri}, as you said")
        return
    database = plan.folder / "mlflow.db"
    plan.tracking_uri = f"{_SQLITE}{database}"
    if not recipe.reads and tracking_uri is None:
        plan.add("store", "ready", "a new one in the folder of the rerun")
        return
    named = ", ".join(recipe.reads[:3]) + (", …" if len(recipe.reads) > 3 else "")
    reading = f" from which the run read {named}" if named else " as you said"
    uri = recipe.store or ""
    original = Path(uri.removeprefix(_SQLITE)) if uri.startswith(f"{_SQLITE}/") else None
    if original is None or not original.is_file():
        where = f"{uri}, which cannot be copied" if uri else "a store that is not recorded"
        cure = "Pass the store with --log-to: the rerun is logged there"
        text = f"the run read {named} from {where}" if named else f"there is no copy of {where}"
        plan.add("store", "missing", text, cure)
        return
    plan.add("store", "ready", f"a copy of {original},{reading}")
    plan.steps.append(("copy the store", lambda: _copy_database(original, database)))


def _copy_database(original: Path, database: Path) -> None:
    artifacts = database.with_name("artifacts")
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"file:{quote(str(original))}?mode=ro", uri=True)
            ) as source,
            contextlib.closing(sqlite3.connect(database)) as copy,
        ):
            source.backup(copy)
            # New runs write here; those of the original keep the locations of their files.
            copy.execute(
                "UPDATE experiments SET artifact_location = ? || '/' || experiment_id",
                (str(artifacts),),
            )
            copy.commit()
    except sqlite3.Error as error:
        cure = "Pass the store with --log-to: the rerun is logged there"
        raise RerunError(f"the store cannot be copied: {error}", str(original), cure) from error
