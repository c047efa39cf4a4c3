"""Write into a server that runs with ``--app-name yprov``: ids, times and nesting are kept."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import RequestException

from yprov_mlflow.prov.errors import StoreError, first_line
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.restore import sync_protocol as protocol
from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles, parent_of, sha256_of
from yprov_mlflow.prov.restore.restore_report import REFUSED, RestoreReport
from yprov_mlflow.prov.restore.state_json import to_json
from yprov_mlflow.prov.restore.target_options import TargetOptions
from yprov_mlflow.prov.state import Experiment, Run, StoreState

_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_RETRIES = 4
_TIMEOUT_S = 300.0
_MOST_FAILURES = 3
"""Records in a row that a server may fail to take before the pass ends."""


class _Rejected(Exception):
    """The server answers with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answers with {status}: {reason}")
        self.status = status


class _Connection:
    """Requests to the routes of one server, repeated if an answer says that this may help."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._credentials = get_default_host_creds(uri.rstrip("/"))
        self._token = os.environ.get(protocol.TOKEN_VARIABLE, "")

    def ask(
        self,
        method: str,
        route: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON of an answer.

        Raises:
            _Rejected: The server refuses the request.
            StoreError: The server does not answer.
        """
        try:
            response = http_request(
                self._credentials,
                route,
                method,
                max_retries=_RETRIES,
                backoff_factor=1,
                extra_headers={protocol.TOKEN_HEADER: self._token, **(headers or {})},
                retry_codes=_TRANSIENT,
                raise_on_status=False,
                timeout=_TIMEOUT_S,
                data=data,
            )
        except (RequestException, MlflowException) as error:
            cure = "Repeat the command when the server is back: it goes on where it stopped"
            what = f"the server does not answer: {first_line(error)}"
            raise StoreError(what, redact(self._uri), cure) from error
        try:
            content = response.json()
        except ValueError:
            content = None
        if response.status_code != 200 or not isinstance(content, dict):
            reason = content.get("error") if isinstance(content, dict) else response.reason
            raise _Rejected(response.status_code, str(reason))
        return content


def accepts_ids(uri: str) -> bool:
    """Return whether a server has the routes of this package.

    Raises:
        StoreError: The server does not answer, or wants another token.
    """
    try:
        content = _Connection(uri).ask("GET", protocol.ROUTE)
    except _Rejected as error:
        if error.status != 403:
            return False
        cure = f"Set {protocol.TOKEN_VARIABLE} to the value that it has on the server"
        raise StoreError("the server wants another token", redact(uri), cure) from error
    return bool(content.get("protocol") == protocol.PROTOCOL)


