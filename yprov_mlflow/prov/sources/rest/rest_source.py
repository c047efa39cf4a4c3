"""A tracking server as a source, read over REST with MLflow's own client."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.layout import OWN_ARTIFACT, PROVENANCE
from yprov_mlflow.prov.sources.artifact_finder import ArtifactFinder
from yprov_mlflow.prov.sources.rest import store_contents
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused, Server
from yprov_mlflow.prov.sources.rest.server_reading import Index, Reading
from yprov_mlflow.prov.sources.rest.server_run import ServerRun
from yprov_mlflow.prov.sources.source import Problem, RemoteSource, RunRef
from yprov_mlflow.prov.sources.state_events import EventFactory

_PAGE = 500
_FIRST_EXPERIMENT = "0"
_ORDER = ("attributes.start_time ASC",)
_LIMITS = (
    "servers do not list deleted logged models, deleted versions of registered models, scorers of"
    " deleted experiments, and times of deletion; webhooks, issues, label schemas, review queues,"
    " jobs, gateways and MCP servers are not requested; a conversion of the server's database has"
    " all of them"
)

Part = tuple[str, Callable[[Reading], Iterable[Event]]]


class ServerSource(RemoteSource):
    """Reads a tracking server through MLflow's client, which handles authentication.

    Artifacts are listed, not downloaded: without a local copy, their hashes are missing.
    """

    def _reset(self) -> None:
        self._server = Server(self._location)
        self._index = Index(self._server)
        self._artifacts = ArtifactFinder(self._artifacts_folder, None, self._report)
        self._downloads: tempfile.TemporaryDirectory[str] | None = None

    def runs(self) -> Iterator[RunRef]:
        """Yield all runs by experiment, the oldest first."""
        from mlflow.entities import ViewType

        search = self._server.client.search_runs
        options = {"run_view_type": ViewType.ALL, "max_results": _PAGE, "order_by": list(_ORDER)}
        for experiment in self._index.experiments():
            pages = self._server.pages(search, [str(experiment.experiment_id)], **options)
            try:
                yield from (_ref(run.info, experiment.name) for run in pages)
            except Refused as error:
                where = f"experiment {experiment.experiment_id}"
                reason = f"the server does not list its runs: {error}"
                self._report(Problem(where, reason, "runs from there on"))

    def fingerprint(self, ref: RunRef) -> str:
        """Return a digest of the answers to a few requests.

        They have only the latest point of each metric: earlier ones that are added go unnoticed.
        """
        digest = hashlib.sha256()
        for item in self._fingerprint_items(ref):
            digest.update(json.dumps(item, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield the events of one run."""
        reading = self._reading(ref.run_id)
        yield from ServerRun(reading, ref.run_id, ref.experiment_name, self.store()).events()

    def store_events(self) -> Iterator[Event]:
        """Yield the events of everything that belongs to no run."""
        reading = self._reading(ids.store_id(self.store()["uuid"]))
        parts: tuple[Part, ...] = (
            ("experiments", store_contents.experiments),
            ("logged models without a run", store_contents.models_without_run),
            ("the registry from there on", store_contents.registered_models),
            ("artifacts of logged models without a run", store_contents.artifacts_without_run),
            ("traces without a run", store_contents.traces_without_run),
            ("evaluation datasets", store_contents.evaluation_datasets),
            ("scorers", store_contents.scorers),
        )
        for lost, read in parts:
            yield from reading.guard(self.location, lost, read(reading))
        self._report(Problem(self.location, _LIMITS, ""))

    def artifact_folder(self, ref: RunRef) -> str | None:
        """Return a local folder with the artifacts, or with a download of the run's document."""
        with suppress(Refused, NotOffered):
            run = self._server.ask(self._server.store.get_run, ref.run_id)
            folder, _ = self._artifacts.find(run.info.artifact_uri or "", ref.run_id)
            return folder if folder is not None else self._download(ref.run_id)
        return None

    def _download(self, run_id: str) -> str | None:
        client = self._server.client
        with suppress(OSError):
            files = self._server.ask(client.list_artifacts, run_id, PROVENANCE)
            if any(OWN_ARTIFACT.match(file.path) for file in files):
                self._downloads = self._downloads or tempfile.TemporaryDirectory()
                # Not named after the run: its id is the server's, and may be a path.
                folder = tempfile.mkdtemp(dir=self._downloads.name)
                self._server.ask(client.download_artifacts, run_id, PROVENANCE, folder)
                return folder
        return None

    def close(self) -> None:
        """Disconnect, and delete the downloads."""
        if self._downloads is not None:
            self._downloads.cleanup()
        super().close()

    # -- internals ---------------------------------------------------------------------

    def _reading(self, run_id: str) -> Reading:
        events = EventFactory(run_id)
        return Reading(self._server, events, self._index, self._artifacts, self._report)

    def _first_experiment(self) -> tuple[int | None, str | None, str]:
        try:
            first = self._server.ask(self._server.client.get_experiment, _FIRST_EXPERIMENT)
        except Refused:
            # It was deleted for good; then the URI alone identifies the store.
            return None, None, self._server.location
        return first.creation_time, first.artifact_location, self._server.location

    def _fingerprint_items(self, ref: RunRef) -> Iterator[Any]:
        reading = self._reading(ref.run_id)
        try:
            run = self._server.ask(self._server.store.get_run, ref.run_id)
            yield run.to_dictionary()
            yield ref.experiment_name
            models = {*self._index.models(ref.run_id), *self._index.measured(ref.run_id)}
            for model_id in sorted(models):
                yield reading.model(model_id).to_dictionary()
            with suppress(NotOffered):  # an old server without traces
                for trace, assessments in reading.search_traces(None, ref.run_id):
                    yield [dataclasses.asdict(trace), assessments]
            folder, _ = self._artifacts.find(run.info.artifact_uri or "", ref.run_id)
            if folder is not None:
                yield self._artifacts.list_files(folder)
        except Refused as error:
            yield str(error)


def _ref(info: Any, experiment_name: str | None) -> RunRef:
    return RunRef(
        info.run_id,
        str(info.experiment_id),
        experiment_name,
        info.status,
        info.start_time or None,
        "deleted" if info.lifecycle_stage == "deleted" else "active",
        info.run_id,
    )
