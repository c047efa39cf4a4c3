"""Calls on registered models and their versions: origins, stages and names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import cast

from yprov_mlflow.prov.ids import unquote_key
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import Value, mapping, name, text
from yprov_mlflow.prov.translate.artifacts import folder_id
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.store_calls.method_names import (
    create,
    expect_aliases,
    expect_properties,
    is_alias,
    on_noun,
)
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler
from yprov_mlflow.prov.translate.translation import Translation

# Either a URI of MLflow, or the location that MLflow resolved it to.
_RUN_SOURCE = re.compile(r"runs:/+([^/]+)/(.+)\Z|/([0-9a-f]{32})/artifacts/(.+)\Z")
_MODEL_SOURCE = re.compile(r"models:/(m-[^/]+)\Z|/models/(m-[^/]+)/artifacts/?\Z")
_ARCHIVED = "Archived"


def _create_model(call: Call, model: str) -> bool:
    if call.entry(model) is not None:  # deleted meanwhile, and its versions with it
        for version in _versions_of(call, model):
            call.delete(version)
    return create(call, model)


def _create_version(call: Call, version: str) -> bool:
    create(call, version)
    origin, source = _origin(call), call.find("source")
    if isinstance(source, str):
        call.builder.entity(version, (), None, {"mlf:source": text(source)})
    if origin is not None:
        call.derive(version, origin)
    return True


def _origin(call: Call) -> str | None:
    """Return the logged model or the run's artifact that a version is made from."""
    # A server fills a missing id with an empty text.
    model, source = call.find("model_id") or None, call.find("source")
    if model is None and isinstance(source, str):
        match = _MODEL_SOURCE.search(source)
        model = (match[1] or match[2]) if match else None
    if isinstance(model, str):
        return declare_model(call.translation, model)
    match = _RUN_SOURCE.search(source) if isinstance(source, str) else None
    if match is None:
        return None
    run_id, path = match[1] or match[3], (match[2] or match[4]).rstrip("/")
    entity = call.translation.namespaces.in_run(run_id, folder_id("", path))
    types = ["mlf:ArtifactFolder", "prov:Collection"]
    return call.builder.entity(entity, types, text(f"{path}/"), {"mlf:path": text(path)})


def _copy_version(call: Call) -> bool:
    result, source = mapping(call.result), mapping(call.arguments.get("src_mv"))
    copy = [result.get("name") or call.arguments.get("dst_name"), result.get("version")]
    original = [source.get("name"), source.get("version")]
    if not all(isinstance(part, str | int) for part in (*copy, *original)):
        return False
    new, old = call.declare_version(*copy), call.declare_version(*original)
    call.create(new)
    if new != old:
        call.derive(new, old)
    return True


def _delete_version(call: Call, version: str) -> bool:
    """Delete a version, and like MLflow the aliases that name it."""
    model, _, number = version.rpartition("/version/")
    _expect(call, model)
    history = call.translation.history
    for prop in history.of(model):
        if is_alias(prop) and history.value(prop) == text(number):
            history.remove(prop, call.ref)
    call.delete(version)
    return True


def _delete_model(call: Call, model: str) -> bool:
    """Delete a registered model, and like MLflow its versions and aliases."""
    _expect(call, model)
    for version in _versions_of(call, model):
        call.delete(version)
    call.delete(model)
    return True


def _versions_of(call: Call, model: str) -> list[str]:
    """Return the versions of a registered model that the document has so far, and not deleted."""
    start = f"{model}/version/"
    versions = (v for v in call.translation.model_versions if v.startswith(start))
    return sorted(version for version in versions if not call.is_deleted(version))


