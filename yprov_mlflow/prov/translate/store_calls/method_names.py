"""Handlers of calls by the words in the name of the method: a verb, a noun, perhaps a property.

``delete_model_version_tag`` removes a tag of a model version, in whichever version of MLflow the
method exists. New methods of MLflow therefore need no code here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import name, pairs, text
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.params_tags import delete_tag, set_tags, tag_of
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler

# The noun is required: set_tag and delete_tag are about runs, which have their own events.
_TAG = re.compile(r"(set|delete|update)_(\w+?)_tags?\Z")
_ALIAS = re.compile(r"(set|delete)_(\w+)_alias\Z")
_VERB = re.compile(
    r"(?:_hard_)?(create|register|add|delete|remove|restore|update|upsert|rename|set)_(\w+)\Z"
)

_Words = tuple[tuple[str, tuple[str, ...]], ...]
# The words of an object's id, each with the fields of the call that contain its value.
_NOUNS: dict[str, _Words] = {
    "registered_model": (("model", ("name",)),),
    "model_version": (("model", ("name",)), ("version", ("version",))),
    "model_versions": (("model", ("name",)), ("version", ("version",))),
    # To MLflow a prompt is a registered model with a tag, and most of its calls say so.
    "prompt": (("model", ("name",)),),
    "prompt_version": (("model", ("name",)), ("version", ("version",))),
    "experiment": (("experiment", ("experiment_id",)),),
    "logged_model": (("logged-model", ("model_id",)),),
    "dataset": (("dataset", ("dataset_id",)),),
    "trace": (("trace", ("trace_id", "request_id")),),
    "scorer": (("scorer", ("experiment_id",)), ("name", ("name",))),
    "mcp_server": (("mcp-server", ("name",)),),
    "mcp_server_version": (("mcp-server", ("name",)), ("version", ("version",))),
}
# Arguments that identify something, or that have records of their own.
_NOT_PROPERTIES = frozenset(
    "name version key value tag tags alias new_name experiment_id source local_model_path".split()
)
_NAMED = ("experiment", "dataset")
_PROMPT_TAG = "mlflow.prompt.is_prompt"


Effect = Callable[[Call, str], bool]
"""Adds the records of a call on an object; returns False if the call lacks arguments."""


def handler_of(method: str) -> Handler | None:
    """Return the handler of a method, None if its name follows no known pattern."""
    if match := _TAG.match(method):
        return on_noun(match[2], _delete_tag if match[1] == "delete" else _set_tags)
    if match := _ALIAS.match(method):
        if match[1] == "delete":
            return on_noun(match[2], _delete_alias)
        version = f"{match[2].replace('registered_', '')}_version"
        return on_noun(match[2], partial(_set_alias, version))
    if match := _VERB.match(method):
        # Of two nouns, as in "add_dataset_to_experiments", the second is the one that changes.
        return on_noun(re.split("_to_|_from_", match[2])[-1], _VERBS[match[1]])
    return None


def on_noun(noun: str, effect: Effect) -> Handler:
    """Return the handler of calls on an object, which returns False if a call lacks its name."""

    def handle(call: Call) -> bool:
        subject = declare_noun(call, noun)
        return subject is not None and effect(call, subject)

    return handle


def declare_noun(call: Call, noun: str) -> str | None:
    """Add the entity of the object that a method's noun means, None if the call lacks its name."""
    words: list[str] = []
    label: Any = ""
    for word, fields in _NOUNS.get(noun) or _words_of_unknown(noun):
        value = call.find(*fields)
        if value is None and noun == "experiment" and isinstance(call.result, str | int):
            value = call.result
        if not isinstance(value, str | int):
            return None
        words += [word, segment(value)]
        label = f"{label} {value}".strip()
        if word == "version":
            call.declare(tuple(words[:-2]))
    if noun in _NAMED:
        # An id means nothing to users: without a name, keep the label.
        label = call.find("name")
    kind = None if noun in _NOUNS else noun
    subject = call.declare(tuple(words), text(label) if label else None, kind)
    if noun.startswith("prompt"):
        call.mark_prompt(subject)
    if words[-2] == "version":
        call.builder.specialization_of(subject, subject.rpartition("/version/")[0])
        number = literals.number(words[-1])
        if number is not None:
            call.builder.entity(subject, (), None, {"mlf:version": literals.integer(number)})
    return subject


def _words_of_unknown(noun: str) -> _Words:
    singular = noun.removesuffix("s")
    fields = (f"{noun}_id", f"{singular}_id", f"{singular.rsplit('_', 1)[-1]}_id", "name")
    return ((segment(singular.replace("_", "-")), fields),)


# -- tags and aliases --------------------------------------------------------------------


def _set_tags(call: Call, subject: str) -> bool:
    tags = pairs(call.arguments.get("tags")) or pairs(call.arguments.get("tag"))
    if not tags and isinstance(call.arguments.get("key"), str):
        tags = {call.arguments["key"]: call.arguments.get("value")}
    set_tags(call.translation, call.ref, tags, subject)
    return bool(tags)


def _delete_tag(call: Call, subject: str) -> bool:
    key = call.arguments.get("key")
    if not isinstance(key, str):
        return False
    delete_tag(call.translation, call.ref, key, subject)
    return True


