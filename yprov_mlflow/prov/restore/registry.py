"""Registered models, their versions, and prompts, which are registered models to MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.call_record import Call, Handler
from yprov_mlflow.prov.restore.state import ModelVersion, RegisteredModel, StoreState

DELETED = "Deleted_Internal"
_ARCHIVED = "Archived"
_FIELDS = (
    *("source", "run_id", "run_link", "description", "user_id", "status", "status_message"),
    *("storage_location", "model_id"),
)
_IS_PROMPT = "mlflow.prompt.is_prompt"
_PROMPT_SOURCE = "prompt-template"


def _model(estate: StoreState, call: Call) -> RegisteredModel | None:
    name = call.text("name")
    if name is None:
        return None
    found = estate.registered.setdefault(name, RegisteredModel(name))
    if call.time_ms is not None:
        found.last_updated_ms = call.time_ms
    return found


def _version(estate: StoreState, call: Call) -> ModelVersion | None:
    model, number = _model(estate, call), call.whole("version")
    if model is None or number is None:
        return None
    found = model.versions.setdefault(number, ModelVersion(number))
    if call.time_ms is not None:
        found.fields["last_updated_time"] = call.time_ms
    return found


def _create_model(estate: StoreState, call: Call) -> bool:
    name = call.text("name")
    if name is None:
        return False
    created = call.whole("creation_timestamp")
    model = RegisteredModel(
        name,
        call.text("description"),
        created if created is not None else call.time_ms,
        call.whole("last_updated_timestamp"),
        call.tags(),
    )
    if call.method == "create_prompt":
        model.tags = {_IS_PROMPT: "true", **model.tags}
    estate.registered[name] = model
    return True


def _update_model(estate: StoreState, call: Call) -> bool:
    model = _model(estate, call)
    if model is not None:
        model.description = call.arguments.get("description")
    return model is not None


def _rename_model(estate: StoreState, call: Call) -> bool:
    name, new = call.text("name"), call.text("new_name")
    model = estate.registered.pop(name or "", None)
    if model is None or new is None:
        return False
    model.name = new
    estate.registered[new] = model
    return True


def _delete_model(estate: StoreState, call: Call) -> bool:
    return estate.registered.pop(call.text("name") or "", None) is not None


def _set_model_tag(estate: StoreState, call: Call) -> bool:
    model = _model(estate, call)
    if model is not None:
        model.tags.update(call.tags())
    return model is not None


def _delete_model_tag(estate: StoreState, call: Call) -> bool:
    model = _model(estate, call)
    if model is not None:
        model.tags.pop(str(call.arguments.get("key")), None)
    return model is not None


def _set_alias(estate: StoreState, call: Call) -> bool:
    model, alias, number = _model(estate, call), call.text("alias"), call.whole("version")
    if model is None or alias is None or number is None:
        return False
    model.aliases[alias] = number
    return True


def _delete_alias(estate: StoreState, call: Call) -> bool:
    model = _model(estate, call)
    if model is not None:
        model.aliases.pop(call.text("alias") or "", None)
    return model is not None


# -- versions ----------------------------------------------------------------------------


def _create_version(estate: StoreState, call: Call) -> bool:
    model, number = _model(estate, call), call.whole("version")
    if model is None or number is None:
        return False
    fields = {key: call.find(key) for key in _FIELDS if call.find(key) is not None}
    for key, column in (
        ("creation_timestamp", "creation_time"),
        ("last_updated_timestamp", "last_updated_time"),
    ):
        time_ms = call.whole(key)
        fields[column] = time_ms if time_ms is not None else call.time_ms
    stage = call.text("current_stage")
    tags = call.tags()
    if call.method == "create_prompt_version":
        fields["source"] = _PROMPT_SOURCE
        tags = {**_prompt_tags(call), **tags}
    model.versions[number] = ModelVersion(
        number,
        None if stage == "None" else stage,
        {key: value for key, value in fields.items() if value is not None},
        tags,
    )
    return True


def _prompt_tags(call: Call) -> dict[str, str]:
    template: Any = call.find("template")
    found = {_IS_PROMPT: "true"}
    if template is not None:
        plain = isinstance(template, str)
        found["mlflow.prompt.text"] = template if plain else json.dumps(template)
        found["_mlflow_prompt_type"] = "text" if plain else "chat"
    for argument, tag in (
        ("response_format", "_mlflow_prompt_response_format"),
        ("model_config", "_mlflow_prompt_model_config"),
    ):
        if call.find(argument):
            found[tag] = json.dumps(call.find(argument))
    return found


def _copy_version(estate: StoreState, call: Call) -> bool:
    result = literals.mapping(call.result)
    source = literals.mapping(call.arguments.get("src_mv"))
    name, number = result.get("name"), literals.number(result.get("version"))
    origin, version = source.get("name"), literals.number(source.get("version"))
    if not isinstance(name, str) or number is None:
        return False
    model = estate.registered.setdefault(name, RegisteredModel(name, creation_time_ms=call.time_ms))
    fields = {key: result[key] for key in _FIELDS if result.get(key) is not None}
    known = estate.registered.get(str(origin))
    old = known.versions.get(version) if known is not None and version is not None else None
    if old is not None:
        fields = {**old.fields, **fields}
    fields["source"] = f"models:/{origin}/{version}"
    fields["creation_time"] = literals.number(result.get("creation_timestamp")) or call.time_ms
    fields["last_updated_time"] = fields["creation_time"]
    tags = {str(k): str(v) for k, v in literals.pairs(result.get("tags")).items()}
    model.versions[number] = ModelVersion(number, None, fields, tags)
    return True


def _update_version(estate: StoreState, call: Call) -> bool:
    version = _version(estate, call)
    if version is not None:
        version.fields["description"] = call.arguments.get("description")
    return version is not None


def _delete_version(estate: StoreState, call: Call) -> bool:
    version, model = _version(estate, call), _model(estate, call)
    if version is None or model is None:
        return False
    version.stage = DELETED
    model.aliases = {a: n for a, n in model.aliases.items() if n != version.version}
    return True


def _transition(estate: StoreState, call: Call) -> bool:
    version, stage = _version(estate, call), call.text("stage")
    model = _model(estate, call)
    if version is None or model is None or stage is None:
        return False
    if call.arguments.get("archive_existing_versions"):
        for other in model.versions.values():
            if other is not version and (other.stage or "None") == stage:
                other.stage = _ARCHIVED
    version.stage = None if stage == "None" else stage
    return True


def _set_version_tag(estate: StoreState, call: Call) -> bool:
    version = _version(estate, call)
    if version is not None:
        version.tags.update(call.tags())
    return version is not None


def _delete_version_tag(estate: StoreState, call: Call) -> bool:
    version = _version(estate, call)
    if version is not None:
        version.tags.pop(str(call.arguments.get("key")), None)
    return version is not None


HANDLERS: Mapping[str, Handler] = {
    "create_registered_model": _create_model,
    "update_registered_model": _update_model,
    "rename_registered_model": _rename_model,
    "delete_registered_model": _delete_model,
    "set_registered_model_tag": _set_model_tag,
    "delete_registered_model_tag": _delete_model_tag,
    "set_registered_model_alias": _set_alias,
    "delete_registered_model_alias": _delete_alias,
    "create_model_version": _create_version,
    "copy_model_version": _copy_version,
    "update_model_version": _update_version,
    "delete_model_version": _delete_version,
    "transition_model_version_stage": _transition,
    "set_model_version_tag": _set_version_tag,
    "delete_model_version_tag": _delete_version_tag,
    "create_prompt": _create_model,
    "delete_prompt": _delete_model,
    "set_prompt_tag": _set_model_tag,
    "delete_prompt_tag": _delete_model_tag,
    "set_prompt_alias": _set_alias,
    "delete_prompt_alias": _delete_alias,
    "create_prompt_version": _create_version,
    "delete_prompt_version": _delete_version,
    "set_prompt_version_tag": _set_version_tag,
    "delete_prompt_version_tag": _delete_version_tag,
}
