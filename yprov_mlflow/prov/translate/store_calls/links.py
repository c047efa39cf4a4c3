"""Calls that link objects of a store, or end such a link."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.store_calls.method_names import declare_noun, update
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler


def _link(call: Call, subject: str, target: str, *, unlink: bool = False) -> None:
    base = f"{subject}/link/{target.replace(':', '$')}"
    link = VersionedProperty(base, ("mlf:Link",), subject=subject)
    history = call.translation.history
    if unlink:
        history.remove(link, call.ref)
    else:
        history.assign(link, call.ref, None, {"mlf:target": name(target)})


def _traces_to_run(call: Call, *, unlink: bool = False) -> bool:
    run_id, traces = call.arguments.get("run_id"), call.arguments.get("trace_ids")
    if not isinstance(run_id, str) or not isinstance(traces, list | tuple):
        return False
    run = call.translation.namespaces.of_run(run_id)
    call.builder.activity(run)
    for trace in traces:
        _link(call, call.declare(("trace", segment(trace)), text(trace)), run, unlink=unlink)
    return True


def _datasets_to_experiments(call: Call, *, unlink: bool = False) -> bool:
    dataset, experiments = declare_noun(call, "dataset"), call.arguments.get("experiment_ids")
    if dataset is None or not isinstance(experiments, list | tuple):
        return False
    for experiment in experiments:
        target = call.declare(("experiment", segment(experiment)))
        _link(call, dataset, target, unlink=unlink)
    return True


def _prompts_to_trace(call: Call) -> bool:
    trace = declare_noun(call, "trace")
    if trace is None:
        return False
    prompts = call.arguments.get("prompt_versions")
    for prompt in prompts if isinstance(prompts, list | tuple) else ():
        if isinstance(prompt, Mapping) and "name" in prompt and "version" in prompt:
            _link(call, trace, _declare_prompt(call, prompt["name"], prompt["version"]))
    return True


def _declare_prompt(call: Call, model: object, version: object) -> str:
    words = ("model", segment(model))
    call.mark_prompt(call.declare(words, text(model)))
    prompt = call.declare((*words, "version", segment(version)), text(f"{model} {version}"))
    call.mark_prompt(prompt)
    call.builder.specialization_of(prompt, f"{STORE}:{'/'.join(words)}")
    return prompt


def _prompt_to_model_or_run(call: Call) -> bool:
    version = declare_noun(call, "prompt_version")
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
    _link(call, version, target)
    return True


HANDLERS: Mapping[str, Handler] = {
    # By the words of their names, these would change something called "dataset records".
    "upsert_dataset_records": partial(update, "dataset"),
    "delete_dataset_records": partial(update, "dataset"),
    "link_traces_to_run": _traces_to_run,
    "unlink_traces_from_run": partial(_traces_to_run, unlink=True),
    "link_prompts_to_trace": _prompts_to_trace,
    "link_prompt_version_to_model": _prompt_to_model_or_run,
    "link_prompt_version_to_run": _prompt_to_model_or_run,
    "add_dataset_to_experiments": _datasets_to_experiments,
    "remove_dataset_from_experiments": partial(_datasets_to_experiments, unlink=True),
}
