"""One call to a store: its activity, its arguments and result, and its effects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.ids import unquote_key
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.translation import Translation

# Fields whose values are login names.
_LOGIN_FIELDS = frozenset(
    "user user_id users created_by updated_by last_updated_by completed_by assigned_to new_owner"
    " username source_id mlflow.user".split()
)

# Arguments that have records of their own and that the result repeats. They may be megabytes, so
# neither is kept as JSON.
_RECORDED_ARGUMENTS = {"log_spans": "spans"}

_TYPES: Mapping[str, tuple[str, ...]] = {
    "experiment": ("mlf:Experiment", "prov:Collection"),
    "model": ("mlf:RegisteredModel",),
    "trace": ("mlf:Trace",),
    "logged-model": ("mlf:LoggedModel",),
    "dataset": ("mlf:EvaluationDataset", "prov:Collection"),
}
_MODEL_VERSION_TYPES: tuple[str, ...] = ("mlf:ModelVersion",)
_OTHER_TYPES: tuple[str, ...] = ("mlf:StoreObject",)


class Call:
    """A call during its translation.

    Attributes:
        event: The event of the call.
        ref: The activity of the call.
        session: The activity that made the call.
        arguments: The arguments, with login names hashed if the options say so.
        result: The result, with login names hashed if the options say so.
        before: The earlier state of objects that the call does not name.
    """

    def __init__(self, translation: Translation, event: StoreCalled) -> None:
        self.translation = translation
        self.builder = translation.builder
        self.event = event
        self._declared: list[str] = []
        self.method = event.method
        session = translation.activity_ref(event)
        activity = f"{STORE}:event/{segment(event.method)}/{session.token}"
        self.session = session.activity
        self.ref = ActivityRef(activity, session.time, session.token)
        self.arguments, self.result = literals.mapping(event.arguments), event.result
        self.before = literals.mapping(event.before)
        if translation.options.hash_user:
            self.arguments = _replace_logins(self.arguments, translation.login)
            self.result = _replace_logins(self.result, translation.login)
            self.before = _replace_logins(self.before, translation.login)

    def begin(self) -> None:
        """Add the activity of the call."""
        builder, ref = self.builder, self.ref
        registry = "model_version" in self.method or "registered_model" in self.method
        builder.activity(
            ref.activity,
            ref.time,
            ref.time,
            ["mlf:RegistryOperation" if registry else "mlf:StoreOperation"],
            text(self.method.strip("_").replace("_", " ")),
            {
                "mlf:method": text(self.method),
                **self._as_json(),
                "mlf:sequence": literals.integer(self.event.seq),
                "dcterms:isPartOf": name(self.session),
            },
        )
        if ref.time is not None:
            builder.was_started_by(ref.activity, self.session, ref.time)
        else:
            builder.was_influenced_by(ref.activity, self.session)
        user = self.translation.users.get(self.event.session)
        if user is not None:
            builder.was_associated_with(ref.activity, user)

    def _as_json(self) -> Attributes:
        """Return arguments, subjects and result as JSON, except what has records of its own."""
        recorded = _RECORDED_ARGUMENTS.get(self.method)
        arguments = {key: value for key, value in self.arguments.items() if key != recorded}
        subjects = dict(literals.mapping(self.event.subjects))
        has_result = self.result is not None and recorded is None
        return {
            "mlf:arguments": literals.canonical(arguments) if arguments else None,
            "mlf:subjects": literals.canonical(subjects) if subjects else None,
            "mlf:result": literals.canonical(self.result) if has_result else None,
            "mlf:before": literals.canonical(dict(self.before)) if self.before else None,
        }

    def keep_argument(self, key: str, value: object) -> None:
        """Add an argument to the JSON of the activity, or the part of it without records."""
        record = self.builder.records["activity"][self.ref.activity]
        arguments = json.loads(record.get("mlf:arguments", "{}"))
        record["mlf:arguments"] = literals.canonical({**arguments, key: value})

    # -- arguments and result ----------------------------------------------------------

    # Methods differ in where a field is: among the arguments, in an object that is an argument,
    # or only in the result.
    def find(self, *keys: str) -> Any:
        """Return the first of these fields in the arguments, the result, or an argument."""
        sources = [self.arguments, self.result, *self.arguments.values()]
        values = (literals.mapping(source).get(key) for key in keys for source in sources)
        return next((value for value in values if value is not None), None)

    # -- effects -----------------------------------------------------------------------

    def declare(
        self, words: tuple[str, ...], label: str | None = None, kind: str | None = None
    ) -> str:
        """Add the entity of an object of the store.

        Args:
            words: The words of its id, alternately its kind and its name.
            label: Its label, if the call contains one.
            kind: MLflow's noun for it, if this package lacks a type for it.

        Returns:
            The id of the entity.
        """
        entity = f"{STORE}:" + "/".join(words)
        if len(words) > 2 and words[-2] == "version":
            types = _MODEL_VERSION_TYPES if words[0] == "model" else _OTHER_TYPES
            if words[0] == "model":
                self.translation.model_versions[entity] = None
        else:
            types = _TYPES.get(words[0], _OTHER_TYPES)
        attributes = {"mlf:objectKind": text(kind)} if kind is not None else None
        if entity not in self.builder.records.get("entity", {}):
            self._declared.append(entity)
            label = label or text(unquote_key(words[-1]))
        return self.builder.entity(entity, types, label, attributes)

    def declare_version(self, model: object, version: object) -> str:
        """Add the entity of a model version, and that of its registered model; return the first."""
        words = ("model", segment(model))
        registered = self.declare(words, text(model))
        label = text(f"{model} {version}")
        entity = self.declare((*words, "version", segment(version)), label)
        self.builder.specialization_of(entity, registered)
        return entity

    def mark_prompt(self, subject: str) -> None:
        """Add the type of prompts to a registered model or to one of its versions."""
        kind = "mlf:PromptVersion" if "/version/" in subject else "mlf:Prompt"
        self.builder.entity(subject, [kind])
        self.translation.prompts.add(subject)

    def create(self, subject: str) -> str:
        """Add the creation of an object and return its entry.

        An object that is deleted and created again stays one entity, which PROV lets be generated
        only once. Its presence in the store is a property of it, and each period is an entry.
        """
        builder, ref = self.builder, self.ref
        # Not after an invalidation: nothing can be generated again.
        if subject not in builder.generations and subject not in builder.invalidated:
            builder.was_generated_by(subject, ref.activity, ref.time)
        entry = self.translation.history.assign(_entry_of(subject), ref, None, always=True)
        assert entry is not None
        return entry

    def derive(self, subject: str, origin: str) -> None:
        """Add that the call made an object from ``origin``.

        An object that was deleted and is created again existed before the call, so it can only
        have been influenced: the call derived its new entry.
        """
        builder, ref = self.builder, self.ref
        generation, generated_by = builder.generations.get(subject, ("", ""))
        if generated_by != ref.activity:
            builder.was_influenced_by(subject, origin)
            entry = self.entry(subject) or ""
            generation, generated_by = builder.generations.get(entry, ("", ""))
            if generated_by != ref.activity:
                return
            subject = entry
        # Nothing can be used after its end: use() then adds an influence, which is not a usage.
        ended = origin in builder.invalidated
        usage = self.use(origin)
        steps = () if ended else (ref.activity, generation, usage)
        builder.was_derived_from(subject, origin, steps=steps)

    def delete(self, subject: str) -> None:
        """Add the deletion of an object: its entry ends, and with it all properties of it."""
        self.hide(subject)
        self.translation.history.remove_all(subject, self.ref)

    def hide(self, subject: str) -> None:
        """Add that an object is no longer in use, although the store keeps its properties."""
        self.translation.history.remove(_entry_of(subject), self.ref)

    def entry(self, subject: str) -> str | None:
        """Return the current entry of an object."""
        return self.translation.history.current(_entry_of(subject))

    def is_deleted(self, subject: str) -> bool:
        """Return whether the document has the deletion of an object, and no creation after it."""
        return self.translation.history.is_removed(_entry_of(subject))

    def change(
        self, subject: str, prop: str, value: object, types: tuple[str, ...] = ("mlf:Property",)
    ) -> str | None:
        """Add a new value of a property of an object; return its entity if it changed."""
        versioned = VersionedProperty(f"{subject}/{prop}", types, subject=subject)
        return self.translation.history.assign(versioned, self.ref, literals.plain(value))

    def use(self, entity: str, role: str | None = None) -> str:
        """Add that the call used an entity; return the id of the usage."""
        return self.builder.used(self.ref.activity, entity, self.ref.time, role)

    def end(self) -> None:
        """Connect the call with the objects that it named first and did not create."""
        for entity in self._declared:
            if entity not in self.builder.generations:
                self.builder.was_influenced_by(self.ref.activity, entity)

    # -- calls without a handler -------------------------------------------------------

    def use_subjects(self) -> None:
        """Add that the call used the subjects of its event."""
        for kind, identifier in literals.mapping(self.event.subjects).items():
            word = kind.replace("_", "-")
            if word in ("experiment", "trace", "logged-model", "dataset"):
                self.use(self.declare((word, segment(identifier)), text(identifier)))

    def add_result(self) -> None:
        """Add the result of the call as an entity."""
        if self.result is None:
            return
        entity = f"{self.ref.activity}/result"
        label, value = text(f"result of {self.method}"), literals.plain(self.result)
        self.builder.entity(entity, ["mlf:Result"], label, {"prov:value": value})
        self.builder.was_generated_by(entity, self.ref.activity, self.ref.time)


Handler = Callable[[Call], bool]
"""Adds the records of a call; returns False if the call lacks the arguments it needs."""


def _entry_of(subject: str) -> VersionedProperty:
    return VersionedProperty(f"{subject}/entry", ("mlf:Entry",), subject=subject)


def _replace_logins(value: Any, replace: Callable[[str], str], login: bool = False) -> Any:
    if isinstance(value, Mapping) and not login:
        # Tags are written as {"key": "mlflow.user", "value": login}.
        key, item = value.get("key"), value.get("value")
        if isinstance(key, str) and key in _LOGIN_FIELDS and isinstance(item, str):
            return {**value, "value": replace(item)}
        return {k: _replace_logins(v, replace, k in _LOGIN_FIELDS) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_logins(item, replace, login) for item in value]
    return replace(value) if login and isinstance(value, str) else value
