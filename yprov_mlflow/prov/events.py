"""The interface between all parts: everything that can happen in a run, as frozen records.

Capture, collectors and the readers of existing stores produce events; ``translate`` turns them
into PROV and back; restoring replays them into a store. An event holds everything that the MLflow
call held, so that nothing else is needed to write the call into a store again.

Every event starts with the same four fields:

``run_id``
    MLflow's run id, or ``ids.store_id(...)`` for events that belong to a store and not to a run.
``session``
    Token of the process that observed the event (see ``ids.session_token``), or
    ``STORE_SESSION`` for state that was read from a store later.
``seq``
    Position in the session, from 0. A gap means that events were lost.
``time_ns``
    Time of the event in ns since the epoch; it never decreases within a session. 0 if unknown:
    a store keeps no time for params and tags.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

STORE_SESSION = "store"

TERMINAL = frozenset({"FINISHED", "FAILED", "KILLED"})
"""Statuses of runs that have ended."""

LARGEST_FLOAT = sys.float_info.max
"""Value that MLflow's SQL stores write for infinity, with its sign (mlflow#22826)."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
"""Bounds of times, steps and other whole numbers in journals, databases and Parquet."""

JOURNAL_FACTS = "journal"
"""``FactsCollected.collector`` for gaps in the journal of a session."""

OVERLAP_FACTS = "overlap"
"""``FactsCollected.collector`` of the runs that were measured on the machine at the same time."""

WORKFLOW_FACTS = "workflow"
"""``FactsCollected.collector`` of the workflow tasks around a process or thread."""

CODE_FACTS = "code"
"""``FactsCollected.collector`` of the code of a process that is kept, and of its command."""

NOTEBOOK_FACTS = "notebook"
"""``FactsCollected.collector`` of the cells that a notebook has executed until a run ended."""

DELIVERY_FACTS = "delivery"
"""``FactsCollected.collector`` of a session whose calls reach their store later."""

Json = Any
"""A JSON value: str, int, float, bool, None, or a list or dict of JSON values."""


KINDS: dict[str, type[Event]] = {}
"""Event classes by their name in a journal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; ``kind`` is the name of the event in a journal."""

    kind: ClassVar[str]

    # Journals hold the fields by position: a new field goes to the end, with a default.
    run_id: str
    session: str
    seq: int
    time_ns: int

    def __init_subclass__(cls, kind: str = "") -> None:
        # ``slots=True`` creates each class a second time, without the keyword ``kind``.
        cls.kind = kind or cls.kind
        KINDS[cls.kind] = cls


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStarted(Event, kind="session"):
    """A process wrote to a run for the first time.

    Args:
        facts: ``pid``, ``host``, ``user``, ``argv``, ``cwd``; the versions ``python``,
            ``mlflow`` and ``yprov_mlflow``; ``side``, which is ``"client"`` or ``"server"``; in
            distributed training also ``rank``, ``local_rank`` and ``world_size``.
    """

    facts: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class SessionEnded(Event, kind="session_end"):
    """A session ended without an end of its run.

    Args:
        ended: Token of the session; empty if it is that of the event, whose process has exited
            in order. Otherwise another process inferred it.
        rule: ``"exit"`` or ``"exception"``, as the process itself observed, or the rule of the
            inference: ``"slurm"``, ``"slurm-end-time"``, ``"signal"``, ``"oom-counter"`` or
            ``"last-seen"``.
        reason: The same in words.
        last_seen_ns: When the process was last seen, in ns since the epoch.
        evidence: The observations that the rule was applied to.
    """

    ended: str
    rule: str
    reason: str
    last_seen_ns: int
    evidence: Mapping[str, Json] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class FactsCollected(Event, kind="facts"):
    """A collector described the session, once.

    Args:
        collector: Name of the collector, such as ``"git"``, ``"environment"`` or ``"host"``.
        facts: The findings. ``"git"`` has ``commit``, ``branch``, ``dirty``,
            ``diff_sha256``, ``remote``, ``entry_point`` and ``entry_point_sha256``;
            ``"environment"`` has ``python``, ``implementation``, ``platform`` and ``packages``
            (name to version); ``"host"`` has ``os``, ``machine``, ``cpu_count``,
            ``memory_bytes`` and more. A collector that does not work on this machine has
            ``unavailable`` (the reason) and ``cure``; one that works in part has ``missing``, a
            list of mappings with ``what``, ``reason`` and ``cure``. ``JOURNAL_FACTS`` has
            ``problems``, texts about the damage of a session's journal, and ``missing``, the
            first and last number of each gap; its time is 0.
            ``OVERLAP_FACTS`` has ``runs``, the ids of up to 100 runs, and their ``count``; it is
            collected again when their number has doubled. ``WORKFLOW_FACTS`` has ``tasks``,
            mappings as the collector describes them, and ``problems``; those of the thread that
            started the run come first, those of the process may follow. ``CODE_FACTS`` has what
            ``collectors.code.collect`` returns, ``NOTEBOOK_FACTS`` its ``files`` and ``digest``,
            and ``first_cell`` and ``last_cell``, the numbers of the cells of the run.
            ``DELIVERY_FACTS`` has ``mode``, the setting ``delivery``, if the store may lack later
            events of the session, and ``delivered``, the number of the last event before which
            it has all that it accepts.
    """

    collector: str
    facts: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorStarted(Event, kind="collector"):
    """A collector started to measure; a later event with other quantities replaces this one.

    Args:
        description: ``agent``, ``version`` and ``procedure`` (the software that measures, and
            its method), ``interval_s``, ``devices`` (mappings with ``id``, ``label`` and
            ``facts``) and ``quantities`` (mappings with the fields of
            ``collectors.base.Quantity``).
    """

    collector: str
    description: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class Sampled(Event, kind="sample"):
    """A collector read its quantities.

    Args:
        values: One value for each quantity, in the order of ``CollectorStarted``; None for a
            quantity that could not be read.
    """

    collector: str
    values: Sequence[float | None]


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorStopped(Event, kind="collector_stop"):
    """A collector stopped measuring.

    Args:
        report: ``samples`` (count), ``cpu_s`` (processor time of sampling; it counts for all
            runs of the process in this period) and ``problems`` (mappings with ``reason``,
            ``count``, and ``time_ns`` of the first).
    """

    collector: str
    report: Mapping[str, Json]


