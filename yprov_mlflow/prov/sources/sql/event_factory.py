"""What a store says of its things, as the events that would have made them.

Databases and servers say the same in other words: both readers put it into these.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.events import STORE_SESSION, Event, Json, ModelLogged, StoreCalled
from yprov_mlflow.prov.ids import redact

WITHHELD = "(withheld)"
"""Stands for a secret, which is never read."""

_SECRET = re.compile(
    r"secret|password|passwd|credential|auth_config|api_key|token(_hash)?\Z|encrypted|wrapped",
    re.IGNORECASE,
)
_PUBLIC = re.compile(r"_(id|name|version|tokens?_count)\Z")
_PLACE = re.compile(r"(uri|url|location|source)\Z", re.IGNORECASE)
_LONGEST_NUMBER = 40
MODEL_STATUSES = {0: None, 1: "PENDING", 2: "READY", 3: "FAILED"}
TRACE_LOCATION = "mlflow.artifactLocation"
SPANS_LOCATION = "mlflow.trace.spansLocation"
IN_DATABASE, ARCHIVED = "TRACKING_STORE", "ARCHIVE_REPO"
"""Tags of traces that say where their files and spans are; values of the latter."""

DELETED_STAGE = "Deleted_Internal"
"""Stage of a version of a registered model that was deleted."""

MOST_ROWS = 500
"""Rows, points or spans in one call."""


class Entries:
    """Makes the events of one run, or of what belongs to none, numbered from 0."""

    def __init__(self, run_id: str) -> None:
        """Name the run, or the store by its id."""
        self.run_id = run_id
        self._seq = 0

    def event(self, cls: type[Event], *fields: Any) -> Event:
        """Make the next event."""
        self._seq += 1
        return cls(self.run_id, STORE_SESSION, self._seq - 1, 0, *fields)

    def call(
        self,
        method: str,
        subjects: Mapping[str, object],
        arguments: Mapping[str, Json],
        result: Json = None,
    ) -> Event:
        """Make the next event: a call about the subjects."""
        named = {kind: str(name) for kind, name in subjects.items()}
        return self.event(StoreCalled, method, named, dict(arguments), result)

    # -- experiments and the registry --------------------------------------------------

    def experiment(self, found: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Event]:
        """Give the creation of an experiment, and its deletion."""
        experiment_id = str(found["experiment_id"])
        subjects = {"experiment": experiment_id}
        arguments = {
            "name": found.get("name"),
            "experiment_id": experiment_id,
            "artifact_location": place(found.get("artifact_location")),
            "tags": dict(tags),
            **taken(found, "creation_time", "last_update_time", "lifecycle_stage"),
            **rest(found),
        }
        yield self.call("create_experiment", subjects, arguments, experiment_id)
        if found.get("lifecycle_stage") == "deleted":
            yield self.call("delete_experiment", subjects, {"experiment_id": experiment_id})

    def registered_model(self, found: Mapping[str, Any], tags: Mapping[str, str]) -> Event:
        """Give the creation of a registered model; times are named as MLflow's API does."""
        arguments = {
            **taken(found, "name", "description", "creation_timestamp", "last_updated_timestamp"),
            "tags": dict(tags),
            **rest(found),
        }
        return self.call("create_registered_model", {"model": found["name"]}, arguments)

    def model_version(self, found: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Event]:
        """Give the creation of a version, its stage, and its deletion."""
        name, version = found["name"], str(found["version"])
        subjects, named = {"model": name, "version": version}, {"name": name, "version": version}
        arguments = {
            **named,
            "source": place(found.get("source")),
            **taken(found, "run_id", "run_link", "description", "user_id", "model_id"),
            "tags": dict(tags),
            **taken(found, "creation_timestamp", "last_updated_timestamp"),
            **taken(found, "status", "status_message"),
            "storage_location": place(found.get("storage_location")),
            **rest(found),
        }
        yield self.call("create_model_version", subjects, arguments)
        stage = found.get("current_stage")
        if stage == DELETED_STAGE:
            yield self.call("delete_model_version", subjects, named)
        elif stage not in (None, "", "None"):
            moved = {**named, "stage": stage, "archive_existing_versions": False}
            yield self.call("transition_model_version_stage", subjects, moved)

    def alias(self, name: str, alias: str, version: object) -> Event:
        """Give the assignment of an alias."""
        arguments = {"name": name, "alias": alias, "version": str(version)}
        subjects = {"model": name, "alias": alias, "version": version}
        return self.call("set_registered_model_alias", subjects, arguments)

    # -- logged models -----------------------------------------------------------------

    def logged_model(
        self, found: Mapping[str, Any], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> Iterator[Event]:
        """Give the creation of a logged model, and its deletion."""
        model_id, status = str(found["model_id"]), found.get("status")
        names = ("last_updated_timestamp_ms", "lifecycle", "source_run_id", "status_message")
        fields = {**taken(found, *names), **rest(found)}
        experiment_id = found.get("experiment_id")
        yield self.event(
            ModelLogged,
            model_id,
            found.get("name"),
            found.get("model_type"),
            MODEL_STATUSES.get(status, str(status)) if status is not None else None,
            str(experiment_id) if experiment_id is not None else None,
            place(found.get("artifact_location")),
            found.get("creation_timestamp_ms"),
            dict(params),
            dict(tags),
            None,
            {key: value for key, value in fields.items() if value not in (None, "", "active")}
            or None,
        )
        if found.get("lifecycle") == "deleted":
            yield self.event(ModelLogged, model_id, None, None, "DELETED")

    def model_points(self, model_id: str, points: Sequence[Mapping[str, Json]]) -> Event:
        """Give metric points of a logged model that the run itself has not."""
        arguments = {"model_id": model_id, "metrics": list(points)}
        return self.call("log_logged_model_metrics", {"logged-model": model_id}, arguments)

    # -- traces ------------------------------------------------------------------------

    def trace(self, info: Mapping[str, Json]) -> Event:
        """Give the start of a trace; ``info`` has the fields of MLflow's ``TraceInfo``."""
        return self.call("start_trace", {"trace": info["trace_id"]}, {"trace_info": dict(info)})

    def spans(self, trace_id: str, spans: Sequence[Json]) -> Iterator[Event]:
        """Give the spans of a trace, as MLflow's JSON has them."""
        if spans:
            yield self.call("log_spans", {"trace": trace_id}, {"spans": list(spans)})

    def assessment(self, found: Mapping[str, Json]) -> Event:
        """Give an assessment, with the fields of MLflow's ``Assessment``."""
        subjects = {"trace": found["trace_id"], "assessment": found["assessment_id"]}
        return self.call("create_assessment", subjects, {"assessment": dict(found)})

    def linked_traces(self, run_id: str, traces: Sequence[str]) -> Event:
        """Give that traces were linked to a run that did not make them."""
        arguments = {"trace_ids": list(traces), "run_id": run_id}
        return self.call("link_traces_to_run", {"run": run_id}, arguments)

    def linked_prompts(self, trace_id: str, versions: Sequence[Mapping[str, Json]]) -> Event:
        """Give that versions of prompts were linked to a trace."""
        arguments = {"trace_id": trace_id, "prompt_versions": list(versions)}
        return self.call("link_prompts_to_trace", {"trace": trace_id}, arguments)


def trace_info(
    trace_id: str,
    experiment_id: object,
    found: Mapping[str, Any],
    metadata: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, Json]:
    """Give the fields of a trace as MLflow's ``TraceInfo`` names them."""
    location = {"experiment_id": str(experiment_id)}
    shown = dict(tags)
    if TRACE_LOCATION in shown:
        shown[TRACE_LOCATION] = redact(shown[TRACE_LOCATION])
    return {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": location},
        **taken(found, "request_time", "execution_duration", "state"),
        **taken(found, "request_preview", "response_preview", "client_request_id"),
        "trace_metadata": dict(metadata),
        "tags": shown,
    }


def taken(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Give the fields with these names; None is what is not there."""
    return {name: found.get(name) for name in names}


def some(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Give those of the fields that are there."""
    return {name: found[name] for name in names if found.get(name) is not None}


def others(found: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Give what a later schema has besides the columns that are told otherwise."""
    rest = without_secrets({name: found[name] for name in found if name not in known})
    return {name: plain(value) for name, value in rest.items() if value is not None}


def plain(value: Any) -> Json:
    """Give a database's value as JSON: times as ISO 8601, bytes as Base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if value is None or isinstance(value, str | bool | int | float | list | dict):
        return value
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if callable(isoformat) else str(value)


def as_number(value: object) -> tuple[bool, int, str]:
    """Give what sorts ids and times as numbers, what is not there first; after those any other."""
    text = str(value or 0)
    if text.isdecimal() and len(text) < _LONGEST_NUMBER:
        return False, int(text), ""
    return True, 0, text


def texts(found: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """Give keys and values as text, as MLflow has them; NULL, which it never writes, is empty."""
    return {str(key): "" if value is None else str(value) for key, value in found}


def rest(found: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a store has that others have not: a workspace, columns of a later schema."""
    workspace = found.get("workspace")
    only = workspace in (None, "", "default")
    return {**found.get("extra", {}), **({} if only else {"workspace": str(workspace)})}


def place(uri: object) -> str | None:
    """Give a URI without password."""
    return redact(str(uri)) if uri is not None else None


def without_secrets(found: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row with its secrets withheld; ids and names of secrets are none."""
    shown = {}
    for name, value in found.items():
        if value is not None and _SECRET.search(name) and not _PUBLIC.search(name):
            shown[name] = WITHHELD
        else:
            shown[name] = redact(value) if isinstance(value, str) and _PLACE.search(name) else value
    return shown
