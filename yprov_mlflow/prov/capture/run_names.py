"""Names of runs and documents as people type them, as run ids and paths of documents."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import indexing
from yprov_mlflow.prov.errors import (
    AmbiguousRunError,
    DocumentError,
    GraphError,
    RunNotFoundError,
    StoreError,
)
from yprov_mlflow.prov.formats.file_formats import SUFFIXES, documents_below
from yprov_mlflow.prov.graph.thing_names import runs_called
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.redaction import redact

LATEST = "latest"
_WHOLE_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_PREFIX = re.compile(r"[0-9a-f]{4,31}").fullmatch
_RUNS_URI = "runs:/"
_MOST_CANDIDATES = 11  # one more than a message names


def expand(name: str, tracking_uri: str | None = None) -> list[str]:
    """Return the run ids and paths of documents behind a name.

    Args:
        name: A document, a folder of documents, a pattern of paths with ``*`` or ``?``, or the
            name of a run as in ``resolve``.
        tracking_uri: The store of the run.

    Raises:
        DocumentError: The folder lacks documents, or nothing matches the pattern.
        RunNotFoundError: No run has the name, or several have it.
    """
    if glob.has_magic(name) and not os.path.exists(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise DocumentError("no file matches the pattern", name, "Check the pattern")
        return [path for match in matches for path in expand(match)]
    if is_local(name):
        if not Path(name).is_dir():
            return [name]
        paths = [str(path) for path in documents_below(Path(name))]
        if not paths:
            cure = "Name the prov.json of a run, or a folder that `yprov-mlflow convert` wrote"
            raise DocumentError("the folder has no documents", name, cure)
        return paths
    return [resolve(name, tracking_uri)]


def is_local(name: str) -> bool:
    """Return whether a name is that of a file or folder, rather than of a run."""
    # An experiment and its run are separated by a slash, too.
    is_path = os.path.isabs(name) or name.startswith(("./", "../"))
    return is_path or os.path.exists(name) or Path(name).suffix.lower() in SUFFIXES


def resolve(name: str, tracking_uri: str | None = None) -> str:
    """Return the id of the run with a name; a path stays as it is.

    The index and the journals on this machine are asked first, and then the store.

    Args:
        name: A run id, the beginning of one (at least 4 digits), the name of a run,
            ``EXPERIMENT/NAME``, ``latest``, ``runs:/ID``, or the path of a document.
        tracking_uri: The only store to ask; by default MLflow's current one is asked last.

    Raises:
        RunNotFoundError: No run has the name.
        AmbiguousRunError: Several have it; the message lists them.
    """
    # A file of this name is what the user sees in the folder.
    if is_local(name):
        return name
    wanted = name
    if name.startswith(_RUNS_URI):
        wanted = name.removeprefix(_RUNS_URI).partition("/")[0]
    # `lineage` writes run:ID where a name fits several kinds of things.
    wanted = wanted.removeprefix("run:")
    if _WHOLE_ID(wanted) or store_of(wanted):
        return wanted
    candidates: dict[str, str] = {}
    # The index knows runs of all stores: it would answer for a store that was not meant.
    if tracking_uri is None:
        # A run that still logs is not in the index; descriptions of the index have more.
        candidates = {**_journaled(wanted), **_indexed(wanted)}
    if not candidates:
        candidates = dict(_stored(wanted, tracking_uri))
    if len(candidates) == 1:
        return next(iter(candidates))
    where = redact(tracking_uri) if tracking_uri else None
    if not candidates:
        raise RunNotFoundError.unnamed(name, where)
    raise AmbiguousRunError.of_several(name, candidates.values(), where)


def _journaled(name: str) -> dict[str, str]:
    """Return runs with journals here whose id begins with a name."""
    # Only ids: reading the names would take as long as reading all journals.
    if not _PREFIX(name):
        return {}
    folders = JournalDirectory.all(settings.load().directory)
    ids = (folder.run_id for folder in folders if not store_of(folder.run_id))
    return {run_id: run_id for run_id in ids if run_id.startswith(name)}


def _indexed(name: str) -> dict[str, str]:
    """Return descriptions of the runs of the index that have a name, by their ids."""
    try:
        graph = indexing.graph_of(None, lambda _: None)
    except GraphError:
        # Without an index, the store is asked.
        return {}
    details = [{**thing.details, "name": thing.label} for thing in runs_called(graph, name)]
    return {str(run["run_id"]): _described(run) for run in details if run.get("run_id")}


def _stored(name: str, tracking_uri: str | None) -> Iterator[tuple[str, str]]:
    """Yield id and description of the runs of a store that have a name."""
    import mlflow

    from yprov_mlflow.prov.capture import recovery  # it loads MLflow

    try:
        store = recovery.open_store(tracking_uri or mlflow.get_tracking_uri())
    except StoreError:
        if tracking_uri is not None:
            raise
        return  # nothing has been logged to MLflow's default yet
    experiments = {e.experiment_id: e.name for e in store.search_experiments()}
    # Stores differ in what a filter may hold: one condition for each search works in all.
    if name == LATEST:
        searches = [("", list(experiments), 1)]
    else:
        searches = [(f"attributes.run_name = {_quoted(name)}", list(experiments), _MOST_CANDIDATES)]
        if _PREFIX(name):
            beginning = f"attributes.run_id LIKE '{name}%'"
            searches.insert(0, (beginning, list(experiments), _MOST_CANDIDATES))
        experiment, slash, run_name = name.rpartition("/")
        ids = [key for key, label in experiments.items() if slash and label == experiment]
        if ids:
            searches.append((f"attributes.run_name = {_quoted(run_name)}", ids, _MOST_CANDIDATES))
    for condition, ids, limit in searches:
        runs = _search(store, condition, ids, limit)
        for run in runs:
            facts = {"run_id": run.info.run_id, "name": run.info.run_name}
            experiment = experiments[run.info.experiment_id]
            yield run.info.run_id, _described(facts | {"experiment": experiment})
        if runs:
            return


def _search(store: Any, condition: str, experiment_ids: list[str], limit: int) -> list[Any]:
    from mlflow.entities import ViewType

    order = ["attributes.start_time DESC"]
    return list(store.search_runs(experiment_ids, condition, ViewType.ACTIVE_ONLY, limit, order))


def _quoted(name: str) -> str:
    """Return a name as a literal of MLflow's filters, which cannot hold both kinds of quotes."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _described(run: Mapping[str, object]) -> str:
    parts = [run.get("name"), run.get("experiment")]
    return f"{run['run_id']} ({', '.join(str(part) for part in parts if part)})"
