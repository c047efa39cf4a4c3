"""Registered models and their versions: what each came from, its stages, its names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import mapping, name, text
from yprov_mlflow.prov.translate.artifacts import folder_id
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.store_calls.method_names import create, thing
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler

_RUN_SOURCE = re.compile(r"runs:/+([^/]+)/(.+)\Z|/([0-9a-f]{32})/artifacts/(.+)\Z")
_MODEL_SOURCE = re.compile(r"models:/(m-[^/]+)\Z|/models/(m-[^/]+)/artifacts/?\Z")
_ARCHIVED = "Archived"


def _create_version(call: Call) -> bool:
    version = thing(call, "model_version")
    if version is None or not create("model_version", call):
        return False
    origin = _origin(call)
    source = call.find("source")
    if isinstance(source, str):
        call.builder.entity(version, (), None, {"mlf:source": text(source)})
    if origin is not None:
        call.derive(version, origin)
    return True


def _origin(call: Call) -> str | None:
    """Give the logged model or the run's artifact that a version was made from."""
    model, source = call.find("model_id"), call.find("source")
    if not isinstance(model, str) and isinstance(source, str):
        found = _MODEL_SOURCE.search(source)
        model = (found[1] or found[2]) if found else None
    if isinstance(model, str):
        return declare_model(call.translation, model)
    found = _RUN_SOURCE.search(source) if isinstance(source, str) else None
    if found is None:
        return None
    run_id, path = found[1] or found[3], (found[2] or found[4]).rstrip("/")
    folder = folder_id("", path)
    entity = call.translation.namespaces.in_run(run_id, folder)
    types = ["mlf:ArtifactFolder", "prov:Collection"]
    return call.builder.entity(entity, types, text(f"{path}/"), {"mlf:path": text(path)})


def _copy_version(call: Call) -> bool:
    result, source = mapping(call.result), mapping(call.arguments.get("src_mv"))
    names = [result.get("name") or call.arguments.get("dst_name"), result.get("version")]
    origins = [source.get("name"), source.get("version")]
    if not all(isinstance(one, str | int) for one in (*names, *origins)):
        return False
    new = _version(call, *names)
    old = _version(call, *origins)
    call.create(new)
    if new != old:
        call.derive(new, old)
    return True


def _version(call: Call, model: object, version: object) -> str:
    registered = call.subject(("model", segment(model)), text(model))
    words = ("model", segment(model), "version", segment(version))
    entity = call.subject(words, text(f"{model} {version}"))
    call.builder.specialization_of(entity, registered)
    return entity


def _transition(call: Call) -> bool:
    version, stage = thing(call, "model_version"), call.arguments.get("stage")
    if version is None or not isinstance(stage, str):
        return False
    call.use(version)
    histories = call.translation.histories
    if call.arguments.get("archive_existing_versions"):
        start = version.rpartition("/")[0] + "/"
        for other in sorted(call.builder.records["entity"]):
            is_version = other.startswith(start) and "/" not in other.removeprefix(start)
            if is_version and other != version and histories.value(_stage(other)) == stage:
                histories.assign(_stage(other), call.act, _ARCHIVED)
    histories.assign(_stage(version), call.act, text(stage))
    return True


def _stage(version: str) -> VersionedProperty:
    return VersionedProperty(f"{version}/stage", ("mlf:StageAssignment",), subject=version)


def _rename(call: Call) -> bool:
    new_name, old = call.arguments.get("new_name"), thing(call, "registered_model")
    if old is None or not isinstance(new_name, str):
        return False
    new = call.subject(("model", segment(new_name)), text(new_name))
    if new == old:
        return True
    before = call.entry(old)
    call.delete(old)
    after = call.create(new)
    if before is not None:
        call.builder.was_revision_of(after, before)
    start = f"{old}/version/"
    for version in sorted(call.builder.records["entity"]):
        number = version.removeprefix(start)
        if version.startswith(start) and "/" not in number:
            moved = call.subject(("model", segment(new_name), "version", number), text(new_name))
            call.builder.specialization_of(moved, new)
            call.builder.alternate_of(moved, version)
    return True


def _create_prompt_version(call: Call) -> bool:
    if not create("prompt_version", call):
        return False
    version = thing(call, "prompt_version")
    assert version is not None
    template = call.find("template")
    if isinstance(template, str):
        call.builder.entity(version, (), None, {"prov:value": text(template)})
    return True


def _link_prompt(call: Call) -> bool:
    version = thing(call, "prompt_version")
    model, run = call.arguments.get("model_id"), call.arguments.get("run_id")
    if version is None:
        return False
    if isinstance(model, str):
        target = declare_model(call.translation, model)
    elif isinstance(run, str):
        target = call.translation.namespaces.of_run(run)
        call.builder.activity(target)
    else:
        return False
    word = target.replace(":", "$")
    facet = VersionedProperty(f"{version}/link/{word}", ("mlf:Link",), subject=version)
    call.translation.histories.assign(facet, call.act, None, {"mlf:target": name(target)})
    return True


def prompts_of(call: Call, given: object) -> list[str]:
    """Give the entities of prompt versions in a list of such."""
    found = []
    for prompt in given if isinstance(given, list | tuple) else ():
        if isinstance(prompt, Mapping) and "name" in prompt and "version" in prompt:
            words = ("model", segment(prompt["name"]))
            call.mark_prompt(call.subject(words, text(prompt["name"])))
            label = text(f"{prompt['name']} {prompt['version']}")
            found.append(call.subject((*words, "version", segment(prompt["version"])), label))
            call.mark_prompt(found[-1])
            call.builder.specialization_of(found[-1], f"{STORE}:{'/'.join(words)}")
    return found


HANDLERS: Mapping[str, Handler] = {
    "create_model_version": _create_version,
    "copy_model_version": _copy_version,
    "transition_model_version_stage": _transition,
    "rename_registered_model": _rename,
    "create_prompt_version": _create_prompt_version,
    "link_prompt_version_to_model": _link_prompt,
    "link_prompt_version_to_run": _link_prompt,
}
