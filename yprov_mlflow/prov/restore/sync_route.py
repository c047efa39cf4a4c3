"""The routes of ``mlflow server --app-name yprov`` that take runs with their ids.

They exist only if the server has a token, read nothing but JSON and bytes of artifacts, and write
to the server's own store by the code that writes to databases and folders everywhere else.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import posixpath
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.errors import YprovMlflowError, first_line
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.restore import sync_protocol as protocol
from yprov_mlflow.prov.restore.artifact_files import (
    TRACE_LOCATION,
    ArtifactFiles,
    parent_of,
    sha256_of,
    stays_inside,
)
from yprov_mlflow.prov.restore.restore_report import RestoreReport
from yprov_mlflow.prov.restore.state_json import from_json
from yprov_mlflow.prov.restore.target_options import TargetOptions
from yprov_mlflow.prov.restore.targets import Target, is_database, open_target
from yprov_mlflow.prov.state import Experiment, Run, StoreState

blueprint = Blueprint("yprov_sync", __name__)

# Records are compared before they are written: one at a time in each worker.
_lock = threading.Lock()

_View = Callable[..., Any]


def _guarded(view: _View) -> _View:
    """Answer only those who have the token; capture nothing that the view does."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        """Call the view if the request has the token."""
        token = os.environ.get(protocol.TOKEN_VARIABLE, "")
        if not token:
            abort(404)
        if not hmac.compare_digest(
            request.headers.get(protocol.TOKEN_HEADER, "").encode(), token.encode()
        ):
            abort(403)
        try:
            with process.get().uncaptured():
                return view(*args, **kwargs)
        except OverflowError as error:
            return _refusal(413, str(error))
        except ValueError as error:
            return _refusal(400, str(error))
        except MlflowException as error:
            return _refusal(error.get_http_status_code(), redact(first_line(error)))
        except (YprovMlflowError, OSError) as error:
            return _refusal(500, redact(str(error)))

    return guarded


def _refusal(status: int, reason: str) -> tuple[Response, int]:
    return jsonify({"error": reason}), status


@blueprint.get(protocol.ROUTE)
@_guarded
def describe() -> Response:
    """Return the protocol that this server speaks."""
    return jsonify({"protocol": protocol.PROTOCOL})


@blueprint.get(f"{protocol.RUNS}/<run_id>")
@_guarded
def has_run(run_id: str) -> Response:
    """Return whether the store has a run."""
    target, _ = _target({})
    return jsonify({"exists": target.has_run(run_id)})


@blueprint.post(protocol.RUNS)
@_guarded
def put_run() -> Response:
    """Write a run, or bring it up to date."""
    body = _body()
    run = from_json(Run, body["run"])
    state = StoreState()
    if body.get("experiment") is not None:
        experiment = from_json(Experiment, body["experiment"])
        state.experiments[experiment.experiment_id] = experiment
    with _lock:
        # A target remembers ids of experiments, which others may change: one for each request.
        target, report = _target(body)
        with report.guard(f"run {run.run_id}"):
            target.expect(state)
            target.put_run(run, None)
        target.finish(StoreState(), None)
    report.counts.pop("experiment", None)
    # The document of the synchronization is the better one: this server saw no call.
    capture = process.get()
    root = capture.recorder.settings.directory
    JournalDirectory(capture.recorder.directory, run.run_id, root=root).mark_by_client()
    return jsonify(report.to_json())


@blueprint.post(protocol.STORE)
@_guarded
def put_store() -> Response:
    """Write experiments, models, the registry, traces and other records, or extend them."""
    body = _body()
    state = from_json(StoreState, body["state"])
    with _lock:
        target, report = _target(body)
        if mlflow_private.has_own_registry() and state.registered_models:
            reason = "the registry of this server is another store: synchronize into it"
            for name in state.registered_models:
                report.refuse("registered model", f"registered model {name}", reason)
            state.registered_models.clear()
        target.expect(state)
        target.finish(state, None)
    return jsonify(report.to_json())


def _body() -> dict[str, Any]:
    if (request.content_length or 0) > protocol.MAX_BODY_BYTES:
        raise OverflowError(f"the body has more than {protocol.MAX_BODY_BYTES} bytes")
    body = protocol.unpack(request.get_data(cache=False))
    if not isinstance(body, dict) or body.get("protocol") != protocol.PROTOCOL:
        raise ValueError("the body is of another version: install the same yprov-mlflow on both")
    return body


def _target(body: dict[str, Any]) -> tuple[Target, RestoreReport]:
    """Return the server's own store, as a target, with a report of its own."""
    store = mlflow_private.server_tracking_store()
    report = RestoreReport("")
    files = ArtifactFiles(None, [], report)
    same_ids = body.get("same_ids") is True
    options = TargetOptions(body.get("overwrite") is True, None, True, same_ids)
    uri = os.environ[mlflow_private.SERVER_STORE_VARIABLE]
    if not is_database(uri):
        return open_target(uri, files, options), report
    from yprov_mlflow.prov.restore.sql.sql_target import DatabaseTarget

    target = DatabaseTarget(
        store.engine,
        store.artifact_root_uri,
        files,
        overwrite=options.overwrite,
        extends=True,
        same_ids=same_ids,
    )
    return target, report


