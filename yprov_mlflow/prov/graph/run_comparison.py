"""Two runs compared: what differs, what is equal, and what most likely made the results differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.graph import code_changes, things
from yprov_mlflow.prov.graph.code_changes import CodeChange, KeptCode, Read
from yprov_mlflow.prov.graph.lookup import about, first, iri, pointing, values
from yprov_mlflow.prov.graph.run_filter import number_of
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.thing_names import resolve_run
from yprov_mlflow.prov.graph.walk import Steps

CAUSES = ("data", "code", "params", "environment", "hardware")
"""The parts of a run that can make its results differ, the likeliest first."""

EFFECTS = ("result", "metrics", "energy")
PARTS = (*CAUSES, *EFFECTS)

_CODE = "mlf:gitCommit mlf:gitBranch mlf:gitDirty mlf:gitDiffSha256 mlf:entryPoint".split()
_CODE += ["mlf:entryPointSha256"]
_ENVIRONMENT = "mlf:pythonVersion mlf:pythonImplementation mlf:platform".split()
_HOST = "mlf:machine mlf:cpuCount mlf:memoryBytes mlf:operatingSystem".split()
_ENERGY = {
    "energy of the run itself (J)": "energy/own",
    "energy of the node (J)": "energy/total",
    "emissions": "emissions/total",
}

Facts = dict[str, dict[str, str]]
"""By part of a run and name, a value as text."""


class Difference(NamedTuple):
    """One name with two values; None where a run lacks it."""

    part: str
    name: str
    left: str | None
    right: str | None


class Comparison:
    """Two runs compared.

    Attributes:
        runs: The two runs.
        differences: Every name whose values differ, by part in the order of ``PARTS``.
        equal: The names with equal values by part.
        code_changes: The files of the code that differ, as far as it was kept, with hunks.
    """

    def __init__(
        self,
        runs: Sequence[things.Thing],
        left: Facts,
        right: Facts,
        changes: Iterable[CodeChange] = (),
    ) -> None:
        self.runs = tuple(runs)
        self.code_changes = tuple(changes)
        self.differences = tuple(_differences(left, right))
        differing = {(d.part, d.name) for d in self.differences}
        self.equal = {
            part: sorted(name for name in left[part] if (part, name) not in differing)
            for part in PARTS
        }

    @property
    def likely_reasons(self) -> tuple[Difference, ...]:
        """The differences that may explain other results, the likeliest first.

        Data come first, then code, params, environment and hardware: an order of experience. A
        document shows what differed, not what that changed.
        """
        return tuple(d for d in self.differences if d.part in CAUSES)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        return {
            "runs": [run.to_dict() for run in self.runs],
            "differences": [difference._asdict() for difference in self.differences],
            "equal": self.equal,
            "code_changes": [change._asdict() for change in self.code_changes],
        }

    def to_pandas(self) -> Any:
        """Return the differences as a ``pandas.DataFrame``."""
        import pandas  # type: ignore[import-untyped] # MLflow's; it takes a second to load

        return pandas.DataFrame(self.differences, columns=list(Difference._fields))


def compare(graph: Graph, left: str, right: str, read: Read = lambda _: None) -> Comparison:
    """Return the comparison of two runs, by names as ``thing_names.resolve_run`` takes them.

    Args:
        graph: The documents.
        left: A run.
        right: Another run.
        read: Reads kept code.

    Raises:
        ThingError: A name fits no run, or several.
    """
    runs = [resolve_run(graph, name) for name in (left, right)]
    described = things.describe(graph, dict.fromkeys(runs, things.RUN))
    facts = [_facts(graph, run, described[run]) for run in runs]
    codes = [_kept_code(graph, run, described[run]) for run in runs]
    changes = code_changes.changes(codes[0], codes[1], read)
    return Comparison([described[run] for run in runs], facts[0], facts[1], changes)


def _kept_code(graph: Graph, run: str, thing: things.Thing) -> KeptCode:
    run_id = str(thing.details.get("run_id", ""))
    return code_changes.kept_code(graph, run_id, dict.fromkeys(_inputs(graph, run)))


def _differences(left: Facts, right: Facts) -> Iterator[Difference]:
    for part in PARTS:
        for name in sorted({*left[part], *right[part]}):
            pair = left[part].get(name), right[part].get(name)
            if not _same(*pair):
                yield Difference(part, name, *pair)


def _same(left: str | None, right: str | None) -> bool:
    # Params are text to MLflow: 0.10 and 0.1 set the same value.
    numbers = number_of(left), number_of(right)
    return left == right or (None not in numbers and numbers[0] == numbers[1])


# -- one run ---------------------------------------------------------------------------


def _facts(graph: Graph, run: str, thing: things.Thing) -> Facts:
    facts: Facts = {part: {} for part in PARTS}
    steps = Steps(graph)
    used = [link.before for link in steps.up([run])]
    data = things.describe(graph, {name: steps.kind(name) for name in used})
    contents: dict[str, set[str]] = {}
    for entity in data.values():
        contents.setdefault(f"{entity.kind} {_data_name(entity)}", set()).add(_identity(entity))
    facts["data"] = {name: ", ".join(sorted(of_name)) for name, of_name in contents.items()}
    inputs = list(dict.fromkeys(_inputs(graph, run)))
    base = run.rpartition("#")[0] + "#"
    _add_inputs(graph, facts, inputs, f"{base}param/")
    for series, statements in about(
        graph,
        pointing(graph, [run], "prov:wasGeneratedBy")[run],
        "rdf:type",
        "schema:name",
        "mlf:last",
    ).items():
        key, last = first(statements, "schema:name"), first(statements, "mlf:last")
        if key and last is not None and series.startswith(f"{base}metric/@run/"):
            facts["metrics"][key] = last
    sums = about(graph, [base + local for local in _ENERGY.values()], "qudt:numericValue")
    for name, local in _ENERGY.items():
        if (number := first(sums[base + local], "qudt:numericValue")) is not None:
            facts["energy"][name] = number
    facts["result"] = {key: str(thing.details[key]) for key in ("status",) if key in thing.details}
    return facts


def _inputs(graph: Graph, run: str) -> Iterable[str]:
    """Yield what a run and its sessions used."""
    sessions = pointing(graph, [run], "dcterms:isPartOf")[run]
    statements = about(graph, [run, *sessions], "prov:used")
    for of_activity in statements.values():
        yield from values(of_activity.get("prov:used", ()))


def _add_inputs(graph: Graph, facts: Facts, inputs: Sequence[str], of_params: str) -> None:
    wanted = (
        "rdf:type rdfs:label schema:name mlf:text prov:value mlf:packages mlf:facts".split()
        + _CODE
        + _ENVIRONMENT
        + _HOST
    )
    for name, statements in about(graph, inputs, *wanted).items():
        types = set(values(statements.get("rdf:type", ())))
        if name.startswith(of_params):
            key = first(statements, "schema:name") or name.removeprefix(of_params)
            facts["params"][key] = (
                first(statements, "mlf:text") or first(statements, "prov:value") or ""
            )
        elif iri("schema:SoftwareSourceCode") in types:
            facts["code"] |= _named(statements, _CODE)
        elif iri("mlf:Environment") in types:
            facts["environment"] |= _named(statements, _ENVIRONMENT)
            for line in (first(statements, "mlf:packages") or "").splitlines():
                package, _, version = line.partition("==")
                facts["environment"][package] = version
        elif iri("mlf:Host") in types:
            facts["hardware"] |= _named(statements, _HOST)
            cpu = _json(first(statements, "mlf:facts")).get("cpu_model")
            if cpu:
                facts["hardware"]["cpu"] = str(cpu)
            _add_devices(graph, facts, name)


def _add_devices(graph: Graph, facts: Facts, host: str) -> None:
    parts = pointing(graph, [host], "dcterms:isPartOf")[host]
    for name, statements in about(graph, parts, "rdf:type", "rdfs:label").items():
        if iri("mlf:Device") in values(statements.get("rdf:type", ())):
            facts["hardware"][f"device {name.rpartition('/')[2]}"] = (
                first(statements, "rdfs:label") or ""
            )


def _named(statements: dict[str, Any], names: Iterable[str]) -> dict[str, str]:
    pairs = ((name.partition(":")[2], first(statements, name)) for name in names)
    return {name: value for name, value in pairs if value is not None}


def _data_name(thing: things.Thing) -> str:
    """Return the name by which two runs would know the same input, of any content."""
    if thing.kind == things.VERSION:
        return str(thing.details.get("name") or thing.label)
    return thing.label.rpartition("/")[2]


def _identity(thing: things.Thing) -> str:
    """Return what says that two inputs have equal content."""
    for key in ("sha256", "digest", "model_id", "version"):
        if key in thing.details:
            return f"{key} {thing.details[key]}"
    return thing.iri


def _json(text: str | None) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
