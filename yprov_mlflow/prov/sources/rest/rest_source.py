"""A tracking server as a source: everything that it tells over REST, paged and retried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.rest import plain_records, store_contents
from yprov_mlflow.prov.sources.rest.common_reads import Index, Reading
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused, Server
from yprov_mlflow.prov.sources.rest.server_run import RunReading
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.sources.sql.artifacts import Artifacts
from yprov_mlflow.prov.sources.sql.event_factory import Entries

_PREFIX = "yprov+"
_PAGE = 500
_FIRST = "0"
_ORDER = ("attributes.start_time ASC",)
_NOT_TOLD = (
    "servers do not tell of deleted logged models, deleted versions of registered models, scorers"
    " of deleted experiments, and times of deletion; webhooks, issues, label schemas, review"
    " queues, jobs, gateways and MCP servers are not asked for; converting the server's database"
    " has them all"
)

Part = tuple[str, Callable[[Reading], Iterable[Event]]]


class ServerSource(Source):
    """Reads a tracking server through MLflow's own client, which knows how to log in.

    Files of artifacts are listed, not downloaded: they have no hash unless ``artifacts`` names
    a folder that has them.
    """

    def __init__(self, location: str, artifacts: str | None = None) -> None:
        """Name the server; it is asked nothing before it is first asked for something.

        Args:
            location: A tracking URI of a server: ``http://``, ``https://`` or ``databricks``.
            artifacts: Folder in which artifacts are looked for before the server is asked.
        """
        self._location = location.removeprefix(_PREFIX)
        self._artifacts_root = artifacts
        self.location = ids.redact(self._location)
        self._problems: list[Problem] = []
        self._forget()

    def _forget(self) -> None:
        self._server = Server(self._location)
        self._index = Index(self._server)
        self._artifacts = Artifacts(self._artifacts_root, None, self._report)
        self._unlisted: set[str] = set()
        self._store: dict[str, str] | None = None

    def __reduce__(self) -> Any:
        """Travel as what it was made from; whoever gets it opens it anew."""
        return ServerSource, (self._location, self._artifacts_root)

    # -- the contract ------------------------------------------------------------------

    def store(self) -> Mapping[str, str]:
        """Give ``uuid`` and ``uri``, as live capture of this server names them."""
        if self._store is None:
            created = place = None
            try:
                first = self._server.ask(self._server.client.get_experiment, _FIRST)
                created, place = first.creation_time, first.artifact_location
            except Refused:
                # It was deleted for good; then the address names the store.
                pass
            uri = self._server.shown
            self._store = {"uuid": ids.store_uuid(created, place, uri), "uri": uri}
        return self._store

    def runs(self) -> Iterator[RunRef]:
        """Give all runs, experiment by experiment, the oldest first."""
        from mlflow.entities import ViewType

        search = self._server.client.search_runs
        for experiment in self._index.experiments():
            pages = self._server.pages(
                search,
                [str(experiment.experiment_id)],
                run_view_type=ViewType.ALL,
                max_results=_PAGE,
                order_by=list(_ORDER),
            )
            try:
                yield from (_ref(run.info, experiment.name) for run in pages)
            except Refused as error:
                place = f"experiment {experiment.experiment_id}"
                reason = f"the server does not list its runs: {error}"
                self._report(Problem(place, reason, "runs from there on"))

    def fingerprint(self, ref: RunRef) -> str:
        """Give a digest of what the server says of the run at once.

        Of metrics that is the latest points: one that is added before them is not seen.
        """
        digest = hashlib.sha256()
        for found in self._said(ref):
            digest.update(json.dumps(found, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Give the events of one run."""
        store = self.store()
        reading = self._reading(ref.run_id)
        yield from RunReading(reading, ref.run_id, ref.experiment_name, store).events()

    def store_events(self) -> Iterator[Event]:
        """Give the events of what belongs to no run."""
        reading = self._reading(ids.store_id(self.store()["uuid"]))
        parts: tuple[Part, ...] = (
            ("experiments", store_contents.experiments),
            ("logged models without a run", store_contents.models_without_run),
            ("the registry from there on", store_contents.registered_models),
            ("artifacts of logged models without a run", store_contents.artifacts_without_run),
            ("traces without a run", store_contents.traces_without_run),
            ("evaluation data sets", store_contents.evaluation_datasets),
            ("scorers", store_contents.scorers),
        )
        for lost, read in parts:
            yield from reading.saved(self.location, lost, read(reading))
        self._report(Problem(self.location, _NOT_TOLD, ""))

    def problems(self) -> list[Problem]:
        """Give the problems met since the last call, and forget them."""
        found, self._problems = self._problems, []
        return found

    def close(self) -> None:
        """Forget what the server said."""
        self._forget()

    # -- how ---------------------------------------------------------------------------

    def _report(self, problem: Problem) -> None:
        self._problems.append(problem)

    def _reading(self, run_id: str) -> Reading:
        return Reading(
            self._server,
            Entries(run_id),
            self._index,
            self._artifacts,
            self._report,
            self._unlisted,
        )

    def _said(self, ref: RunRef) -> Iterator[Any]:
        reading = self._reading(ref.run_id)
        try:
            run = self._server.ask(self._server.store.get_run, ref.run_id)
            yield run.to_dictionary()
            yield ref.experiment_name
            known = {*self._index.models(ref.run_id), *self._index.measured(ref.run_id)}
            for model_id in sorted(known):
                yield reading.model(model_id).to_dictionary()
            yield from self._traces(reading, ref)
            folder, _ = self._artifacts.find(run.info.artifact_uri or "", ref.run_id)
            if folder is not None:
                yield self._artifacts.listed(folder)
        except Refused as error:
            yield str(error)

    def _traces(self, reading: Reading, ref: RunRef) -> Iterator[Any]:
        try:
            for info, entity in reading.traces_of(ref.experiment_id, ref.run_id):
                found = [
                    plain_records.assessment(a) for a in getattr(entity, "assessments", ()) or ()
                ]
                yield [info, found]
        except NotOffered:
            return


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
