"""Capture of reads through MLflow: artifacts, models, prompts, traces, datasets.

All downloads of artifacts, by any function, go through the repositories that capture wraps;
prompts, traces and datasets come from a few functions of MLflow's clients. Only reads by the
program count: MLflow reads for itself, too, while it logs or registers. The outermost function of
MLflow on the stack decides, and an active run of the calling thread is required.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import re
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.session import BoundedDict, CaptureSession
from yprov_mlflow.prov.events import FIELDS, ModelLogged, ObjectRead
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.layout import OWN_ARTIFACT

_MAX_FILES = 200  # of a folder that are named
_MAX_HASHED = 64 << 20  # bytes that a call hashes: 40 ms

_OURS = "yprov_mlflow.prov.capture."
_TRANSPARENT = ("mlflow.tracing.", "mlflow.utils.", "mlflow.telemetry.", "mlflow.environment")
_WRAPPERS = frozenset({"wrapper", "inner", "_wrapper", "wrapped", "__getattr__"})
_GETTERS = frozenset({"get_trace", "get_dataset"})
_MODELS_URI = re.compile(r"models:/+([^/@]+)(?:@([^/]+)|/([^/]+))?")
_ALIAS = re.compile(r"@([^/@]+)\Z")

Subject = Mapping[str, str]


class Part(NamedTuple):
    """A repository that took part in a download, the path in it, and the local result."""

    repository: Any
    path: str
    local: str


def role_of_caller(innermost: str | None = None) -> str | None:
    """Return how the program reads, by the function of MLflow that it calls.

    None for a call that MLflow or this package makes for a purpose of its own.

    Args:
        innermost: A function of MLflow that has returned already.
    """
    calls = [("mlflow", innermost)] if innermost is not None else []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == "mlflow" or module.startswith("mlflow."):
            calls.append((module, frame.f_code.co_name))
        elif module.startswith("yprov_mlflow."):
            if not module.startswith(_OURS):
                return None
        elif module not in ("contextlib", "functools"):
            break
        frame = frame.f_back
    names = [
        name
        for module, name in calls
        if name not in _WRAPPERS and not module.startswith(_TRANSPARENT)
    ]
    # A function of a helper module may be the one that the program calls: mlflow.get_trace.
    names = names or [name for _, name in calls if name not in _WRAPPERS]
    outermost = names[-1] if names else ""
    if outermost.startswith("load") or outermost == "spark_udf":
        return "loaded"
    if outermost.startswith("download"):
        return "downloaded"
    if outermost in _GETTERS:
        return "read"
    return "evaluated" if outermost == "evaluate" and "load_model" in names else None


# -- downloads -----------------------------------------------------------------------------


def download(
    original: Callable[..., Any], repository: Any, artifact_path: Any, *args: Any, **kwargs: Any
) -> Any:
    """Call the original, by which a repository downloads; record it if the program asked."""
    current = process.get()
    guard = current.guard.here
    if guard.off or guard.store is not None or guard.repository:
        return original(repository, artifact_path, *args, **kwargs)
    outer: list[Part] | None = guard.reading
    if outer is None:
        guard.reading = []
    try:
        local = original(repository, artifact_path, *args, **kwargs)
        parts: list[Part] = guard.reading
    finally:
        guard.reading = outer
    part = Part(repository, str(artifact_path or ""), str(local))
    if outer is not None:
        outer.append(part)
    else:
        with current.recorder.warn_only():
            _record_download(current, part, parts)
    return local


def _record_download(current: CaptureSession, outermost: Part, inner: list[Part]) -> None:
    role = role_of_caller()
    loading = current.guard.here.loading
    # Having downloaded a model, ``load_model`` reads single files of it.
    if role is None or any(loading):
        return
    uri = str(getattr(outermost.repository, "artifact_uri", ""))
    asked = posixpath.join(uri, outermost.path) if outermost.path else uri
    for subject, path, part in _subjects(current, outermost, inner):
        for subjects in loading:
            subjects.append(subject)
        if OWN_ARTIFACT.match(path):
            continue
        is_model = path == "" and "logged-model" in subject
        files = [] if is_model or "version" in subject else _files(part.local, path)
        repository, alias = outermost.repository, _alias(uri)
        _record(current, repository, role, subject, path, uri=asked, alias=alias, files=files)


def _subjects(
    current: CaptureSession, outermost: Part, inner: list[Part]
) -> Iterator[tuple[dict[str, str], str, Part]]:
    """Yield ids of each object that a download took files from, their path in it, and the part."""
    parts = [part for part in inner or [outermost] if not _is_empty(part.local)]
    # A repository of a run or model contains that of the files, which knows who owns them.
    owners: dict[tuple[str, str, str], Part] = {}
    for part in (*parts, outermost):
        uri = str(part.repository.artifact_uri)
        owner = current.owner(uri, part.path, anywhere=True)
        # That of the outermost repository counts only if the inner ones do not show one.
        if owner is not None and not (part is outermost and owners):
            owners[owner] = part
    version = _version(outermost.repository)
    if version is not None:
        model_id = next((owner[1] for owner in owners if owner[0] == "model"), None)
        subject = {**version, **({"logged-model": model_id} if model_id else {})}
        yield subject, outermost.path, outermost
        return
    words = {"run": "run", "model": "logged-model", "trace": "trace"}
    for (kind, owner_id, path), part in owners.items():
        yield {words[kind]: owner_id}, path.strip("/"), part
    if not owners and "://" in str(outermost.repository.artifact_uri):
        yield {}, "", outermost


def _version(repository: Any) -> dict[str, str] | None:
    """Return the version of a registered model that a repository resolved its URI to."""
    names = (getattr(repository, name, None) for name in ("model_name", "model_version"))
    model, version = names
    return {"model": str(model), "version": str(version)} if model and version else None


def _alias(uri: str) -> str | None:
    """Return the alias, stage or ``latest`` in a URI of a registered model."""
    match = _MODELS_URI.match(uri)
    if match is None:
        return None
    return match[2] or (match[3] if match[3] and not match[3].isdecimal() else None)


def _is_empty(local: str) -> bool:
    return os.path.isdir(local) and not any(files for _, _, files in os.walk(local))


def _files(local: str, path: str) -> list[dict[str, Any]]:
    """Return the downloaded files as ``ArtifactsLogged`` has them, within bounds."""
    if not os.path.isdir(local):
        return [_file(local, path or os.path.basename(local), _MAX_HASHED)]
    files: list[dict[str, Any]] = []
    budget = _MAX_HASHED
    for folder, subfolders, names in os.walk(local):
        subfolders.sort()
        for name in sorted(names):
            if len(files) == _MAX_FILES:
                return files
            full = os.path.join(folder, name)
            relative = os.path.relpath(full, local).replace(os.sep, "/")
            if OWN_ARTIFACT.match(posixpath.join(path, relative)):
                continue
            file = _file(full, posixpath.join(path, relative), budget)
            budget -= file["size"] or 0 if file["sha256"] else 0
            files.append(file)
    return files


def _file(local: str, path: str, budget: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": path, "size": None, "sha256": None}
    with contextlib.suppress(OSError):
        if os.path.isfile(local):
            entry["size"] = os.path.getsize(local)
            if entry["size"] <= budget:
                with open(local, "rb") as file:
                    entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return entry


def source_sha256(dataset: Mapping[str, Any]) -> str | None:
    """Return the hash of the local file that is the source of a dataset, None without one."""
    if dataset.get("source_type") != "local":
        return None
    with contextlib.suppress(ValueError, TypeError):
        uri = json.loads(dataset["source"])["uri"]
        sha256 = _file(str(uri).removeprefix("file://"), "", _MAX_HASHED)["sha256"]
        return sha256 if isinstance(sha256, str) else None
    return None


# -- other objects -------------------------------------------------------------------------


def _prompt(result: Any) -> dict[str, str]:
    """Return the ids of a prompt."""
    return {"prompt": str(result.name), "version": str(result.version)}


def _trace(result: Any) -> dict[str, str]:
    """Return the id of a trace."""
    info = result.info
    return {"trace": str(getattr(info, "trace_id", None) or info.request_id)}


def _dataset(result: Any) -> dict[str, str]:
    """Return the id of an evaluation dataset."""
    return {"dataset": str(result.dataset_id)}


_SUBJECTS: Mapping[str, Callable[[Any], Subject]] = {
    "load_prompt": _prompt,
    "get_trace": _trace,
    "get_dataset": _dataset,
}
"""Functions that return the ids of the result of a function of MLflow, by its name."""


def get(original: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Call the original, by which a program gets an object of the store, and record that."""
    current = process.attempt()
    guard = current.guard.here if current is not None else None
    if current is None or guard is None or guard.off or guard.reading is not None:
        return original(*args, **kwargs)
    guard.reading = []
    try:
        result = original(*args, **kwargs)
    finally:
        guard.reading = None
    with current.recorder.warn_only():
        role = role_of_caller(name)
        if role is not None and result is not None:
            texts = [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
            uri = texts[0] if texts else None
            alias = _ALIAS.search(uri) if uri else None
            subject = dict(_SUBJECTS[name](result))
            _record(current, None, role, subject, uri=uri, alias=alias and alias[1])
    return result


def _record(
    current: CaptureSession,
    repository: Any,
    role: str,
    subject: Subject,
    path: str = "",
    *,
    uri: str | None,
    alias: str | None,
    files: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Record a read for the active run of the caller, if it has one."""
    run_id = current.active_run()
    if run_id is None:
        return
    state = current.recorder.get(run_id)
    store = current.store_behind(repository)
    # Ids of models and traces mean something only in their own store.
    if state is None or ("run" not in subject and current.active_run_in(store) is None):
        return
    current.recorder.enter_contexts(run_id)
    within = current.recorder.context_path(run_id)
    current.recorder.record(run_id, ObjectRead, role, subject, path, uri, alias, files, within)


# -- objects of models ---------------------------------------------------------------------

# Models by the ``id`` of the object that ``load_model`` returned, for as long as it exists.
_loaded: BoundedDict[tuple[weakref.ref[Any], Subject]] = BoundedDict()


def load_model(original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call the original, and remember the model whose object it returns."""
    current = process.attempt()
    if current is None:
        return original(*args, **kwargs)
    subjects: list[Subject] = []
    loading = current.guard.here.loading
    loading.append(subjects)
    try:
        result = original(*args, **kwargs)
    finally:
        loading.pop()
    models = [subject for subject in subjects if "version" in subject or "logged-model" in subject]
    if len(models) == 1:
        with contextlib.suppress(TypeError):  # some objects have no weak references
            _loaded[str(id(result))] = weakref.ref(result), models[0]
    return result


def logged(values: Iterable[Any], model_id: str | None) -> None:
    """Record that a new model is the object of a loaded one, which ``log_model`` got."""
    bases = [
        remembered[1]
        for value in values
        if (remembered := _loaded.get(str(id(value)))) is not None and remembered[0]() is value
    ]
    current = process.attempt()
    if not bases or model_id is None or current is None:
        return
    store = current.store_behind(None)
    if store is None:
        return
    run_id = current.run_of_model(model_id, store)
    owner = run_id or store_id(current.store_reference(store)["uuid"])
    names = FIELDS[ModelLogged.kind]
    fields = {"model_id": model_id, "base": dict(bases[0])}
    values = [fields.get(name) for name in names[names.index("model_id") :]]
    current.recorder.record(owner, ModelLogged, *values, store=store if run_id else None)