def _set_alias(noun: str, call: Call, subject: str) -> bool:
    target, alias = declare_noun(call, noun), _alias_of(call, subject)
    if target is None or alias is None or call.arguments.get("version") is None:
        return False
    call.use(target)
    number = text(target.rpartition("/")[2])
    attributes = {"mlf:target": name(target)}
    history = call.translation.history
    expect_aliases(call, subject)
    assignment = history.assign(alias, call.ref, number, attributes, always=True)
    # "champion" and "version 3" are two views of one thing, which neither derivation nor
    # specialization expresses.
    if assignment is not None:
        call.builder.alternate_of(assignment, target)
    return True


def _delete_alias(call: Call, subject: str) -> bool:
    alias = _alias_of(call, subject)
    if alias is not None:
        expect_aliases(call, subject)
        call.translation.history.remove(alias, call.ref)
    return alias is not None


def _alias_of(call: Call, subject: str) -> VersionedProperty | None:
    alias = call.arguments.get("alias")
    return _alias(subject, alias) if isinstance(alias, str) else None


def _alias(subject: str, alias: str) -> VersionedProperty:
    base = f"{subject}/alias/{segment(alias)}"
    return VersionedProperty(base, ("mlf:AliasAssignment",), alias, subject, "mlf:Alias")


def is_alias(prop: VersionedProperty) -> bool:
    """Return whether a property is an alias of a registered model."""
    return "mlf:AliasAssignment" in prop.types


# -- before a call -----------------------------------------------------------------------


def expect_aliases(call: Call, model: str) -> None:
    """Take over the aliases that a registered model had before the call."""
    aliases = call.before.get("aliases")
    if not isinstance(aliases, Mapping):
        return
    history = call.translation.history
    for prop in history.of(model):
        if is_alias(prop) and prop.key not in aliases:
            history.expect(prop, call.ref, None)
    for alias, number in aliases.items():
        attributes = {"mlf:target": name(f"{model}/version/{segment(number)}")}
        history.expect(_alias(model, alias), call.ref, text(number), attributes)


def expect_properties(call: Call, subject: str, state: Mapping[str, Any]) -> None:
    """Take over the tags and the description that an object had before the call."""
    if "tags" not in state:
        return
    history, tags = call.translation.history, literals.pairs(state["tags"])
    for prop in history.of(subject):
        if "mlf:Tag" in prop.types and prop.key not in tags:
            history.expect(prop, call.ref, None)
    for key, value in tags.items():
        history.expect(tag_of(key, subject), call.ref, text(value))
    description = state.get("description")
    history.expect(
        _property_of(subject, "description"), call.ref, text(description) if description else None
    )


# -- verbs -------------------------------------------------------------------------------


def create(call: Call, subject: str) -> bool:
    """Add the creation of an object, with its tags and properties."""
    # What can be created again was deleted before, by a call that another document has.
    if call.entry(subject) is not None:
        call.delete(subject)
    call.create(subject)
    tags = pairs(call.arguments.get("tags"))
    if _PROMPT_TAG in tags:
        call.mark_prompt(subject)
    set_tags(call.translation, call.ref, tags, subject)
    _set_properties(call, subject)
    return True


def update(call: Call, subject: str) -> bool:
    """Add a change of the properties of an object."""
    call.use(subject)
    _set_properties(call, subject)
    return True


def _delete(call: Call, subject: str) -> bool:
    if call.method == "delete_experiment":  # which keeps everything, until it is restored
        call.hide(subject)
    else:
        call.delete(subject)
    return True


def _restore(call: Call, subject: str) -> bool:
    call.create(subject)
    return True


def _rename(call: Call, subject: str) -> bool:
    new = call.arguments.get("new_name")
    if not isinstance(new, str):
        return False
    label = call.builder.records["entity"][subject].get("prov:label")
    previous = text(call.before["name"]) if call.before.get("name") else label
    # The label of an object that was only mentioned so far is its id.
    if call.before.get("name") or subject in call.builder.generations:
        name_before = VersionedProperty(f"{subject}/name", ("mlf:Name",), subject=subject)
        call.translation.history.expect(name_before, call.ref, previous)
    call.builder.entity(subject, (), text(new), {"schema:name": text(new)})
    call.change(subject, "name", new, ("mlf:Name",))
    return True


def _set_properties(call: Call, subject: str) -> None:
    for key, value in call.arguments.items():
        # None means "leave unchanged" in all update calls of MLflow.
        if value is not None and key not in _NOT_PROPERTIES and not key.endswith("_id"):
            call.translation.history.assign(
                _property_of(subject, key), call.ref, literals.plain(value)
            )


def _property_of(subject: str, key: str) -> VersionedProperty:
    return VersionedProperty(f"{subject}/property/{segment(key)}", ("mlf:Property",), None, subject)


_VERBS: dict[str, Effect] = {
    **dict.fromkeys(("create", "register"), create),
    **dict.fromkeys(("add", "remove", "update", "upsert", "set"), update),
    "delete": _delete,
    "restore": _restore,
    "rename": _rename,
}
