"""The profile of yProv4ML: a document as a flat summary in the terms of yProv4ML's readers.

They compare ``prov:type`` with plain strings, take times from attributes without a zone, and show
entities by ``prov:role``. Every relation has both ends, and all records are one component.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.literals import canonical, mapping
from yprov_mlflow.prov.model.vocabulary import NAMESPACE
from yprov_mlflow.prov.profiles import yprov4ml_facts as facts
from yprov_mlflow.prov.profiles import yprov4ml_names as names
from yprov_mlflow.prov.profiles.yprov4ml_names import RunNames
from yprov_mlflow.prov.translate.datasets import CONTEXT
from yprov_mlflow.prov.translate.inverse import run_events
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, attribute

MOST_ENTITIES = 2_000
"""Entities of a document; viewers of the yProv family are comfortable up to some thousand nodes."""

PREFIXES: Mapping[str, str] = {
    "dcterms": "http://purl.org/dc/terms/",
    "mlf": NAMESPACE,
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "yprov": "https://github.com/HPCI-Lab/yProv4ML#",
}

_ACTORS = ("activity", "agent")
# yProv4ML's card looks for these names.
_SOURCE_CODE = "source_code"
_COMMAND = "execution_command"


class Series(NamedTuple):
    """A metric series in a file.

    Args:
        key: Name of the metric.
        context: Id of the context in the profile.
        source: Who measured it; ``names.NO_SOURCE`` if that is unknown.
        rank: Rank of the process.
        path: Path of the file in the run's folder.
        time_ms: Time of the last point.
    """

    key: str
    context: str
    source: str
    rank: int
    path: str
    time_ms: int


class Summary(NamedTuple):
    """The profile of a run.

    Args:
        document: Its PROV-JSON object; the order of records matters to readers.
        requirements: Lines of a requirements file, empty if packages are unknown.
        omitted: Texts about records that are in the full document only.
    """

    document: dict[str, Any]
    requirements: Sequence[str]
    omitted: list[str]


def summarize(document: Document, run: RunNames, series: Iterable[Series], address: str) -> Summary:
    """Return the profile of a run's document.

    Args:
        document: A document of this package that describes a run.
        run: Names of the run.
        series: The metric series that have a file.
        address: Path or URI of the run's folder, without a slash at its end.

    Raises:
        DocumentError: The document is not from this package.
    """
    return _Summarizer(DocumentIndex(document), run, address).result(sorted(series, key=_by_key))


def _by_key(series: Series) -> tuple[int, Series]:
    # get_metric takes the first path that contains the name: "acc" has to come before "top_acc".
    return len(series.key), series


class _Summarizer:
    """Builds one profile: records by section, in the order in which they are added."""

    def __init__(self, index: DocumentIndex, run: RunNames, address: str) -> None:
        self._index = index
        self._run = run
        self._address = address
        self._records: dict[str, dict[str, Record]] = {"activity": {}, "agent": {}, "entity": {}}
        self._omitted: list[str] = []
        # Ids in the profile of the entities of the full document.
        self._entities: dict[str, str] = {}
        self._sources: dict[tuple[str, str], str] = {}
        self._times = {
            str(use.get("prov:entity")): str(use["prov:time"])
            for section in ("used", "wasGeneratedBy")
            for use in index.relations(section)
            if "prov:time" in use
        }
        for identifier, record in index.activities.items():  # of sessions: their command lines
            self._times[identifier] = str(record.get("prov:startTime"))
        self._generators = {
            str(generation.get("prov:entity")): str(generation.get("prov:activity"))
            for generation in index.relations("wasGeneratedBy")
        }

    def result(self, series: Sequence[Series]) -> Summary:
        """Return the profile."""
        spans = facts.contexts(self._index.document)
        # A converted document may have series of contexts that are not activities of their own.
        of_series = {item.context for item in series} - {self._run.run}
        contexts = {context: spans.get(context, (None, None)) for context in of_series | {*spans}}
        self._add_run(contexts)
        self._add_contexts(contexts)
        self._add_code()
        requirements = self._add_environment()
        self._add_params()
        self._add_datasets()
        self._add_models()
        self._add_series(series)
        self._add_artifacts()
        self._add_derivations()
        document = {"prefix": {**PREFIXES, "default": self._namespace()}, **self._records}
        return Summary(document, requirements, self._omitted)

    def _namespace(self) -> str:
        return f"{self._index.document.prefixes['run']}yprov4ml/"

    # -- activities ----------------------------------------------------------------------

    def _add_run(self, contexts: Collection[str]) -> None:
        index, record = self._index, self._index.run
        assert record is not None
        created = run_events.created(index) or (None,) * 9
        user = created[3]
        status = run_events.updated(index)[1][0]
        attributes = {
            "prov:label": created[2] or self._run.run,
            "prov:startTime": record.get("prov:startTime"),
            "prov:endTime": record.get("prov:endTime"),
            "prov:startedAtTime": facts.local_time(record.get("prov:startTime")),
            "prov:endedAtTime": facts.local_time(record.get("prov:endTime")),
            "mlf:runId": index.run_id,
            "mlf:status": status,
            "yprov:experiment_name": self._run.run,
            "yprov:run_id": str(self._run.number),
            "yprov:PID": index.document.prefixes["run"].rstrip("#").rpartition(":")[2],
            "yprov:provenance_path": self._address.rpartition("/")[0],
            "yprov:experiment_dir": self._address,
            "yprov:artifact_uri": created[5],
            "yprov:time_zone": "UTC+0000",
            **facts.machine(index),
        }
        self._add("activity", self._run.run, attributes)
        if user is not None:
            agent = quote_key(str(user))
            while agent in contexts or agent == self._run.run:  # a context named like the user
                agent += "@"
            self._add("agent", agent, {"prov:label": str(user)})
            self._relate("wasAssociatedWith", "activity", self._run.run, "agent", agent)

    def _add_contexts(self, contexts: Mapping[str, tuple[str | None, str | None]]) -> None:
        run = self._index.run or {}
        for context, (start, end) in sorted(contexts.items()):
            attributes = {
                "prov:label": context,
                "prov:startTime": start,
                "prov:endTime": end,
                # Without a start, the card takes that of a metric file, and fails if it has none.
                "prov:startedAtTime": facts.local_time(start or run.get("prov:startTime")),
                "prov:endedAtTime": facts.local_time(end),
            }
            self._add("activity", context, attributes)
        for context in self._records["activity"]:
            if context != self._run.run:
                parent = context.rpartition(".")[0]
                around = parent if parent in self._records["activity"] else self._run.run
                self._inform(context, around)

    def _inform(self, informed: str, informant: str) -> None:
        self._relate("wasInformedBy", "informed", informed, "informant", informant)

    # -- entities ------------------------------------------------------------------------

    def _add_code(self) -> None:
        commit, command = facts.commit(self._index), facts.command(self._index)
        if commit is not None:
            self._add_input(_SOURCE_CODE, *commit)
        if command is not None:
            # The card looks for this id, without a context.
            identifier = _COMMAND if self._is_free(_COMMAND) else None
            self._add_input(_COMMAND, *command, identifier=identifier)

    def _add_input(
        self, label: str, value: str, origin: str, *, identifier: str | None = None
    ) -> None:
        """Add an input with plain text as its value, as yProv4ML's card expects of these."""
        attributes = {"prov:value": value, "dcterms:identifier": self._iri(origin)}
        self._entity(label, "HyperParameter", "input", attributes, origin, identifier=identifier)

    def _add_environment(self) -> Sequence[str]:
        lines, origin = facts.packages(self._index)
        if lines:
            attributes = {
                "dcterms:identifier": f"{self._address}/{names.REQUIREMENTS}",
                "yprov:file_size": str(sum(len(line.encode()) + 1 for line in lines)),
            }
            label = names.REQUIREMENTS.rpartition("/")[2]
            self._entity(label, "Artifact", "input", attributes, origin)
        return lines

    def _add_params(self) -> None:
        for name, value in sorted(run_events.params(self._index).items()):
            origin = f"run:param/{quote_key(name)}"
            attributes = {
                # The card evaluates plain text as Python, but not that of typed values.
                "prov:value": {"$": literals.text(value), "type": "xsd:string"},
                "dcterms:identifier": self._iri(origin),
            }
            # Its card expects a slash in the value of every input with this name.
            role = None if _SOURCE_CODE in name else "input"
            self._entity(name, "HyperParameter", role, attributes, origin)

    def _add_datasets(self) -> None:
        datasets, _ = run_events.inputs(self._index)
        usages = {
            (attribute(use, "mlf:datasetName"), attribute(use, "mlf:datasetContext")): use
            for use in self._index.relations("used")
        }
        for dataset in datasets:
            purpose = mapping(dataset.get("tags")).get(CONTEXT)
            usage = usages.get((dataset["name"], purpose), {})
            source = dataset.get("source")
            attributes = {
                "dcterms:identifier": source if isinstance(source, str) else canonical(source),
                "yprov:source_type": dataset.get("source_type"),
                "yprov:digest": dataset.get("digest"),
                "yprov:schema": _json_text(dataset.get("schema")),
                "yprov:profile": _json_text(dataset.get("profile")),
                "yprov:purpose": purpose,
                "prov:generatedAtTime": facts.local_time(usage.get("prov:time")),
            }
            label = str(dataset["name"])
            origin = str(usage.get("prov:entity"))
            self._entity(label, "Dataset", "input", attributes, origin)

    def _add_models(self) -> None:
        files = run_events.artifacts(self._index)
        outputs = [model for model, _ in run_events.outputs(self._index)]
        inputs = run_events.inputs(self._index)[1]
        own = [
            str(attribute(record, "mlf:modelId"))
            for suffix, record in self._index.group("store", "logged-model")
            if "/" not in suffix and self._generators.get(f"store:logged-model/{suffix}")
        ]
        for model in dict.fromkeys([*outputs, *own, *inputs]):
            origin = f"store:logged-model/{quote_key(model)}"
            record = self._index.entities.get(origin, {})
            sizes = [file["size"] for file in files.get(("model", model), ()) if file["size"]]
            attributes = {
                "dcterms:identifier": attribute(record, "mlf:artifactUri") or self._iri(origin),
                "yprov:model_id": model,
                "yprov:file_size": str(sum(sizes)) if sizes else None,
            }
            label = str(attribute(record, "schema:name") or model)
            role = "input" if model in inputs else "output"
            self._entity(label, "Model", role, attributes, origin)

    def _add_series(self, series: Sequence[Series]) -> None:
        for item in series:
            attributes = {
                "dcterms:identifier": f"{self._address}/{item.path}",
                "yprov:context": item.context,
                "yprov:source": item.source,
                "prov:generatedAtTime": facts.time_of_ms(item.time_ms),
            }
            activity = item.context
            if item.source != names.NO_SOURCE:
                activity = self._source_activity(item.source, item.context)
            mark = f"@GR{item.rank}" if item.rank else ""
            identifier = self._free_id(item.key, activity, "Metric", mark)
            self._entity(
                item.key, "Metric", "output", attributes, activity=activity, identifier=identifier
            )

    def _source_activity(self, source: str, context: str) -> str:
        """Return the id of the activity of a source, which is added for its first metric."""
        activity = self._sources.get((source, context))
        if activity is None:
            activity = self._sources[source, context] = self._free_id(source, context, "Source")
            self._add("activity", activity, {"prov:label": source})
            self._inform(activity, context)
        return activity

    def _add_artifacts(self) -> None:
        files = run_events.artifacts(self._index).get(None, [])
        root = (run_events.created(self._index) or (None,) * 9)[5]
        room = MOST_ENTITIES - len(self._records["entity"])
        rows = list(facts.artifact_rows(files, room))
        for path, kind, origin_path, size, count in rows[:room]:
            origin = f"run:artifact/{quote_key(origin_path)}"
            attributes = {
                "dcterms:identifier": f"{str(root).rstrip('/')}/{path}" if root else path,
                "yprov:file_size": None if size is None else str(size),
                "yprov:file_count": None if count is None else str(count),
                "prov:generatedAtTime": facts.local_time(self._times.get(origin)),
            }
            context = names.context_of_activity(self._generators.get(origin, ""))
            self._entity(path, kind, "output", attributes, origin, activity=context)
        if len(rows) > room:
            self._omitted.append(f"{len(rows) - room} folders of artifacts")
        elif any(count is not None and kind == "Artifact" for _, kind, _, _, count in rows):
            self._omitted.append("single artifacts, of which it has the folders")

    def _add_derivations(self) -> None:
        for relation in self._index.relations("wasDerivedFrom"):
            ends = (relation.get("prov:generatedEntity"), relation.get("prov:usedEntity"))
            new, old = (self._entities.get(str(end)) for end in ends)
            if new is not None and old is not None and new != old:
                self._relate("wasDerivedFrom", "generatedEntity", new, "usedEntity", old)

    # -- records -------------------------------------------------------------------------

    def _entity(
        self,
        label: str,
        kind: str,
        role: str | None,
        attributes: Mapping[str, Any],
        origin: str | None = None,
        *,
        activity: str | None = None,
        identifier: str | None = None,
    ) -> str:
        """Add an entity that an activity, by default the run, used or generated."""
        activity = activity or self._run.run
        if identifier is None:
            identifier = self._free_id(label, activity, kind)
        time = facts.local_time(self._times.get(origin or ""))
        common = {
            "prov:label": label,
            "prov:type": f"provml:{kind}",
            "prov:role": role,
            "prov:generatedAtTime": time,
            "yprov:context": activity,
            "yprov:fullLabel": identifier,
        }
        self._add("entity", identifier, {**common, **attributes})
        if origin is not None:
            self._entities.setdefault(origin, identifier)
        if role == "output":
            self._relate("wasGeneratedBy", "entity", identifier, "activity", activity)
        else:
            self._relate("used", "activity", activity, "entity", identifier)
        return identifier

    def _free_id(self, label: str, context: str, kind: str, mark: str = "") -> str:
        """Return the id of an entity; a param and a metric of one name need two."""
        identifier = names.entity_id(label, context, mark)
        while not self._is_free(identifier):
            mark = f"{mark}'" if mark else f"@{kind}"
            identifier = names.entity_id(label, context, mark)
        return identifier

    def _is_free(self, identifier: str) -> bool:
        return not any(identifier in self._records.get(s, ()) for s in ("entity", *_ACTORS))

    def _relate(self, verb: str, first_role: str, first: str, role: str, second: str) -> None:
        ends = {f"prov:{first_role}": first, f"prov:{role}": second}
        self._add(verb, f"{verb}//{first}//{second}", ends)

    def _add(self, section: str, identifier: str, attributes: Mapping[str, Any]) -> None:
        record = {
            name: literals.text(value) if isinstance(value, str) else value
            for name, value in attributes.items()
            if value is not None
        }
        self._records.setdefault(section, {})[identifier] = record

    def _iri(self, qualified: str) -> str:
        prefix, _, local = qualified.partition(":")
        return self._index.document.prefixes.get(prefix, f"{prefix}:") + local


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else canonical(value)
