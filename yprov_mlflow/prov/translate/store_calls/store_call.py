"""One call to a store: its activity, and access to what it was given and what it gave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.ids import unquote_key
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import Value, name, text
from yprov_mlflow.prov.translate.history import ActivityRef, VersionedProperty
from yprov_mlflow.prov.translate.translation import Translation

_PERSONAL = frozenset(
    "user user_id users created_by updated_by last_updated_by completed_by assigned_to new_owner"
    " username source_id mlflow.user".split()
)
"""Fields whose values are login names."""

_TOLD = {"log_spans": "spans"}
"""Arguments that records alone tell, and that the result repeats: they may be megabytes."""

_TYPES = {
    "experiment": "mlf:Experiment",
    "model": "mlf:RegisteredModel",
    "trace": "mlf:Trace",
    "logged-model": "mlf:LoggedModel",
    "dataset": "mlf:EvaluationDataset",
}
_VERSION_TYPES = {"model": "mlf:ModelVersion"}


class Call:
    """A call while it is translated; ``act`` is its activity."""

    def __init__(self, translation: Translation, event: StoreCalled) -> None:
        self.translation = translation
        self.builder = translation.builder
        self.event = event
        self.method = event.method
        session = translation.act(event)
        activity = f"{STORE}:event/{segment(event.method)}/{session.token}"
        self.session = session.activity
        self.act = ActivityRef(activity, session.time, session.token)
        self.arguments: Mapping[str, Any] = self._shown(literals.mapping(event.arguments))
        self.result: Any = self._shown(event.result)

    def begin(self) -> None:
        """Make the activity."""
        builder, act = self.builder, self.act
        registry = "model_version" in self.method or "registered_model" in self.method
        builder.activity(
            act.activity,
            act.time,
            act.time,
            ["mlf:RegistryOperation" if registry else "mlf:StoreOperation"],
            text(self.method.strip("_").replace("_", " ")),
            {
                "mlf:method": text(self.method),
                **self._as_json(),
                "mlf:sequence": literals.integer(self.event.seq),
                "dcterms:isPartOf": name(self.session),
            },
        )
        if act.time is not None:
            builder.was_started_by(act.activity, self.session, act.time)
        user = self.translation.users.get(self.event.session)
        if user is not None:
            builder.was_associated_with(act.activity, user)

    def _as_json(self) -> Attributes:
        """Give all that the call was given and gave, but for what has records of its own."""
        told = _TOLD.get(self.method)
        given = {key: value for key, value in self.arguments.items() if key != told}
        subjects = dict(literals.mapping(self.event.subjects))
        return {
            "mlf:arguments": literals.canonical(given) if given else None,
            "mlf:subjects": literals.canonical(subjects) if subjects else None,
            "mlf:result": (
                literals.canonical(self.result)
                if self.result is not None and told is None
                else None
            ),
        }

    def keep(self, argument: str, value: object) -> None:
        """Keep an argument, or what of it no record tells."""
        record = self.builder.records["activity"][self.act.activity]
        known = json.loads(record.get("mlf:arguments", "{}"))
        record["mlf:arguments"] = literals.canonical({**known, argument: value})

    # -- what it was given -------------------------------------------------------------

    def find(self, *keys: str) -> Any:
        """Give the first of these fields that arguments, result or an argument has."""
        for key in keys:
            for source in self._sources():
                value = source.get(key)
                if value is not None:
                    return value
        return None

    def _sources(self) -> Iterator[Mapping[str, Any]]:
        yield self.arguments
        yield literals.mapping(self.result)
        for value in self.arguments.values():
            if isinstance(value, Mapping):
                yield value

    def _shown(self, value: Any) -> Any:
        if not self.translation.options.hash_user:
            return value
        return _without_logins(value, self.translation.login)

    # -- what it did -------------------------------------------------------------------

    def subject(
        self, words: tuple[str, ...], label: str | None = None, kind: str | None = None
    ) -> str:
        """Say that there is a thing of the store, named by ``words`` in turn."""
        entity = f"{STORE}:" + "/".join(words)
        if len(words) > 2 and words[-2] == "version":
            type_ = _VERSION_TYPES.get(words[0], "mlf:StoreObject")
        else:
            type_ = _TYPES.get(words[0], "mlf:StoreObject")
        types = [type_]
        if type_ == "mlf:ModelVersion":
            types.append("mls:Model")
        elif type_ == "mlf:Experiment":
            types.append("prov:Collection")
        known = entity in self.builder.records.get("entity", {})
        attributes = {"mlf:objectKind": text(kind)} if kind is not None else None
        if label is None and not known:
            label = text(unquote_key(words[-1]))
        self.builder.entity(entity, types, label, attributes)
        return entity

    def mark_prompt(self, subject: str) -> None:
        """Say that a registered model, or a version of one, is a prompt."""
        kind = "mlf:PromptVersion" if "/version/" in subject else "mlf:Prompt"
        self.builder.entity(subject, [kind])

    def create(self, subject: str) -> str:
        """Say that the call made the thing; what is made again has another entry."""
        builder, act = self.builder, self.act
        if subject not in builder.generations and subject not in builder.invalidated:
            builder.was_generated_by(subject, act.activity, act.time)
        found = self.translation.histories.assign(self._entry(subject), act, None, always=True)
        assert found is not None
        return found

    def derive(self, subject: str, origin: str) -> None:
        """Say that the call made the thing from ``origin``.

        What the call did not make, as it was there before, can only have been influenced.
        """
        builder, act = self.builder, self.act
        generation, maker = builder.generations.get(subject, (None, None))
        if maker != act.activity:
            builder.was_influenced_by(subject, origin)
            return
        ended = origin in builder.invalidated
        usage = self.use(origin)
        builder.was_derived_from(
            subject,
            origin,
            activity=None if ended else act.activity,
            generation=None if ended else generation,
            usage=None if ended else usage,
        )

    def delete(self, subject: str) -> None:
        """Say that the call removed the thing: its entry ends."""
        self.translation.histories.remove(self._entry(subject), self.act)

    def _entry(self, subject: str) -> VersionedProperty:
        return VersionedProperty(f"{subject}/entry", ("mlf:Entry",), subject=subject)

    def entry(self, subject: str) -> str | None:
        """Give the entry that the thing has now."""
        return self.translation.histories.current(self._entry(subject))

    def change(
        self,
        subject: str,
        facet: str,
        value: object,
        types: tuple[str, ...] = ("mlf:Property",),
    ) -> str | None:
        """Say that the call gave a property of the thing a value."""
        found = VersionedProperty(f"{subject}/{facet}", types, subject=subject)
        return self.translation.histories.assign(found, self.act, literals.plain(value))

    def use(self, entity: str, role: str | None = None) -> str:
        """Say that the call used an entity."""
        return self.builder.used(self.act.activity, entity, self.act.time, role)

    # -- what nothing is known of ------------------------------------------------------

    def add_subjects(self) -> None:
        """Say what an unknown call was about, as far as the event tells."""
        for kind, given in literals.mapping(self.event.subjects).items():
            word = kind.replace("_", "-")
            if word in ("experiment", "trace", "logged-model", "dataset"):
                self.use(self.subject((word, segment(given)), text(given)))

    def add_result(self) -> None:
        """Keep the result of an unknown call as an entity of its own."""
        if self.result is None:
            return
        entity = f"{self.act.activity}/result"
        value: Value | None = literals.plain(self.result)
        label = text(f"result of {self.method}")
        self.builder.entity(entity, ["mlf:Result"], label, {"prov:value": value})
        self.builder.was_generated_by(entity, self.act.activity, self.act.time)


Handler = Callable[[Call], bool]
"""Makes the records of a call; False when the call lacks what it takes to tell."""


def _without_logins(value: Any, shown: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        key, given = value.get("key"), value.get("value")
        if isinstance(key, str) and key in _PERSONAL and isinstance(given, str):
            return {**value, "value": shown(given)}
        return {
            key: _login(item, shown) if key in _PERSONAL else _without_logins(item, shown)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_logins(item, shown) for item in value]
    return value


def _login(value: Any, shown: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list | tuple):
        return [_login(item, shown) for item in value]
    return value
