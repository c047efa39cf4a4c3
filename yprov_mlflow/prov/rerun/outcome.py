"""What differs between a run and its rerun: status, params, metrics, datasets, artifacts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from yprov_mlflow.prov.errors import GraphError
from yprov_mlflow.prov.graph import run_comparison
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.views.summary_report import Summary
from yprov_mlflow.prov.views.view import Note, Table, View

Verdict = Literal["equal", "differs", "only first", "only rerun"]

_MOST_REASONS = 20
_DECISIVE = ("status", "param", "metric", "dataset")
"""Files often hold times and ids; they are reported, and decide nothing."""


class Comparison(View):
    """One value of the first run and of the rerun; ``by`` is the relative difference."""

    part: str
    name: str
    first: object
    rerun: object
    verdict: Verdict
    by: float | None = None


class Reason(View):
    """A difference of data, code, params, environment or hardware, which may explain others."""

    part: str
    name: str
    first: str | None
    rerun: str | None


class Outcome(View):
    """The rerun compared with the first run; ``reasons`` if results differ, likeliest first."""

    first_run: str | None
    rerun: str | None
    comparisons: tuple[Comparison, ...]
    reasons: tuple[Reason, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether status, params, metrics and datasets are equal; files decide nothing."""
        return all(c.verdict == "equal" for c in self.comparisons if c.part in _DECISIVE)

    def tables(self) -> Iterator[Table]:
        """Yield what differs, then the numbers of equal values."""
        rows = [
            (c.part, c.name, *_shown(c), c.verdict if c.by is None else f"by {c.by:.3g}")
            for c in self.comparisons
            if c.verdict != "equal"
        ]
        yield Table("Differences", ("part", "name", "first run", "rerun", "verdict"), rows)
        reasons = [(r.part, r.name, r.first, r.rerun) for r in self.reasons[:_MOST_REASONS]]
        yield Table("What may have caused it", ("part", "name", "first run", "rerun"), reasons)
        parts = dict.fromkeys(c.part for c in self.comparisons)
        counts = [(part, *_counts(self.comparisons, part)) for part in parts]
        yield Table("Rerun and first run", ("part", "equal", "different"), counts)

    def notes(self) -> Iterator[Note]:
        """Yield the conclusion."""
        if self.is_same:
            yield Note("The rerun has the same status, params, metrics and datasets.", "hint")
        else:
            yield Note("The rerun differs from the first run.", "warning")


def _shown(comparison: Comparison) -> list[object]:
    values = (comparison.first, comparison.rerun)
    return [str(v)[:12] if v and comparison.part == "artifact" else v for v in values]


def _counts(comparisons: Iterable[Comparison], part: str) -> tuple[int, int]:
    verdicts = [c.verdict == "equal" for c in comparisons if c.part == part]
    return sum(verdicts), len(verdicts) - sum(verdicts)


def compare(first: Summary, rerun: Summary) -> Outcome:
    """Return what is equal and what differs between two runs."""
    comparisons = [
        *_compare("status", {"status": first.run.status}, {"status": rerun.run.status}),
        *_compare("param", first.params, rerun.params),
        *_compare("metric", _metrics(first), _metrics(rerun)),
        *_compare("dataset", _datasets(first), _datasets(rerun)),
        *_compare("artifact", _artifacts(first), _artifacts(rerun)),
    ]
    return Outcome(first_run=first.run.id, rerun=rerun.run.id, comparisons=tuple(comparisons))


def _compare(
    part: str, first: Mapping[str, object], rerun: Mapping[str, object]
) -> Iterator[Comparison]:
    for name in dict.fromkeys((*first, *rerun)):
        a, b = first.get(name), rerun.get(name)
        if name not in rerun:
            yield Comparison(part=part, name=name, first=a, rerun=None, verdict="only first")
        elif name not in first:
            yield Comparison(part=part, name=name, first=None, rerun=b, verdict="only rerun")
        elif a == b or (_is_nan(a) and _is_nan(b)):
            yield Comparison(part=part, name=name, first=a, rerun=b, verdict="equal")
        else:
            by = _relative(a, b)
            yield Comparison(part=part, name=name, first=a, rerun=b, verdict="differs", by=by)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _relative(a: object, b: object) -> float | None:
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return None
    if not (math.isfinite(a) and math.isfinite(b)):
        return None
    return abs(a - b) / max(abs(a), abs(b))


def _metrics(summary: Summary) -> dict[str, object]:
    # Measurements of the machine, such as system/cpu, never repeat.
    metrics = (metric for metric in summary.metrics if not metric.key.startswith("system/"))
    return {"/".join((*metric.context, metric.key)): metric.last for metric in metrics}


def _datasets(summary: Summary) -> dict[str, object]:
    return {str(dataset.name): dataset.digest for dataset in summary.datasets}


def _artifacts(summary: Summary) -> dict[str, object]:
    names = {str(model.id): str(model.name) for model in summary.models}
    return {
        f"model {names.get(a.model, '')}: {a.path}" if a.model else str(a.path): a.sha256
        for a in summary.artifacts
    }


def with_reasons(outcome: Outcome, first: Document, rerun: Document) -> Outcome:
    """Return the outcome with differences that may have caused others, if the results differ."""
    if outcome.is_same or not (outcome.first_run and outcome.rerun):
        return outcome
    graph = LocalGraph.in_memory([first, rerun])
    try:
        differences = run_comparison.compare(graph, outcome.first_run, outcome.rerun).likely_reasons
    except GraphError:  # documents of other programs may be unlike ours
        return outcome
    reasons = tuple(
        Reason(part=d.part, name=d.name, first=d.left, rerun=d.right)
        for d in differences
        if d.part != "params"  # compared above
    )
    return dataclasses.replace(outcome, reasons=reasons)


def counterpart(first: Summary, reruns: Iterable[Summary]) -> Summary | None:
    """Return the run of a rerun that is most like the first run; a command may log several."""
    return max(reruns, key=lambda rerun: _likeness(first, rerun), default=None)


def _likeness(first: Summary, rerun: Summary) -> tuple[int, ...]:
    return (
        int(first.run.name == rerun.run.name),
        int(bool(first.run.parent) == bool(rerun.run.parent)),
        sum(rerun.params.get(key) == value for key, value in first.params.items()),
        len(_metrics(first).keys() & _metrics(rerun).keys()),
    )
