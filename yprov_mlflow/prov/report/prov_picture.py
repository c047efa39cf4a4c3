"""The graph of a document for a picture: every record, or a summary of them.

Arrows lead from what comes first to what follows, so that origins stand on the left. The summary
of a run joins records of one kind to one node, and leaves out what describes the machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS
from yprov_mlflow.prov.views.document_reader import (
    DocumentReader,
    Record,
    Source,
    key,
    text,
    types,
    value,
)

Level = Literal["summary", "full"]

_MOST_ALIKE = 6
"""So many nodes of one kind with the same neighbors are drawn; more become one."""

_MOST_NAMES = 3

# Each relation: which of its formal attributes comes first and which follows, in time or as cause,
# and the word on the arrow.
_FLOWS: Mapping[str, tuple[int, int, str]] = {
    "used": (1, 0, "used by"),
    "wasGeneratedBy": (1, 0, "made"),
    "wasDerivedFrom": (1, 0, "source of"),
    "wasInformedBy": (1, 0, "informed"),
    "wasStartedBy": (2, 0, "started"),
    "wasEndedBy": (0, 1, "ended by"),
    "wasInvalidatedBy": (0, 1, "ended by"),
    "wasAttributedTo": (1, 0, "author of"),
    "wasAssociatedWith": (1, 0, "responsible for"),
    "actedOnBehalfOf": (1, 0, "represented by"),
    "wasInfluencedBy": (1, 0, "influenced"),
    "specializationOf": (1, 0, "has version"),
    "alternateOf": (1, 0, "is also"),
    "hadMember": (0, 1, "contains"),
    "mentionOf": (1, 0, "mentioned as"),
}

# Types of records that the summary joins to one node for each activity, with the word for many.
_JOINED = {
    "mlf:Param": "params",
    "mlf:MetricSample": "metrics",
    "mlf:MetricSeries": "metrics",
    "mlf:Artifact": "artifacts",
    "mlf:Trace": "traces",
    "mlf:File": "files",
}
_SEPARATE = frozenset({"mlf:Artifact", "mlf:Trace", "mlf:File"})
"""Types whose records are joined only if they are many."""

# Types whose records the summary of a run shows one by one, with the word for their kind.
_SHOWN = {
    "mlf:Run": "run",
    "mlf:Context": "context",
    "mls:Dataset": "dataset",
    "mlf:FileCollection": "folder",
    "mlf:EvaluationDataset": "evaluation dataset",
    "schema:SoftwareSourceCode": "code",
    "mlf:Environment": "environment",
    "mlf:LoggedModel": "model",
    "mlf:ModelVersion": "model version",
    "mlf:PromptVersion": "prompt",
    "mlf:WorkflowTask": "task",
    "mlf:WorkflowExecution": "workflow",
    "prov:Person": "person",
}
_OWN_TYPE = "mlf:"


class Node(NamedTuple):
    """A record, or several of one kind: ``kind`` is entity, activity or agent."""

    kind: str
    word: str
    label: str


class Arrow(NamedTuple):
    """A relation from what comes first to what follows."""

    first: str
    second: str
    word: str


class Picture(NamedTuple):
    """Nodes by their ids, and the arrows between them."""

    nodes: Mapping[str, Node]
    arrows: Sequence[Arrow]


def picture(document: Source, level: Level = "summary") -> Picture:
    """Return the graph of a document.

    Only documents of captured or converted runs can be summarized; others are shown in full.
    """
    reader = DocumentReader.of(document)
    if level == "full" or "run:run" not in reader.section("activity"):
        nodes = {
            identifier: Node(kind, _word(record), _label(identifier, record))
            for kind in ELEMENTS
            for identifier, record in reader.section(kind).items()
        }
        return _without_strays(nodes, list(_arrows(reader, {name: name for name in nodes})))
    return _summary(reader)


def _arrows(reader: DocumentReader, node_of: Mapping[str, str]) -> Iterator[Arrow]:
    for section, (source, target, word) in _FLOWS.items():
        formals = KINDS[section].formals
        first, second = formals[source], formals[target]
        for record in reader.section(section).values():
            ends = (node_of.get(str(record.get(first))), node_of.get(str(record.get(second))))
            if ends[0] is not None and ends[1] is not None and ends[0] != ends[1]:
                yield Arrow(ends[0], ends[1], word)


def _without_strays(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> Picture:
    """Return a picture with one arrow between two nodes, and the nodes that have any."""
    # Two nodes may be related in several ways; the first in the table says most.
    words: dict[tuple[str, str], str] = {}
    for arrow in arrows:
        words.setdefault((arrow.first, arrow.second), arrow.word)
    ends = {name for pair in words for name in pair}
    kept = {name: node for name, node in nodes.items() if name in ends or len(nodes) == 1}
    return Picture(kept or nodes, [Arrow(*pair, word) for pair, word in words.items()])


def _word(record: Record) -> str:
    """Return the last word of a type, such as ``Param`` for ``mlf:Param``."""
    names = [kind for kind in types(record) if kind]
    own = [name for name in names if name.startswith(_OWN_TYPE)]
    return (own or names or [""])[0].rpartition(":")[2]


def _label(identifier: str, record: Record) -> str:
    label = text(record.get("prov:label")) or key(record)
    return label or identifier.partition(":")[2] or identifier


# -- summary -------------------------------------------------------------------------------


def _summary(reader: DocumentReader) -> Picture:
    """Return the run, its contexts, and their inputs and outputs, many of a kind as one node."""
    node_of: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    members: dict[str, list[str]] = defaultdict(list)
    word_of: dict[str, str] = {}
    users = _users(reader)
    repeated = _repeated_series(reader)
    for kind in ELEMENTS:
        for identifier, record in reader.section(kind).items():
            kinds = set(types(record))
            if identifier in repeated:
                continue
            if shown := next((_SHOWN[name] for name in _SHOWN if name in kinds), None):
                node_of[identifier] = identifier
                nodes[identifier] = Node(kind, shown, _label(identifier, record))
            elif host := _merged(reader, identifier, kinds):
                node_of[identifier] = host
            elif joined := next((name for name in _JOINED if name in kinds), None):
                group = f"{_JOINED[joined]} {users.get(identifier, '')}"
                members[group].append(identifier)
                word_of[group] = joined
    # Epochs may come before the contexts that they are part of.
    node_of = {name: node for name, node in node_of.items() if node in nodes}
    for group, names in members.items():
        _join(reader, group, names, word_of[group], nodes, node_of)
    arrows = [arrow for arrow in _arrows(reader, node_of) if _is_told(arrow, nodes)]
    return _without_strays(nodes, [*arrows, *_parts(reader, nodes)])


def _repeated_series(reader: DocumentReader) -> set[str]:
    """Return the series of the whole run whose metric has series of contexts as well."""
    series = list(reader.of_type("entity", "mlf:MetricSeries"))
    inside = {key(record) for _, record in series if "mlf:context" in record}
    return {name for name, r in series if "mlf:context" not in r and key(r) in inside}


def _merged(reader: DocumentReader, identifier: str, kinds: set[str | None]) -> str | None:
    """Return the node that stands for an activity as well: sessions belong to the run."""
    if "mlf:RunSession" in kinds:
        return "run:run"
    if "mlf:Epoch" in kinds:
        return text(reader.section("activity")[identifier].get("dcterms:isPartOf"))
    return None


def _users(reader: DocumentReader) -> dict[str, str]:
    """Return the activity that made each entity, or else the one that used it."""
    activities = reader.section("activity")

    def place(activity: str) -> str:
        record = activities.get(activity, {})
        merged = _merged(reader, activity, set(types(record))) if record else None
        return merged or activity

    users = {
        str(record.get("prov:entity")): f"used by {place(str(record.get('prov:activity')))}"
        for record in reader.section("used").values()
    }
    for record in reader.section("wasGeneratedBy").values():
        users[str(record.get("prov:entity"))] = place(str(record.get("prov:activity")))
    return users


def _join(
    reader: DocumentReader,
    group: str,
    names: Sequence[str],
    kind: str,
    nodes: dict[str, Node],
    node_of: dict[str, str],
) -> None:
    """Add one node for the records of a group, or one for each if they are few."""
    records = reader.section("entity")
    word = _JOINED[kind]
    if kind in _SEPARATE and len(names) <= _MOST_ALIKE:
        for name in names:
            node_of[name] = name
            nodes[name] = Node("entity", word.removesuffix("s"), _label(name, records[name]))
        return
    # A metric has a record for each point.
    keys = list(dict.fromkeys(key(records[name]) for name in names))
    shown = ", ".join(keys[:_MOST_NAMES]) + (", …" if len(keys) > _MOST_NAMES else "")
    one = word.removesuffix("s") if len(keys) == 1 else f"{len(keys)} {word}"
    nodes[group] = Node("entity", one, shown)
    node_of |= dict.fromkeys(names, group)


def _is_told(arrow: Arrow, nodes: Mapping[str, Node]) -> bool:
    """Return whether the summary has an arrow: contexts have one from their whole instead."""
    both = {nodes[arrow.first].word, nodes[arrow.second].word}
    return not both <= {"run", "context"} and arrow.word not in ("has version", "contains")


def _parts(reader: DocumentReader, nodes: Mapping[str, Node]) -> Iterator[Arrow]:
    """Yield an arrow to each context from the context or run that it is a part of."""
    for identifier, record in reader.of_type("activity", "mlf:Context"):
        whole = str(value(record.get("dcterms:isPartOf", "run:run")))
        yield Arrow(whole if whole in nodes else "run:run", identifier, "has part")
