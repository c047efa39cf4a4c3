"""The narrow waist: everything that can happen in a run, as frozen records.

Capture (the plugin), collectors and the readers of old runs produce events;
``translate`` turns them into PROV and knows of nothing else. An event holds all that
the MLflow call held, so that a journal of events can be replayed into a store.

Every event starts with the same four fields:

``run_id``
    MLflow's run id, or the store's (``identity.store_id``) for what belongs to no run.
``session``
    The token of the process that saw it (see ``identity.session_token``), or
    ``STORE_SESSION`` for what was read from the store afterwards.
``seq``
    Position in the session, from 0, without gaps while nothing is lost.
``time_ns``
    When it happened, in ns since the epoch, never decreasing within a session;
    0 where nobody knows (a store keeps no time for params and tags).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

STORE_SESSION = "store"

TERMINAL = frozenset({"FINISHED", "FAILED", "KILLED"})
"""Statuses that end a run."""

Json = Any
"""A JSON value: str, int, float, bool, None, list or dict of such."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; ``kind`` names the record in a journal."""

    kind: ClassVar[str] = ""

    run_id: str
    session: str
    seq: int
    time_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStarted(Event):
    """A process began to write to a run.

    ``facts`` are those known at once: ``pid``, ``host``, ``user``, ``argv``, ``cwd``,
    ``python``, ``mlflow``, ``yprov_mlflow`` (versions), and where known ``rank``,
    ``local_rank``, ``world_size``; ``side`` is ``"client"`` or ``"server"``.
    """

    kind: ClassVar[str] = "session"

    facts: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class FactsCollected(Event):
    """What a collector found out about the session, once.

    ``collector`` is its name, such as ``"git"`` (commit, branch, dirty, diff_sha256, remote,
    entry_point, entry_point_sha256), ``"environment"`` (python, implementation, platform,
    packages: name to version) or ``"host"`` (os, machine, cpu_count, memory_bytes, ...). One
    that does not work here has ``unavailable`` (the reason) and ``cure``; one that lacks
    parts has ``missing``, a list of mappings with ``what``, ``reason`` and ``cure``.
    """

    kind: ClassVar[str] = "facts"

    collector: str
    facts: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorStarted(Event):
    """A collector began to measure for the session.

    ``description`` has ``agent``, ``version`` and ``procedure`` (who measures, and how),
    ``interval_s``, ``devices`` (id, label, facts) and ``quantities``: a list of mappings with
    ``name``, ``unit``, ``kind``, ``scope``, ``method``, ``device``, ``cumulative`` and
    ``component`` (see ``collectors.base.Quantity``). A collector that started again with
    other quantities begins anew.
    """

    kind: ClassVar[str] = "collector"

    collector: str
    description: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class Sampled(Event):
    """A collector read its quantities; ``values`` are in their order, None for one not read."""

    kind: ClassVar[str] = "sample"

    collector: str
    values: Sequence[float | None]


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorStopped(Event):
    """A collector ended measuring for the session.

    ``report`` has ``samples``, ``cpu_s`` (processor time that sampling took, over all runs of
    the process meanwhile) and ``problems``: mappings with ``reason``, ``count`` and the time
    of the first, ``time_ns``.
    """

    kind: ClassVar[str] = "collector_stop"

    collector: str
    report: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class RunCreated(Event):
    """``create_run`` succeeded, or a run was found in a store.

    ``store`` has ``uuid`` (see ``identity.store_uuid``) and ``uri`` (password removed).
    Times are MLflow's, in ms since the epoch. ``fields`` is what else a store says of the run
    (``source_name``, ``source_version``, ``entry_point_name``, ``deleted_time``, ...).
    """

    kind: ClassVar[str] = "run"

    experiment_id: str
    experiment_name: str | None
    run_name: str | None
    user_id: str | None
    start_time_ms: int | None
    artifact_uri: str | None
    tags: Mapping[str, str]
    store: Mapping[str, str]
    fields: Mapping[str, Json] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class RunUpdated(Event):
    """Status, end time or name of a run changed; ``None`` means: left as it was.

    ``lifecycle`` is ``"deleted"``, ``"active"`` (restored) or ``"purged"``.
    """

    kind: ClassVar[str] = "run_update"

    status: str | None = None
    end_time_ms: int | None = None
    run_name: str | None = None
    lifecycle: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ParamsLogged(Event):
    """Params that MLflow accepted: key to value (MLflow keeps params as text)."""

    kind: ClassVar[str] = "params"

    params: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsLogged(Event):
    """One call's metric points, as columns of equal length.

    ``contexts`` has for each point the index into ``context_paths``, or is ``None`` when all
    points were logged in ``context_paths[0]`` (or outside any, when that is empty). A path
    such as ``("training", 3)`` names nested contexts (str) and an epoch (int).
    ``models`` and ``datasets`` (``[name, digest]``) are ``None`` when no point has one.
    """

    kind: ClassVar[str] = "metrics"

    keys: Sequence[str]
    values: Sequence[float]
    timestamps_ms: Sequence[int]
    steps: Sequence[int]
    context_paths: Sequence[Sequence[str | int]] = ()
    contexts: Sequence[int] | None = None
    models: Sequence[str | None] | None = None
    datasets: Sequence[Sequence[str] | None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TagsSet(Event):
    """Tags set on the run: key to value."""

    kind: ClassVar[str] = "tags"

    tags: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class TagDeleted(Event):
    """A tag was removed from the run."""

    kind: ClassVar[str] = "tag_delete"

    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class InputsLogged(Event):
    """Data sets and models that the run read.

    A data set is a mapping with ``name``, ``digest``, ``source_type``, ``source``, ``schema``,
    ``profile`` (text or None) and ``tags`` (a mapping; ``mlflow.data.context`` says what for).
    ``models`` are ids of logged models.
    """

    kind: ClassVar[str] = "inputs"

    datasets: Sequence[Mapping[str, Json]] = ()
    models: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class OutputsLogged(Event):
    """Logged models that the run put out: pairs of model id and step."""

    kind: ClassVar[str] = "outputs"

    models: Sequence[tuple[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactsLogged(Event):
    """Files that one call wrote, each with ``path``, ``size`` (bytes), ``sha256`` (or None).

    ``path`` is relative to the artifact root of the run, or of the logged model or trace that
    ``owner`` (``"model"`` or ``"trace"``, then its id) names. ``deleted`` says that the call
    removed the files.
    """

    kind: ClassVar[str] = "artifacts"

    files: Sequence[Mapping[str, Json]]
    owner: tuple[str, str] | None = None
    context_path: Sequence[str | int] = ()
    deleted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ModelLogged(Event):
    """A logged model (MLflow 3) was created or changed; ``None`` means: left as it was.

    ``status`` is MLflow's (PENDING, READY, FAILED) or ``"DELETED"``. ``fields`` is what else a
    store says of it (``last_updated_timestamp_ms``, ``status_message``, ``source_run_id``, ...).
    """

    kind: ClassVar[str] = "model"

    model_id: str
    name: str | None = None
    model_type: str | None = None
    status: str | None = None
    experiment_id: str | None = None
    artifact_uri: str | None = None
    creation_time_ms: int | None = None
    params: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    deleted_tag: str | None = None
    fields: Mapping[str, Json] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ContextEntered(Event):
    """The run entered a context or an epoch: the last element of ``path`` (str or int)."""

    kind: ClassVar[str] = "context_enter"

    path: Sequence[str | int]


@dataclasses.dataclass(frozen=True, slots=True)
class ContextLeft(Event):
    """The run left a context or an epoch; ``failed`` says that an exception ended it."""

    kind: ClassVar[str] = "context_leave"

    path: Sequence[str | int]
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StoreCalled(Event):
    """Any other call that changed the store: experiments, registry, traces, prompts, ...

    ``method`` is the store's method name, ``arguments`` all that it was given and ``result``
    what it returned, both as JSON without secrets. ``subjects`` names what it was about, such
    as ``{"experiment": "1"}``, ``{"model": "iris", "version": "2"}``, ``{"trace": "tr-1"}``.
    """

    kind: ClassVar[str] = "call"

    method: str
    subjects: Mapping[str, str]
    arguments: Mapping[str, Json]
    result: Json = None


def _concrete(cls: type[Event]) -> list[type[Event]]:
    return [c for sub in cls.__subclasses__() for c in (sub, *_concrete(sub))]


KINDS: Mapping[str, type[Event]] = {cls.kind: cls for cls in _concrete(Event)}
"""Every event class by the name that it has in a journal."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(f.name for f in dataclasses.fields(cls)) for kind, cls in KINDS.items()
}
"""Names of all fields of an event, by kind, header first."""
