"""The state of one translation, shared by the handlers of events."""

from __future__ import annotations

import dataclasses
import hashlib

from yprov_mlflow.prov.events import STORE_SESSION, Event, ObjectRead, RunCreated
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, STORE, Namespaces, digest, segment
from yprov_mlflow.prov.model.literals import Value
from yprov_mlflow.prov.translate.history import ActivityRef, PropertyHistory
from yprov_mlflow.prov.translate.timeline import AFTER_END, Path, Timeline, event_time
from yprov_mlflow.prov.translate.training import TrainingStages


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a translation.

    Args:
        max_samples: Number of metric points up to which each becomes a record.
        hash_user: Replace login names by their hashes.
        base_uri: Start of identifiers, instead of ``urn:uuid:``, for published documents.
    """

    max_samples: int = 100
    hash_user: bool = False
    base_uri: str | None = None


@dataclasses.dataclass
class Translation:
    """A document being built, and what later events need to know of earlier ones.

    Attributes:
        created: The event that created the run, if there is one.
        users: Agent of each session's user, by token.
        hosts: Name of each session's host, by token.
        plans: Entity of each session's code, by token.
        refusals: The calls of each session that the store refused, by token.
        training: Datasets and models in the order in which they were logged.
        models_created: Models created so far.
        models_to_create: All models that some event of the document creates.
        model_versions: Versions of registered models; their order is that of their declaration.
        prompts: Registered models and versions that are prompts.
        assessments: Assessments of traces, in the order of their declaration.
        artifacts: Artifacts written so far, by the entity of their first version.
        unmade: Readings of entities of this run that no event has made so far.
        spans: Spans of traces, by their activity.
        metric_sources: JSON lists of who measured a metric, by metric.
        lifecycle: Lifecycle stage of the run: ``deleted``, ``active`` or ``purged``.
        record_number: Number of times that the run was put in the store.
    """

    options: Options
    namespaces: Namespaces
    timeline: Timeline
    created: RunCreated | None
    builder: Builder = dataclasses.field(default_factory=Builder)
    history: PropertyHistory = dataclasses.field(init=False)
    users: dict[str, str] = dataclasses.field(default_factory=dict)
    hosts: dict[str, str] = dataclasses.field(default_factory=dict)
    plans: dict[str, str] = dataclasses.field(default_factory=dict)
    refusals: dict[str, str | None] = dataclasses.field(default_factory=dict)
    training: TrainingStages = dataclasses.field(default_factory=TrainingStages)
    models_created: set[str] = dataclasses.field(default_factory=set)
    models_to_create: set[str] = dataclasses.field(default_factory=set)
    model_versions: dict[str, None] = dataclasses.field(default_factory=dict)
    prompts: set[str] = dataclasses.field(default_factory=set)
    assessments: dict[str, None] = dataclasses.field(default_factory=dict)
    artifacts: dict[str, ArtifactState] = dataclasses.field(default_factory=dict)
    unmade: list[tuple[ObjectRead, str]] = dataclasses.field(default_factory=list)
    spans: dict[str, SpanState] = dataclasses.field(default_factory=dict)
    metric_sources: dict[str, str] = dataclasses.field(default_factory=dict)
    lifecycle: str | None = None
    record_number: int = 0

    def __post_init__(self) -> None:
        self.history = PropertyHistory(self.builder)

    @property
    def store_level(self) -> bool:
        """Whether the document is of a store and not of a run."""
        return not self.namespaces.run_id

    def rank(self, session: str) -> int:
        """Return the rank of a session's process, 0 without a launcher."""
        span = self.timeline.first_session(session)
        return span.rank if span is not None else 0

    def rank_suffix(self, session: str) -> str:
        """Return the suffix that keeps ids of ranks apart; empty for rank 0."""
        rank = self.rank(session)
        return f"@r{rank}" if rank else ""

    def activity_ref(self, event: Event, path: Path = ()) -> ActivityRef:
        """Return the innermost activity that an event belongs to, and the event's time."""
        time_ns = event_time(event)
        activity = self.timeline.activity_at(event.session, time_ns, path)
        if self.store_level and activity == self.timeline.root_activity:
            self.builder.activity(activity, types=["mlf:RunSession"], label="store")
        # Events outside all sessions are attributed to the run; their time would claim that it
        # did something then.
        time = literals.instant(time_ns) if activity != self.timeline.root_activity else None
        return ActivityRef(activity, time, token(event), self.rank_suffix(event.session))

    def run_usage(self, ref: ActivityRef) -> tuple[str, str | None]:
        """Return the activity that uses the inputs of an event, and the time.

        The run uses its params, datasets and models, regardless of the session that logged them.
        Inputs that were logged after its end lack a time.
        """
        if self.store_level:
            return ref.activity, ref.time
        return f"{RUN}:run", None if ref.activity.startswith(AFTER_END) else ref.time

    def user(self, login: object) -> str:
        """Add the agent of a user and return its id."""
        shown = self.login(str(login))
        return self.builder.agent(self.user_id(str(login)), ["prov:Person"], literals.text(shown))

    def user_id(self, login: str) -> str:
        """Return the id of the agent of a user."""
        return f"{STORE}:user/{segment(self.login(login))}"

    def login(self, login: str) -> str:
        """Return a login name, hashed if the options say so."""
        if not self.options.hash_user:
            return login
        # A login from the command line may have lone surrogates, which UTF-8 cannot encode.
        hashed = hashlib.sha256(login.encode("utf-8", "surrogatepass")).hexdigest()
        return f"user-{hashed[:16]}"


@dataclasses.dataclass
class ArtifactState:
    """Versions of an artifact: the current one (None if deleted), their count, the latest."""

    current: str | None
    count: int
    latest: str
    sha256: object = None
    size: object = None


@dataclasses.dataclass
class SpanState:
    """A span of a trace as it was logged last; times in ns, 0 if unknown."""

    label: str
    parent: str | None
    start: int
    end: int
    inputs: object
    outputs: object
    attributes: Attributes


def sequence(event: Event) -> Value | None:
    """Return the number of an event from a store, which keeps the order that times cannot."""
    return literals.integer(event.seq) if event.session == STORE_SESSION else None


def token(event: Event) -> str:
    """Return a name for an event that is unique over all documents and sorts by time."""
    time_ns = event_time(event)
    # The time alone is not unique: ranks and threads write in the same microsecond.
    short = digest([event.run_id, event.session, event.seq, time_ns, event.kind])[:8]
    time = literals.instant(time_ns)
    # An event that was read from a store has no time.
    return f"{time[:26].replace('-', '').replace(':', '')}-{short}" if time is not None else short
