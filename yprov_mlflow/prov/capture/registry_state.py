"""The state of a store before calls that change or end objects without naming them.

MLflow does not say which version an alias had, which versions it archives, or what it deletes
and renames together with a registered model. Other documents may have set these, so the store is
asked, once for a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, cast

from yprov_mlflow.prov import serialize
from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.events import Json

_OF_ALIASES = frozenset(
    {
        *("set_registered_model_alias", "delete_registered_model_alias"),
        *("set_prompt_alias", "delete_prompt_alias"),
    }
)
_OF_VERSIONS = frozenset({"delete_model_version", "delete_prompt_version"})
_OF_MODELS = frozenset({"delete_registered_model", "delete_prompt", "rename_registered_model"})
_TRANSITION = "transition_model_version_stage"
_RENAME_EXPERIMENT = "rename_experiment"
METHODS = _OF_ALIASES | _OF_VERSIONS | _OF_MODELS | {_TRANSITION, _RENAME_EXPERIMENT}
"""Methods before which the store is asked."""

_MOST_VERSIONS = 1000
_PAGE = 200
_PROMPT = "mlflow.prompt.is_prompt"


def state_before(
    method: str, capture: CaptureSession, store: Any, arguments: Mapping[str, Any]
) -> dict[str, Json] | None:
    """Return what the store holds; None if the call fails anyway, or the store cannot tell."""
    with capture.uncaptured():
        if method == _RENAME_EXPERIMENT:
            experiment = capture.ask(store.get_experiment, str(arguments["experiment_id"]))
            return None if experiment is None else {"name": experiment.name}
        name = str(arguments["name"])
        if method == _TRANSITION:
            state = capture.ask(_stages, store, name, arguments)
        else:
            whole = method in _OF_MODELS
            version = arguments.get("version") if method in _OF_VERSIONS else None
            state = capture.ask(_model, store, name, whole, version)
    return cast("dict[str, Json] | None", state)


def _stages(store: Any, name: str, arguments: Mapping[str, Any]) -> dict[str, Json]:
    if arguments.get("archive_existing_versions"):
        versions = list(_versions(store, name, {}))
    else:
        versions = [store.get_model_version(name, arguments["version"])]
    return {"versions": [_stage(version) for version in versions]}


def _model(store: Any, name: str, whole: bool, version: object) -> dict[str, Json]:
    model = serialize.registered_model(store.get_registered_model(name))
    state: dict[str, Json] = {"aliases": {a: str(v) for a, v in sorted(model.aliases.items())}}
    versions = [] if version is None else [store.get_model_version(name, version)]
    if whole:
        versions = list(_versions(store, name, model.tags))
        state |= {"tags": dict(model.tags), "description": model.description}
    if versions:
        state["versions"] = [{**_stage(entity), **_properties(entity)} for entity in versions]
    return state


def _versions(store: Any, name: str, tags: Mapping[str, str]) -> Iterator[Any]:
    # MLflow's filters accept either kind of quote; its stores leave out prompts without a tag.
    quote = '"' if "'" in name else "'"
    condition = f"name = {quote}{name}{quote}"
    if _PROMPT in tags:
        condition += f" AND tags.`{_PROMPT}` = 'true'"
    options = {"filter_string": condition, "max_results": _PAGE}
    yield from islice(mlflow_private.pages(store.search_model_versions, **options), _MOST_VERSIONS)


def _stage(version: Any) -> dict[str, Json]:
    stage = version.current_stage
    return {"version": str(version.version), "stage": None if stage in (None, "None") else stage}


def _properties(version: Any) -> dict[str, Json]:
    state = serialize.model_version(version)
    return {"tags": dict(state.tags), "description": state.fields.get("description")}
