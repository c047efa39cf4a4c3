"""What a call did, by the words of its method's name: a verb, a noun, perhaps a facet.

``delete_model_version_tag`` removes a tag of a model version, whatever MLflow version has it
and whatever it is that has tags; so new methods of MLflow need no code here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import pairs, text
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler
from yprov_mlflow.prov.translate.tags import delete_tag, set_tags

_TAG = re.compile(r"(set|delete|update)_(\w+?)_tags?\Z")
_ALIAS = re.compile(r"(set|delete)_(\w+)_alias\Z")
_VERB = re.compile(
    r"(?:_hard_)?(create|register|add|delete|remove|restore|update|upsert|rename|set)_(\w+)\Z"
)

_NOUNS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "registered_model": (("model", ("name",)),),
    "model_version": (("model", ("name",)), ("version", ("version",))),
    "model_versions": (("model", ("name",)), ("version", ("version",))),
    # To MLflow a prompt is a registered model with a tag, and most of its calls say so.
    "prompt": (("model", ("name",)),),
    "prompt_version": (("model", ("name",)), ("version", ("version",))),
    "experiment": (("experiment", ("experiment_id",)),),
    "logged_model": (("logged-model", ("model_id",)),),
    "trace": (("trace", ("trace_id", "request_id")),),
    "scorer": (("scorer", ("experiment_id",)), ("name", ("name",))),
    "mcp_server": (("mcp-server", ("name",)),),
    "mcp_server_version": (("mcp-server", ("name",)), ("version", ("version",))),
}
"""How things are named: words of the id, each with the fields that have the name."""

_NO_PROPERTIES = frozenset(
    "name version key value tag tags alias new_name experiment_id source local_model_path".split()
)
"""Arguments that identify something, or that have records of their own."""

_PROMPT = "mlflow.prompt.is_prompt"


def handler_of(method: str) -> Handler | None:
    """Give what to do for a method, None where its name tells nothing."""
    if found := _TAG.match(method):
        return partial(_delete_tag if found[1] == "delete" else _set_tags, found[2])
    if found := _ALIAS.match(method):
        return partial(_delete_alias if found[1] == "delete" else _set_alias, found[2])
    if found := _VERB.match(method):
        return partial(_VERBS[found[1]], re.split("_to_|_from_", found[2])[-1])
    return None


def thing(call: Call, noun: str) -> str | None:
    """Give the entity of what the noun of a method names, None if the call does not tell."""
    words: list[str] = []
    label: Any = ""
    for word, fields in _NOUNS.get(noun) or _generic(noun):
        given = call.find(*fields)
        if given is None and noun == "experiment" and isinstance(call.result, str | int):
            given = call.result
        if not isinstance(given, str | int):
            return None
        words += [word, segment(given)]
        label = f"{label} {given}".strip()
        if word == "version":
            call.subject(tuple(words[:-2]))
    kind = None if noun in _NOUNS else noun
    if noun == "experiment":
        # Its id says nothing to anyone; a call that does not tell the name leaves it.
        label = call.find("name")
    subject = call.subject(tuple(words), text(label) if label else None, kind)
    if noun.startswith("prompt"):
        call.mark_prompt(subject)
    if words[-2] == "version":
        call.builder.specialization_of(subject, subject.rpartition("/version/")[0])
        number = literals.number(words[-1])
        if number is not None:
            call.builder.entity(subject, (), None, {"mlf:version": literals.integer(number)})
    return subject


def _generic(noun: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    singular = noun.removesuffix("s")
    fields = (f"{noun}_id", f"{singular}_id", f"{singular.rsplit('_', 1)[-1]}_id", "name")
    return ((segment(singular.replace("_", "-")), fields),)


# -- tags and aliases --------------------------------------------------------------------


def _set_tags(noun: str, call: Call) -> bool:
    subject = thing(call, noun)
    if subject is None:
        return False
    found = pairs(call.arguments.get("tags")) or pairs(call.arguments.get("tag"))
    if not found and isinstance(call.arguments.get("key"), str):
        found = {call.arguments["key"]: call.arguments.get("value")}
    set_tags(call.translation, call.act, found, f"{subject}/", subject)
    return bool(found)


def _delete_tag(noun: str, call: Call) -> bool:
    subject, key = thing(call, noun), call.arguments.get("key")
    if subject is None or not isinstance(key, str):
        return False
    delete_tag(call.translation, call.act, key, f"{subject}/", subject)
    return True


def _set_alias(noun: str, call: Call) -> bool:
    from yprov_mlflow.prov.translate.store_calls.aliases import set_alias

    subject, version = thing(call, noun), call.arguments.get("version")
    target = thing(call, f"{noun.replace('registered_', '')}_version")
    if subject is None or target is None or version is None:
        return False
    return set_alias(call, subject, target)


def _delete_alias(noun: str, call: Call) -> bool:
    from yprov_mlflow.prov.translate.store_calls.aliases import delete_alias

    subject = thing(call, noun)
    return subject is not None and delete_alias(call, subject)


# -- verbs -------------------------------------------------------------------------------


def create(noun: str, call: Call) -> bool:
    """Make the records of something that was made, with its tags and properties."""
    subject = thing(call, noun)
    if subject is None:
        return False
    call.create(subject)
    found = pairs(call.arguments.get("tags"))
    if _PROMPT in found:
        call.mark_prompt(subject)
    set_tags(call.translation, call.act, found, f"{subject}/", subject)
    _set_properties(call, subject)
    return True


def _act(act: Callable[[Call, str], object], noun: str, call: Call) -> bool:
    subject = thing(call, noun)
    if subject is None:
        return False
    act(call, subject)
    return True


def update(noun: str, call: Call) -> bool:
    """Make the records of properties that were changed."""
    subject = thing(call, noun)
    if subject is None:
        return False
    call.use(subject)
    _set_properties(call, subject)
    return True


def _rename(noun: str, call: Call) -> bool:
    new, subject = call.arguments.get("new_name"), thing(call, noun)
    if subject is None or not isinstance(new, str):
        return False
    call.builder.entity(subject, (), text(new), {"schema:name": text(new)})
    call.change(subject, "name", new, ("mlf:Name",))
    return True


def _set_properties(call: Call, subject: str) -> None:
    for key, value in call.arguments.items():
        if value is not None and key not in _NO_PROPERTIES and not key.endswith("_id"):
            call.change(subject, f"property/{segment(key)}", value)


_VERBS: dict[str, Callable[[str, Call], bool]] = {
    "create": create,
    "register": create,
    "add": update,
    "delete": partial(_act, Call.delete),
    "remove": update,
    "restore": partial(_act, Call.create),
    "update": update,
    "upsert": update,
    "set": update,
    "rename": _rename,
}
