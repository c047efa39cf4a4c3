"""Replay calls about registered models and their versions; MLflow stores prompts as such."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.calls import Call, Handler, deletes_tag, required, sets_tags
from yprov_mlflow.prov.state import ModelVersion, RegisteredModel, StoreState, Values

DELETED = "Deleted_Internal"
_FIELDS = (
    *("source", "run_id", "run_link", "description", "user_id", "status", "status_message"),
    *("storage_location", "model_id"),
)
_MODEL_ARGUMENTS = (
    *("name", "description", "creation_timestamp", "last_updated_timestamp", "tags"),
)
_VERSION_ARGUMENTS = (
    *_FIELDS,
    *("name", "version", "creation_timestamp", "last_updated_timestamp", "current_stage", "tags"),
)
VERSION_FIELDS = frozenset({*_FIELDS, "creation_time", "last_updated_time"})
"""Fields of a version that all versions of MLflow have."""

# Only this tag distinguishes a prompt from a model.
_IS_PROMPT = "mlflow.prompt.is_prompt"


def _model(state: StoreState, call: Call) -> RegisteredModel:
    """Return the model that a call changes, with the time of the change."""
    name = required(call.text("name"))
    model = state.registered_models.setdefault(name, RegisteredModel(name))
    if call.time_ms is not None:
        model.last_updated_ms = call.time_ms
    return model


def _version(state: StoreState, call: Call) -> ModelVersion:
    """Return the version that a call changes, with the time of the change."""
    model, number = _model(state, call), required(call.integer("version"))
    version = model.versions.setdefault(number, ModelVersion(number))
    if call.time_ms is not None:
        version.fields["last_updated_time"] = call.time_ms
    return version


def _create_model(state: StoreState, call: Call) -> None:
    name = required(call.text("name"))
    is_prompt = {_IS_PROMPT: "true"} if call.method == "create_prompt" else {}
    state.registered_models[name] = RegisteredModel(
        name,
        call.text("description"),
        call.time("creation_timestamp"),
        call.integer("last_updated_timestamp"),
        Values(is_prompt | call.tags()),
        fields=call.extra(call.arguments, *_MODEL_ARGUMENTS),
    )


def _describe_model(state: StoreState, call: Call) -> None:
    _model(state, call).description = call.arguments.get("description")


def _rename_model(state: StoreState, call: Call) -> None:
    model = required(state.registered_models.pop(call.text("name") or "", None))
    model.name = required(call.text("new_name"))
    state.registered_models[model.name] = model


def _delete_model(state: StoreState, call: Call) -> None:
    required(state.registered_models.pop(call.text("name") or "", None))


def _set_alias(state: StoreState, call: Call) -> None:
    aliases = _model(state, call).aliases
    aliases[required(call.text("alias"))] = required(call.integer("version"))


def _delete_alias(state: StoreState, call: Call) -> None:
    aliases = _model(state, call).aliases
    if (alias := call.text("alias")) in aliases:
        del aliases[alias]


# -- versions ----------------------------------------------------------------------------


def _create_version(state: StoreState, call: Call) -> None:
    model, number = _model(state, call), required(call.integer("version"))
    fields = {key: call.find(key) for key in _FIELDS}
    fields["creation_time"] = call.time("creation_timestamp")
    fields["last_updated_time"] = call.time("last_updated_timestamp")
    tags = call.tags()
    if call.method == "create_prompt_version":
        # MLflow writes this text as the source of every prompt.
        fields["source"] = "prompt-template"
        tags = _prompt_tags(call) | tags
    fields = {key: value for key, value in fields.items() if value is not None}
    fields |= call.extra(call.arguments, *_VERSION_ARGUMENTS)
    stage = call.text("current_stage")
    model.versions[number] = ModelVersion(
        number, None if stage == "None" else stage, fields, Values(tags)
    )


def _prompt_tags(call: Call) -> dict[str, str]:
    """Return the tags in which MLflow keeps the arguments of ``create_prompt_version``."""
    template: Any = call.find("template")
    tags = {_IS_PROMPT: "true"}
    if template is not None:
        is_text = isinstance(template, str)
        tags["mlflow.prompt.text"] = template if is_text else json.dumps(template)
        tags["_mlflow_prompt_type"] = "text" if is_text else "chat"
    for argument in ("response_format", "model_config"):
        if call.find(argument):
            tags[f"_mlflow_prompt_{argument}"] = json.dumps(call.find(argument))
    return tags


def _copy_version(state: StoreState, call: Call) -> None:
    result = literals.mapping(call.result)
    source = literals.mapping(call.arguments.get("src_mv"))
    name, number = result.get("name"), required(literals.number(result.get("version")))
    name = required(name if isinstance(name, str) else None)
    source_name, source_number = source.get("name"), literals.number(source.get("version"))
    model = state.registered_models.setdefault(
        name, RegisteredModel(name, creation_time_ms=call.time_ms)
    )
    fields = {key: result[key] for key in _FIELDS if result.get(key) is not None}
    original = state.registered_models.get(str(source_name))
    if original is not None and source_number in original.versions:
        fields = original.versions[source_number].fields | fields
    fields["source"] = f"models:/{source_name}/{source_number}"
    fields["creation_time"] = literals.number(result.get("creation_timestamp")) or call.time_ms
    fields["last_updated_time"] = fields["creation_time"]
    tags = {key: str(value) for key, value in literals.pairs(result.get("tags")).items()}
    model.versions[number] = ModelVersion(number, None, fields, tags)


def _describe_version(state: StoreState, call: Call) -> None:
    _version(state, call).fields["description"] = call.arguments.get("description")


def _delete_version(state: StoreState, call: Call) -> None:
    version, model = _version(state, call), _model(state, call)
    # MLflow keeps the row of a deleted version, so that its number is not used again.
    version.stage = DELETED
    for alias in [a for a, number in model.aliases.items() if number == version.version]:
        del model.aliases[alias]


def _transition(state: StoreState, call: Call) -> None:
    version, model, stage = _version(state, call), _model(state, call), required(call.text("stage"))
    if call.arguments.get("archive_existing_versions"):
        for other in model.versions.values():
            if other is not version and (other.stage or "None") == stage:
                other.stage = "Archived"
    version.stage = None if stage == "None" else stage


_OF_MODELS: Mapping[str, Handler] = {
    "create_{}": _create_model,
    "delete_{}": _delete_model,
    "set_{}_tag": sets_tags(_model),
    "delete_{}_tag": deletes_tag(_model),
    "set_{}_alias": _set_alias,
    "delete_{}_alias": _delete_alias,
}
_OF_VERSIONS: Mapping[str, Handler] = {
    "create_{}_version": _create_version,
    "delete_{}_version": _delete_version,
    "set_{}_version_tag": sets_tags(_version),
    "delete_{}_version_tag": deletes_tag(_version),
}
HANDLERS: Mapping[str, Handler] = {
    **{method.format("registered_model"): handler for method, handler in _OF_MODELS.items()},
    **{method.format("model"): handler for method, handler in _OF_VERSIONS.items()},
    **{method.format("prompt"): fn for method, fn in {**_OF_MODELS, **_OF_VERSIONS}.items()},
    "update_registered_model": _describe_model,
    "rename_registered_model": _rename_model,
    "copy_model_version": _copy_version,
    "update_model_version": _describe_version,
    "transition_model_version_stage": _transition,
}