@dataclasses.dataclass(frozen=True, slots=True)
class RunCreated(Event, kind="run"):
    """``create_run`` succeeded, or a run was read from a store.

    Args:
        experiment_id: MLflow's id of the experiment.
        start_time_ms: MLflow's start time in ms since the epoch.
        artifact_uri: Root of the run's artifacts, without password.
        tags: Tags that the run was created with.
        store: ``uuid`` (see ``ids.store_uuid``) and ``uri`` (without password) of the store.
        fields: All other columns of a stored run, such as ``source_name``, ``source_version``,
            ``entry_point_name`` and ``deleted_time``.
    """

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
class RunUpdated(Event, kind="run_update"):
    """The state of a run changed; a field that is None did not change.

    Args:
        status: MLflow's status, such as ``"RUNNING"`` or ``"FINISHED"``.
        end_time_ms: End time in ms since the epoch.
        lifecycle: ``"deleted"``, ``"active"`` (undeleted) or ``"purged"`` (deleted for good).
        inference: For an end that was inferred from the death of the run's processes:
            ``rule`` (see ``SessionEnded``), ``reason``, ``session`` (the token of the one that
            was seen last), ``last_seen_ns``, and ``tool``, the version that closed it.
    """

    status: str | None = None
    end_time_ms: int | None = None
    run_name: str | None = None
    lifecycle: str | None = None
    inference: Mapping[str, Json] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ParamsLogged(Event, kind="params"):
    """Params were logged: key to value, which MLflow keeps as text."""

    params: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsLogged(Event, kind="metrics"):
    """Metric points were logged by one call, as columns of equal length.

    Args:
        keys: Metric of each point.
        values: Value of each point; NaN and infinities are allowed.
        timestamps_ms: Time of each point in ms since the epoch.
        steps: Step of each point.
        context_paths: Contexts in which points were logged. A path such as ``("training", 3)``
            holds names of nested contexts (str) and epochs (int).
        contexts: Index into ``context_paths`` of each point. None if all points were logged in
            ``context_paths[0]``, or outside any context if ``context_paths`` is empty.
        models: Logged model that each point evaluates; None if no point has one.
        datasets: Dataset that each point was computed on, as ``[name, digest]``; None if no
            point has one.
    """

    keys: Sequence[str]
    values: Sequence[float]
    timestamps_ms: Sequence[int]
    steps: Sequence[int]
    context_paths: Sequence[Sequence[str | int]] = ()
    contexts: Sequence[int] | None = None
    models: Sequence[str | None] | None = None
    datasets: Sequence[Sequence[str] | None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TagsSet(Event, kind="tags"):
    """Tags of the run were set: key to value."""

    tags: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class TagDeleted(Event, kind="tag_delete"):
    """A tag of the run was deleted."""

    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class InputsLogged(Event, kind="inputs"):
    """Inputs of the run were logged.

    Args:
        datasets: Mappings with ``name``, ``digest``, ``source_type``, ``source``, ``schema``,
            ``profile`` (each text or None) and ``tags`` (a mapping, of which
            ``mlflow.data.context`` is the purpose, such as ``"training"``). If the source is a
            file of the machine, ``source_sha256`` is the hash of its content at that time.
        models: Ids of logged models.
    """

    datasets: Sequence[Mapping[str, Json]] = ()
    models: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class OutputsLogged(Event, kind="outputs"):
    """Logged models were registered as outputs of the run: pairs of model id and step."""

    models: Sequence[tuple[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactsLogged(Event, kind="artifacts"):
    """One call wrote or deleted artifact files.

    Args:
        files: Mappings with ``path`` (relative to the artifact root), ``size`` (bytes, or None)
            and ``sha256`` (hexadecimal, or None).
        owner: ``("model", model_id)`` or ``("trace", trace_id)`` if the files belong to a logged
            model or a trace; None if they belong to the run.
        context_path: Context in which the call was made (see ``MetricsLogged``).
        deleted: Whether the call deleted the files.
    """

    files: Sequence[Mapping[str, Json]]
    owner: tuple[str, str] | None = None
    context_path: Sequence[str | int] = ()
    deleted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FilesAccessed(Event, kind="files"):
    """The process read or wrote data files outside MLflow.

    Args:
        files: Mappings with ``path`` (absolute, or a URL), ``mode`` (``"read"`` or
            ``"written"``), ``time_ns`` (of the first opening, 0 if unknown), ``size`` (bytes, or
            None) and ``sha256`` (hexadecimal, or None) with ``not_hashed``, the reason. A later
            mapping about a file that was written replaces an earlier one; with ``removed`` it
            says that the file was not changed, or is gone. One for a folder has ``count``, the
            number of its files, their ``size`` together, and as ``sha256`` the digest of their
            paths below it, sizes and hashes; ``members`` are the hashes if they are few.
        most: Number of files of a run after which no more were recorded, if there were more.
    """

    files: Sequence[Mapping[str, Json]]
    most: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ModelLogged(Event, kind="model"):
    """A logged model (MLflow 3) was created or changed; a field that is None did not change.

    Args:
        model_id: MLflow's id of the model.
        model_type: MLflow's free text, such as ``"Agent"``.
        status: MLflow's status (``"PENDING"``, ``"READY"``, ``"FAILED"``) or ``"DELETED"``.
        experiment_id: Experiment of the model.
        artifact_uri: Root of the model's artifacts, without password.
        creation_time_ms: Time of creation in ms since the epoch.
        deleted_tag: Key of a tag that was deleted.
        fields: All other columns of a stored model, such as ``last_updated_timestamp_ms``,
            ``status_message`` and ``source_run_id``.
        base: The model whose object was logged again as this one, as ``ObjectRead.subject``.
    """

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
    base: Mapping[str, str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectRead(Event, kind="read"):
    """The run's program read an object through MLflow.

    Args:
        role: How: ``"loaded"``, ``"downloaded"``, ``"evaluated"`` or ``"read"``.
        subject: Ids of the object by kind: ``{"run": "…"}`` for artifacts of a run,
            ``{"logged-model": "m-…"}``, ``{"model": "clf", "version": "2"}``, which has
            ``logged-model`` as well if that is known, ``{"prompt": "qa", "version": "1"}``,
            ``{"trace": "tr-…"}``, ``{"dataset": "d-…"}``; empty for files outside of MLflow.
        path: File or folder below the root of the object's artifacts; empty for all of it.
        uri: URI or name in the call, such as ``"models:/clf@champion"``.
        alias: Alias, stage or ``latest`` in that, which MLflow resolved to this object.
        files: The files, as in ``ArtifactsLogged``.
        context_path: Context in which the call was made (see ``MetricsLogged``).
    """

    role: str
    subject: Mapping[str, str]
    path: str = ""
    uri: str | None = None
    alias: str | None = None
    files: Sequence[Mapping[str, Json]] = ()
    context_path: Sequence[str | int] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ContextEntered(Event, kind="context_enter"):
    """The run entered a context or an epoch: the last element of ``path`` (str or int)."""

    path: Sequence[str | int]


@dataclasses.dataclass(frozen=True, slots=True)
class ContextLeft(Event, kind="context_leave"):
    """The run left a context or an epoch; ``failed`` if an exception ended it."""

    path: Sequence[str | int]
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StoreCalled(Event, kind="call"):
    """Another method of a store changed something: experiments, registry, traces, prompts, ...

    Args:
        method: Name of the store's method, such as ``"create_registered_model"``.
        subjects: Ids of the objects that the call changed or created, by kind:
            ``{"experiment": "1"}``, ``{"model": "iris", "version": "2"}``, ``{"trace": "tr-1"}``.
        arguments: All arguments as JSON, without secrets.
        result: Return value as JSON, without secrets.
        before: The state of objects before the call that the call changes or ends without
            naming them, such as the versions of a registered model that is deleted.
    """

    method: str
    subjects: Mapping[str, str]
    arguments: Mapping[str, Json]
    result: Json = None
    before: Json = None


@dataclasses.dataclass(frozen=True, slots=True)
class CallRefused(Event, kind="refused"):
    """The store refused, when it was written, what an earlier call of the session had logged.

    Args:
        content: ``method``, the name of the store's method; ``params`` and ``tags`` by their
            keys (a tag to delete is None), and ``metrics``, the number of points by their keys.
        reason: The answer of the store.
    """

    content: Mapping[str, Json]
    reason: str = ""


FIELDS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(f.name for f in dataclasses.fields(cls)) for kind, cls in KINDS.items()
}
"""Field names of each kind of event, the four common ones first."""
