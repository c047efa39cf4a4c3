"""The state of one translation: what handlers of events build on."""

from __future__ import annotations

import dataclasses
import hashlib

from yprov_mlflow.prov.events import STORE_SESSION, Event, RunCreated
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes, Builder
from yprov_mlflow.prov.model.identifiers import STORE, Namespaces, digest, segment
from yprov_mlflow.prov.model.literals import Value
from yprov_mlflow.prov.translate.history import ActivityRef, PropertyHistory
from yprov_mlflow.prov.translate.timeline import Path, Timeline


@dataclasses.dataclass(frozen=True)
class Options:
    """How to translate.

    Args:
        max_samples: Most metric points of a run that become a record each.
        hash_user: Replace login names by digests of them.
        base_uri: Start of ids, in place of ``urn:uuid:``, for documents to be published.
    """

    max_samples: int = 1000
    hash_user: bool = False
    base_uri: str | None = None


class Translation:
    """One document in the making."""

    def __init__(
        self,
        options: Options,
        namespaces: Namespaces,
        timeline: Timeline,
        created: RunCreated | None,
    ) -> None:
        self.options = options
        self.namespaces = namespaces
        self.timeline = timeline
        self.created = created
        self.builder = Builder()
        self.histories = PropertyHistory(self.builder)
        self.users: dict[str, str] = {}
        self.hosts: dict[str, str] = {}
        self.datasets: dict[str, DatasetUse] = {}
        self.models_used: dict[str, str] = {}
        self.models_made: set[str] = set()
        self.models_to_come: set[str] = set()
        self.artifacts: dict[str, ArtifactState] = {}
        self.plans: dict[str, str] = {}
        self.spans: dict[str, SpanState] = {}
        self.lifecycle: str | None = None
        self.record_number = 0

    @property
    def store_level(self) -> bool:
        """Whether the document is of a store and of no run."""
        return not self.namespaces.run_id

    def rank_mark(self, session: str) -> str:
        """Give what sets ids of a rank apart from those of rank 0."""
        span = self.timeline.first_session(session)
        return f"@r{span.rank}" if span is not None and span.rank else ""

    def act(self, event: Event, path: Path = ()) -> ActivityRef:
        """Give the activity and time of an event: of the finest context that it is in."""
        time_ns = event_time(event)
        activity = self.timeline.at(event.session, time_ns, path)
        if self.store_level and activity == self.timeline.whole:
            self.builder.activity(activity, types=["mlf:RunSession"], label="store")
        # What no session is known to have done was done by the run, nobody knows when.
        time = literals.instant(time_ns) if activity != self.timeline.whole else None
        return ActivityRef(activity, time, token(event), self.rank_mark(event.session))

    def user(self, login: object) -> str:
        """Give the agent of a user, with the login name or a digest of it."""
        shown = self.login(str(login))
        agent = f"{STORE}:user/{segment(shown)}"
        return self.builder.agent(agent, ["prov:Person"], literals.text(shown))

    def login(self, login: str) -> str:
        """Give a login name as it may be shown."""
        if not self.options.hash_user:
            return login
        hashed = hashlib.sha256(login.encode("utf-8", "surrogatepass")).hexdigest()
        return f"user-{hashed[:16]}"


@dataclasses.dataclass
class DatasetUse:
    """A data set that the run used: where, and by which relation."""

    entity: str
    activity: str
    usage: str
    trains: bool


@dataclasses.dataclass
class ArtifactState:
    """The last version of a path: its entity, None when deleted, and how many there were."""

    entity: str | None
    count: int
    last: str
    sha256: object = None
    size: object = None

    def holds(self, sha256: object, size: object) -> bool:
        """Tell whether the last version is there and has these very bytes."""
        same = (self.sha256, self.size) == (sha256, size)
        return self.entity is not None and sha256 is not None and same


@dataclasses.dataclass
class SpanState:
    """A span of a trace as it was logged last; times in ns, 0 where unknown."""

    label: str
    parent: str | None
    start: int
    end: int
    inputs: object
    outputs: object
    attributes: Attributes


def event_time(event: Event) -> int:
    """Give when an event happened in ns; 0 for what was read from the store afterwards."""
    return 0 if event.session == STORE_SESSION else event.time_ns


def sequence(event: Event) -> Value | None:
    """Give the number of an event read from a store: nothing else tells of their order."""
    return literals.integer(event.seq) if event.session == STORE_SESSION else None


def token(event: Event) -> str:
    """Name an event so that no other, in any document, is called so; sorts by time."""
    time_ns = event_time(event)
    short = digest([event.run_id, event.session, event.seq, time_ns, event.kind])[:8]
    time = literals.instant(time_ns)
    if time is None:
        return short
    stamp = time[:26].replace("-", "").replace(":", "")
    return f"{stamp}-{short}"
