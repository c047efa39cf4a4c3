"""Metrics: a series per key, below it one per context and rank; points as samples or a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from yprov_mlflow.prov.events import LARGEST_FLOAT, STORE_SESSION
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes, Record
from yprov_mlflow.prov.model.identifiers import RUN, STORE, relation, segment, unnamed
from yprov_mlflow.prov.model.literals import name, plain, text
from yprov_mlflow.prov.translate.models import declare_model, model_entity
from yprov_mlflow.prov.translate.point_batches import SideFile
from yprov_mlflow.prov.translate.points import Points, Sample
from yprov_mlflow.prov.translate.series import Series
from yprov_mlflow.prov.translate.timeline import Path
from yprov_mlflow.prov.translate.translation import Translation

_LARGEST, _NONE = frozenset({LARGEST_FLOAT}), frozenset[float]()
_SERIES_TYPES = ("mlf:MetricSeries", "prov:Collection")
# One list for all samples: nothing changes it in place.
_SAMPLE_TYPES = [name("mls:ModelEvaluation"), name("mlf:MetricSample")]


def add_metrics(translation: Translation, points: Points) -> None:
    """Add all metrics of the run; this closes the sink if it was written to."""
    side_file = points.finish()
    file_id = _add_side_file(translation, side_file) if side_file is not None else None
    # Sessions of the same rank continue each other's series.
    merged: dict[str, Series] = {}
    wholes: dict[str, str] = {}
    ids = {id(series): _series_id(translation, series) for series in points.series}
    doubtful: set[str] = set()
    for series in points.series:
        # The series of the run has all points of a metric: its last value is what MLflow shows.
        whole, part = f"{RUN}:metric/@run/{segment(series.key)}", ids[id(series)]
        if {series.maximum, -series.minimum} & _doubtful_values(translation, series):
            doubtful |= {whole, part}
        merged.setdefault(whole, Series("", (), series.key)).merge(series)
        if part != whole:
            wholes[part] = whole
            new = Series(series.session, series.names, series.key)
            merged.setdefault(part, new).merge(series)
    for identifier, series in merged.items():
        _add_series(translation, identifier, series, file_id, identifier in doubtful)
    for part, whole in wholes.items():
        translation.builder.had_member(whole, part)
    _attribute_to_sources(translation, merged)
    if side_file is None:
        _add_samples(translation, ids, points.samples())


def _attribute_to_sources(translation: Translation, merged: Mapping[str, Series]) -> None:
    """Attribute the series of a metric to those who measured it, if a tag names them."""
    for metric, names in translation.metric_sources.items():
        whole = f"{RUN}:metric/@run/{segment(metric)}"
        if whole not in merged:
            continue
        value = literals.value(names)  # a user may have set the tag to any text
        for source in map(str, value if isinstance(value, list) else [value]):
            identifier = f"{STORE}:source/{segment(source)}"
            translation.builder.agent(identifier, ["mlf:MetricSource"], text(source))
            translation.builder.was_attributed_to(whole, identifier)


def _doubtful_values(translation: Translation, series: Series) -> frozenset[float]:
    """Return the values of a series whose logged value is unknown, without their sign.

    MLflow's SQL stores write the largest number for infinity. Files keep infinity, and so do
    calls that were captured.
    """
    created = translation.created
    uri = str(created.store.get("uri") or "") if created is not None else ""
    in_files = not uri or uri.startswith(("file:", "/", "."))
    return _NONE if series.session != STORE_SESSION or in_files else _LARGEST


def _series_id(translation: Translation, series: Series) -> str:
    context = "+".join(map(segment, series.names)) if series.names else "@run"
    suffix = translation.rank_suffix(series.session)
    return f"{RUN}:metric/{context}/{segment(series.key)}{suffix}"


def _add_series(
    translation: Translation,
    identifier: str,
    series: Series,
    file_id: str | None,
    doubtful: bool,
) -> None:
    builder, double = translation.builder, literals.double
    has_numbers = series.count > series.nan_count
    attributes: Attributes = {
        "schema:name": text(series.key),
        "mlf:context": [text(context) for context in series.names] or None,
        "mlf:rank": plain(translation.rank(series.session) or None),
        "mlf:count": literals.integer(series.count),
        "mlf:nanCount": literals.integer(series.nan_count) if series.nan_count else None,
        "mlf:first": double(series.first),
        "mlf:last": double(series.last),
        "mlf:min": double(series.minimum) if has_numbers else None,
        "mlf:max": double(series.maximum) if has_numbers else None,
        "mlf:possiblyInfinite": literals.boolean(True) if doubtful else None,
        "mlf:points": name(file_id) if file_id is not None else None,
    }
    builder.entity(
        identifier, _SERIES_TYPES, text("/".join((*series.names, series.key))), attributes
    )
    # Without a time: points are added from the start of the activity to its end.
    builder.was_generated_by(identifier, translation.timeline.series_activity(series.names))
    if file_id is not None:
        builder.was_derived_from(file_id, identifier)


def _add_side_file(translation: Translation, file: SideFile) -> str:
    attributes: Attributes = {
        "mlf:path": text(file.path),
        "mlf:sha256": file.sha256,
        "mlf:size": literals.integer(file.size),
        "schema:encodingFormat": file.media_type,
    }
    types = ["mlf:MetricPoints", "schema:MediaObject"]
    identifier = f"{RUN}:points/{file.sha256}"
    return translation.builder.entity(identifier, types, text(file.path), attributes)


def _add_samples(translation: Translation, ids: dict[int, str], samples: Iterable[Sample]) -> None:
    """Add each sample with its generation and its membership in the series."""
    order = sorted(samples, key=lambda s: (not s.time_ns, s.time_ns, s.series.session, s.seq))
    if not order:
        return
    # The records are written without the builder: there are thousands of samples, and they need
    # none of its checks, as each is new and neither used nor ended.
    records = translation.builder.records
    entities = records.setdefault("entity", {})
    generations = records.setdefault("wasGeneratedBy", {})
    members = records.setdefault("hadMember", {})
    timeline = translation.timeline
    activities: dict[tuple[str, int, Path, int], tuple[str, int]] = {}
    counts: dict[str, int] = {}
    for sample in order:
        series = ids[id(sample.series)]
        count = counts[series] = counts.get(series, -1) + 1
        identifier = f"{series}/{count}"
        where = (sample.series.session, sample.time_ns, sample.path, sample.timestamp_ms)
        if where not in activities:
            activities[where] = timeline.point_activity(*where)
        activity, time_ns = activities[where]
        entities[identifier] = record = sample_record(sample)
        if abs(sample.value) == LARGEST_FLOAT and _doubtful_values(translation, sample.series):
            record["mlf:possiblyInfinite"] = literals.boolean(True)
        generation: Record = {"prov:entity": identifier, "prov:activity": activity}
        time = literals.instant(time_ns)
        if time is not None and activity != timeline.root_activity:
            generation["prov:time"] = time
        generations[relation("generation", identifier, activity)] = generation
        member = {"prov:collection": series, "prov:entity": identifier}
        members[unnamed("hadMember", series, identifier)] = member
    linked = {link.model for sample in order for link in sample.links}
    for model in sorted(linked | {sample.model for sample in order if sample.model is not None}):
        declare_model(translation, model)
    pairs = {(sample.series.key, sample.model) for sample in order if sample.model is not None}
    pairs |= {(sample.series.key, link.model) for sample in order for link in sample.links}
    for key, model in sorted(pairs):
        series = f"{RUN}:metric/@run/{segment(key)}"
        translation.builder.was_influenced_by(series, model_entity(model))


def sample_record(sample: Sample) -> Record:
    """Return the record of a point."""
    value = literals.double(sample.value)
    record: Record = {
        "prov:type": _SAMPLE_TYPES,
        "prov:label": f"{text(sample.series.key)} at step {sample.step}",
        "schema:name": text(sample.series.key),
        "prov:value": value,
        "mls:hasValue": value,
        "mlf:step": literals.integer(sample.step),
    }
    timestamp = literals.timestamp(sample.timestamp_ms)
    if timestamp is not None:
        record["mlf:timestamp"] = timestamp
    else:  # outside the calendar
        record["mlf:timestampMs"] = literals.integer(sample.timestamp_ms)
    if sample.epoch is not None:
        record["mlf:epoch"] = literals.integer(sample.epoch)
    _add_models(record, sample)
    dataset_name, dataset_digest = sample.dataset
    if dataset_name is not None:
        record["mlf:datasetName"] = text(dataset_name)
    if dataset_digest is not None:
        record["mlf:datasetDigest"] = text(dataset_digest)
    return record


def _add_models(record: Record, sample: Sample) -> None:
    """Add the models that the point evaluates; those it was logged again for come last."""
    models = [] if sample.model is None else [sample.model]
    models += [link.model for link in sample.links]
    if not models:
        return
    values = [name(model_entity(model)) for model in models]
    record["mlf:model"] = values[0] if len(values) == 1 else values
    if sample.links:
        record["mlf:repetitions"] = literals.integer(len(sample.links))
    # MLflow names a dataset for each model; a repetition may name none, or another one.
    others = {link.model: list(link.dataset) for link in sample.links if link.dataset[1]}
    if others:
        record["mlf:modelDatasets"] = literals.canonical(others)