# -- artifacts ---------------------------------------------------------------------------


@blueprint.post(f"{protocol.ARTIFACTS}/<kind>/<owner>")
@_guarded
def missing_files(kind: str, owner: str) -> Response:
    """Return those files that the artifacts of a run, model or trace lack, or have otherwise."""
    repository, prefix = _repository(kind, owner)
    missing = []
    with tempfile.TemporaryDirectory(prefix="yprov-") as out:
        for file in _body()["files"]:
            path = _checked(file["path"])
            local = _fetched(repository, f"{prefix}{path}", out)
            if local is None or sha256_of(local) != file["sha256"]:
                missing.append(path)
    return jsonify({"missing": missing})


@blueprint.put(f"{protocol.ARTIFACTS}/<kind>/<owner>/<path:path>")
@_guarded
def put_file(kind: str, owner: str, path: str) -> Response:
    """Write one artifact file; its digest must be the one in the header."""
    repository, prefix = _repository(kind, owner)
    data = request.get_data(cache=False)
    if hashlib.sha256(data).hexdigest() != request.headers.get(protocol.DIGEST_HEADER):
        raise ValueError("the file has another digest than its header")
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        local = Path(folder, posixpath.basename(_checked(path)))
        local.write_bytes(data)
        repository.log_artifact(str(local), parent_of(f"{prefix}{path}"))
    return jsonify({})


def _repository(kind: str, owner: str) -> tuple[Any, str]:
    """Return the repository of a run, model or trace, and its folder in it."""
    store = mlflow_private.server_tracking_store()
    if kind == "run":
        root = store.get_run(owner).info.artifact_uri
    elif kind == "model":
        root = store.get_logged_model(owner).artifact_location
    elif kind == "trace":
        root = store.get_trace_info(owner).tags[TRACE_LOCATION]
    else:
        raise ValueError(f"no artifacts of a {kind!r}")
    if str(root).startswith("mlflow-artifacts:"):
        return mlflow_private.server_artifact_repository(root)
    return get_artifact_repository(root), ""


def _checked(path: object) -> str:
    if not isinstance(path, str) or not path or not stays_inside(path):
        raise ValueError(f"the path of an artifact leaves its folder: {path!r}")
    return path


def _fetched(repository: Any, path: str, out: str) -> Path | None:
    folder = posixpath.dirname(path)
    try:
        names = {info.path for info in repository.list_artifacts(folder or None)}
        return Path(repository.download_artifacts(path, out)) if path in names else None
    except (MlflowException, OSError):
        return None