def _transition(call: Call, version: str) -> bool:
    stage = call.arguments.get("stage")
    if not isinstance(stage, str):
        return False
    model = version.rpartition("/version/")[0]
    _expect(call, model)
    call.use(version)
    history = call.translation.history
    if call.arguments.get("archive_existing_versions"):
        # MLflow archives all other versions in this stage.
        for other in _versions_of(call, model):
            if other != version and history.value(_stage_of(other)) == stage:
                history.assign(_stage_of(other), call.ref, _ARCHIVED)
    history.assign(_stage_of(version), call.ref, text(stage))
    return True


def _stage_of(version: str) -> VersionedProperty:
    return VersionedProperty(f"{version}/stage", ("mlf:StageAssignment",), subject=version)


def _rename(call: Call, old: str) -> bool:
    # A registered model is identified by its name, so that renaming it makes a new entity.
    new_name = call.arguments.get("new_name")
    if not isinstance(new_name, str):
        return False
    new = call.declare(("model", segment(new_name)), text(new_name))
    if new == old:
        return True
    _expect(call, old)
    before = call.entry(old)
    after = call.create(new)
    if before is not None:
        call.builder.was_revision_of(after, before)
    # Versions keep their numbers. Those under the old name remain, as earlier calls refer to them.
    for version in _versions_of(call, old):
        moved = call.declare_version(new_name, unquote_key(version.rpartition("/")[2]))
        call.create(moved)
        call.derive(moved, version)
        call.builder.alternate_of(moved, version)
        _move_properties(call, version, moved)
        call.delete(version)
    _move_properties(call, old, new)
    call.delete(old)
    return True


def _move_properties(call: Call, old: str, new: str) -> None:
    """Set all properties of an object that gets another name under the new name."""
    history, builder = call.translation.history, call.builder
    for prop in history.of(old):
        entity = history.current(prop)
        if "mlf:Entry" in prop.types or entity is None:
            continue
        value = cast(Value, history.value(prop))
        moved = dataclasses.replace(prop, base=prop.base.replace(old, new, 1), subject=new)
        target = f"{new}/version/{value}" if is_alias(prop) else None
        attributes = {"mlf:target": name(target)} if target is not None else None
        assigned = history.assign(moved, call.ref, value, attributes)
        if assigned is not None:
            builder.was_revision_of(assigned, entity)
            if target is not None:
                builder.alternate_of(assigned, target)


def _expect(call: Call, model: str) -> None:
    """Take over what the store held of a registered model and its versions before the call."""
    if not call.before:
        return
    history, model_name = call.translation.history, unquote_key(model.rpartition("/")[2])
    # Versions come first, as the aliases name them.
    for item in call.before.get("versions") or ():
        version = call.declare_version(model_name, item.get("version"))
        stage = item.get("stage")
        history.expect(_stage_of(version), call.ref, None if stage is None else text(stage))
        expect_properties(call, version, item)
    expect_properties(call, model, call.before)
    expect_aliases(call, model)


def _create_prompt_version(call: Call, version: str) -> bool:
    create(call, version)
    template = call.find("template")
    if isinstance(template, str):
        call.builder.entity(version, (), None, {"prov:value": text(template)})
    return True


def add_model_types(translation: Translation) -> None:
    """Add ML-Schema's type to the versions that are not prompts, which MLflow registers, too."""
    prompts = translation.prompts
    for version in translation.model_versions:
        if not prompts & {version, version.rpartition("/version/")[0]}:
            translation.builder.entity(version, ["mls:Model"])


HANDLERS: Mapping[str, Handler] = {
    "create_registered_model": on_noun("registered_model", _create_model),
    "create_model_version": on_noun("model_version", _create_version),
    "copy_model_version": _copy_version,
    "delete_model_version": on_noun("model_version", _delete_version),
    "delete_prompt_version": on_noun("prompt_version", _delete_version),
    "delete_registered_model": on_noun("registered_model", _delete_model),
    "delete_prompt": on_noun("prompt", _delete_model),
    "transition_model_version_stage": on_noun("model_version", _transition),
    "rename_registered_model": on_noun("registered_model", _rename),
    "create_prompt_version": on_noun("prompt_version", _create_prompt_version),
}
