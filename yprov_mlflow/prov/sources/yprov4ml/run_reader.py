"""One run of yProv4ML as a state record and events: all ranks, with everything that is readable."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from operator import attrgetter

from yprov_mlflow.prov import state
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.model.literals import canonical
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.state_events import EventFactory
from yprov_mlflow.prov.sources.yprov4ml import local_times, prov_records, rank_content
from yprov_mlflow.prov.sources.yprov4ml.logged_files import LoggedFiles
from yprov_mlflow.prov.sources.yprov4ml.metric_series import SeriesReader
from yprov_mlflow.prov.sources.yprov4ml.rank_content import RankContent
from yprov_mlflow.prov.sources.yprov4ml.rank_events import RankEvents
from yprov_mlflow.prov.sources.yprov4ml.run_folders import RunFolder
from yprov_mlflow.prov.tags import SOURCE_PREFIX

_TAG = "yprov4ml."  # prefix of tags with attributes of the run
_SOURCE_CODE = "source_code"
_COMMIT, _REPOSITORY = "mlflow.source.git.commit", "mlflow.source.git.repoURL"
_RUN_NAME, _USER = "mlflow.runName", "mlflow.user"


class RunReader:
    """Reads the folder of a run.

    Args:
        folder: The folder.
        make_id: Returns an id of 32 hexadecimal digits that is derived from text.
        store: ``uuid`` and ``uri`` of the source.
    """

    def __init__(
        self, folder: RunFolder, make_id: Callable[[str], str], store: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._make_id = make_id
        self._store = store
        self.problems: list[Problem] = []

    @cached_property
    def _contents(self) -> dict[int, RankContent]:
        contents = {}
        for rank in self._folder.ranks:
            path = self._folder.documents.get(rank)
            if path is None:
                reason = f"the document of rank {rank} is missing"
                self._report(str(self._folder.path), reason, "its params, contexts and times")
                contents[rank] = RankContent()
                continue
            try:
                records = prov_records.parse(path.read_bytes())
            except OSError as error:
                self._report(str(path), f"cannot be read: {error.strerror}", "the document")
                records = prov_records.Records({}, True)
            if not records.complete:
                self._report(str(path), "is cut off or not JSON", "everything after the fault")
            contents[rank] = content = rank_content.read(records)
            for problem in content.problems:
                self._report(str(path), problem, "it")
        return contents

    def _report(self, place: str, reason: str, lost: str, kind: str = "data") -> None:
        self.problems.append(Problem(place, reason, lost, kind))

    # -- the run -------------------------------------------------------------------------

    @cached_property
    def run(self) -> state.Run:
        """The run, without points and files."""
        contents = self._contents
        first = contents[min(contents)]
        start_ns, end_ns = self._span_ns
        run = state.Run(
            self._run_id(first),
            # MLflow's databases have numbers as ids of experiments; the name gives the number.
            str(int(self._make_id(f"experiment {self._folder.experiment}")[:13], 16)),
            self._folder.experiment,
            self._folder.name,
            first.user,
            # yProv4ML has no status: its end is written by end_run alone.
            "FINISHED" if end_ns else None,
            start_ns // 1_000_000 or None,
            end_ns // 1_000_000 or None,
            artifact_uri=self._files.root.as_uri(),
            store=dict(self._store),
        )
        run.params = self._params()
        run.tags = self._tags(first, run.params)
        return run

    def _run_id(self, first: RankContent) -> str:
        if pid := first.fields.get("PID"):  # a UUID in spite of its name
            return self._make_id(pid)
        # Without it, the content identifies a run, also after its folder was moved.
        digest = hashlib.sha256(self._folder.name.encode("utf-8", "surrogateescape"))
        for path in self._folder.documents.values():
            digest.update(path.read_bytes())
        if not self._folder.documents:
            for paths in self._folder.metrics.values():
                digest.update("\n".join(path.name for path in paths).encode("utf-8", "replace"))
        return self._make_id(digest.hexdigest())

    @cached_property
    def _span_ns(self) -> tuple[int, int]:
        """Start and end of the run in ns: of its first and its last rank, 0 if unknown."""
        starts: list[int] = []
        ends: list[int] = []
        for content in self._contents.values():
            zone = local_times.zone(content.fields.get("time_zone")) or local_times.UTC
            params = {name: value for name, _, value in content.params}
            for times, names in (
                (starts, ("startedAtTime", "execution_start_time")),
                (ends, ("endedAtTime", "execution_end_time")),
            ):
                texts = (content.fields.get(name) or params.get(name) for name in names)
                times += [t for text in texts if (t := local_times.nanoseconds(text, zone))][:1]
        end_ns = max(ends, default=0) if len(ends) == len(self._contents) else 0
        return min(starts, default=0), end_ns

    def _params(self) -> dict[str, str]:
        """Return params; of different values, later ones get their context or rank in front."""
        params: dict[str, str] = {}
        for rank, content in self._contents.items():
            for name, context, value in content.params:
                names = [name, f"{context}/{name}", f"rank_{rank}/{context}/{name}"]
                key = next((key for key in names if params.setdefault(key, value) == value), None)
                if key is None:
                    place = str(self._folder.documents.get(rank))
                    self._report(place, f"the param {name!r} has several values", repr(value))
        return params

    def _tags(self, first: RankContent, params: Mapping[str, str]) -> dict[str, str]:
        tags = {f"{_TAG}{name}": value for name, value in first.fields.items()}
        tags[_RUN_NAME] = self._folder.name
        if first.user is not None:
            tags[_USER] = first.user
        repository, slash, commit = params.get(_SOURCE_CODE, "").rpartition("/")
        if slash:
            tags |= {_COMMIT: commit, _REPOSITORY: repository}
        return tags

    # -- events --------------------------------------------------------------------------

    @cached_property
    def _files(self) -> LoggedFiles:
        return LoggedFiles(self._folder, self._make_id, self._report)

    def events(self) -> Iterator[Event]:
        """Yield the events of the run; ``problems`` is complete afterwards."""
        run = self.run
        series = SeriesReader(self._folder, self._contents, self._report)
        for key, sources in series.sources.items():
            run.tags[f"{SOURCE_PREFIX}{key}"] = canonical(sources)
        ranks: list[RankEvents] = []
        for rank, content in self._contents.items():
            zone = local_times.zone(content.fields.get("time_zone")) or local_times.UTC
            rank_events = RankEvents(run.run_id, rank, len(self._contents), content, self._span_ns)
            starts = {
                name: local_times.nanoseconds(context.start, zone)
                for name, context in content.contexts.items()
            }
            rank_events.add_contexts(starts)
            rank_events.add_points(series.read(rank))
            for file, context, time in self._files.artifacts(rank, content):
                rank_events.add_file(file, context, local_times.nanoseconds(time, zone))
            ranks.append(rank_events)
        run.datasets = [item for c in self._contents.values() for item in self._files.datasets(c)]
        yield from self._as_events(run, ranks)

    def _as_events(self, run: state.Run, ranks: list[RankEvents]) -> Iterator[Event]:
        factory = EventFactory(run.run_id)
        yield from factory.run(run)
        yield from factory.params(run)
        yield from factory.tags(run)
        yield from factory.inputs(run)
        yield from heapq.merge(*(r.timed() for r in ranks), key=attrgetter("time_ns"))
        for rank_events in ranks:
            for cls, fields in rank_events.untimed():
                yield factory.event(cls, *fields)
        models = [m for r, c in self._contents.items() for m in self._files.models(r, c, run)]
        for model in models:
            yield from factory.logged_model(model)
        run.output_models = [(model.model_id, 0) for model in models]
        yield from factory.outputs(run)