class ServerTarget:
    """Sends state records to a server, which writes them to its own store."""

    keeps_locations = True

    def __init__(self, uri: str, files: ArtifactFiles, options: TargetOptions) -> None:
        self._report, self._files = files.report, files
        self._uri = uri
        self._server = _Connection(uri)
        self._common = {
            "protocol": protocol.PROTOCOL,
            "overwrite": options.overwrite,
            "same_ids": options.same_ids,
        }
        self._experiments: dict[str, Experiment] = {}
        self._points: dict[str, list[dict[str, Any]]] = {}
        self._failures = 0

    def close(self) -> None:
        """Do nothing: MLflow keeps the connections."""

    def expect(self, state: StoreState) -> None:
        """Note experiments, with their names, before their runs come."""
        self._experiments.update(state.experiments)

    def has_run(self, run_id: str) -> bool:
        """Return whether the server has a run."""
        route = f"{protocol.RUNS}/{quote(run_id, safe='')}"
        return bool(self._server.ask("GET", route).get("exists"))

    def put_run(self, run: Run, document: Path | None) -> None:
        """Send a run, then those of its artifacts that the server lacks."""
        label = f"run {run.run_id}"
        experiment = self._experiments.get(run.experiment_id)
        # The points of models go with the models.
        points = {
            key: dataclasses.replace(series, models={}, datasets={})
            for key, series in run.points.items()
        }
        alone = to_json(dataclasses.replace(run, points=points))
        body = {"run": alone, "experiment": experiment and to_json(experiment)}
        if not self._post(protocol.RUNS, body, "run", label):
            return
        self._note_model_points(run)
        self._put_files("run", run.run_id, self._files.find(run, label, document), label)

    def _note_model_points(self, run: Run) -> None:
        """Keep the points that have a logged model, which comes after all runs."""
        for key, points in run.points.items():
            for index, model in points.models.items():
                name, digest = points.datasets.get(index, (None, None))
                self._points.setdefault(model, []).append(
                    {
                        "run_id": run.run_id,
                        "key": key,
                        "value": points.values[index],
                        "timestamp": points.timestamps_ms[index],
                        "step": points.steps[index],
                        "dataset_name": name,
                        "dataset_digest": digest,
                    }
                )

    def finish(self, state: StoreState, document: Path | None) -> None:
        """Send what belongs to no single run, then the artifacts of models and traces."""
        if state == StoreState():
            return
        for model in state.models.values():
            model.metrics += self._points.pop(model.model_id, [])
        if not self._post(protocol.STORE, {"state": to_json(state)}, "store", "store"):
            return
        for model in state.models.values():
            label = f"logged model {model.model_id}"
            files = self._files.find(model, label, document)
            self._put_files("model", model.model_id, files, label)
        for trace in state.traces.values():
            label = f"trace {trace.trace_id}"
            files = self._files.find(trace, label, document)
            self._put_files("trace", trace.trace_id, files, label)

    def _post(self, route: str, body: Mapping[str, Any], kind: str, label: str) -> bool:
        """Send a record and add the server's report to ours; return whether it has the record."""
        data = protocol.pack({**self._common, **body})
        try:
            report = RestoreReport.from_json(self._server.ask("POST", route, data))
        except _Rejected as error:
            self._report.refuse(kind, label, str(error))
            # One failure is a record that the server cannot take, several a server that is down.
            self._failures += 1
            if self._failures < _MOST_FAILURES or error.status not in _TRANSIENT:
                return False
            cure = "Look at the log of the server; then repeat the command, which goes on"
            raise StoreError(str(error), redact(self._uri), cure) from error
        self._failures = 0
        self._report.add(report)
        return kind not in report.counts or not report.counts[kind][REFUSED]

    # -- artifacts ---------------------------------------------------------------------

    def _put_files(self, kind: str, owner: str, files: Mapping[str, Path], label: str) -> None:
        if not files:
            return
        route = f"{protocol.ARTIFACTS}/{kind}/{quote(owner, safe='')}"
        wanted = [{"path": path, "sha256": sha256_of(file)} for path, file in files.items()]
        body = protocol.pack({**self._common, "files": wanted})
        try:
            missing = self._server.ask("POST", route, body)["missing"]
            for entry in wanted:
                if entry["path"] in missing:
                    self._put_file(route, kind, owner, entry, files[entry["path"]])
        except (_Rejected, MlflowException, OSError) as error:
            self._report.add_loss(label, f"its artifacts: {first_line(error)}")

    def _put_file(
        self, route: str, kind: str, owner: str, entry: Mapping[str, str], file: Path
    ) -> None:
        path, size = entry["path"], file.stat().st_size
        if size <= protocol.MAX_FILE_BYTES or kind == "trace":
            headers = {protocol.DIGEST_HEADER: entry["sha256"]}
            self._server.ask("PUT", f"{route}/{quote(path)}", file.read_bytes(), headers)
        else:  # MLflow streams it
            client: Any = MlflowClient(self._uri, self._uri)
            log = client.log_artifact if kind == "run" else client.log_model_artifact
            if posixpath.basename(path) != file.name:
                raise OSError(f"{path} has another name on this machine: {file.name}")
            log(owner, str(file), parent_of(path))
        self._report.files["copied"] += 1
        self._report.files["bytes"] += size
