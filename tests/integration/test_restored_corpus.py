"""Existing real stores equal the stores that are restored from their documents."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support.oracles import comparison
from support.oracles.comparison import MISSING, Difference
from support.oracles.restore_round_trip import RoundTrip
from support.oracles.targets import in_order, undeclared
from support.readers import corpus

# All of them take minutes: ``nox -s corpus``.
WHOLE = "YPROV_MLFLOW_WHOLE_CORPUS" in os.environ
ROWS = corpus.rows()[:: 1 if WHOLE else 3]
DATABASES = [row for row in ROWS if "alembic" in row.cells["version evidence"]]
READABLE = "MLflow 3.17.2 reads it?"

pytestmark = pytest.mark.skipif(not ROWS, reason="the corpus of real stores is not here")

RoundTrips = Callable[[corpus.Row], RoundTrip]


def name(row: corpus.Row) -> str:
    return f"{row.archive} {row.path}"


@pytest.fixture(scope="module")
def round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    unpack_store: Callable[[corpus.Row], Path],
) -> RoundTrips:
    """Return a function that converts and restores a store, once for all tests."""
    folder = tmp_path_factory.mktemp("round_trips")
    cache: dict[str, RoundTrip] = {}

    def round_trip(row: corpus.Row) -> RoundTrip:
        if name(row) not in cache:
            target = folder / str(len(cache))
            target.mkdir()
            cache[name(row)] = RoundTrip(unpack_store(row), target, empty_database)
        return cache[name(row)]

    return round_trip


def moved(difference: Difference, round_trip: RoundTrip) -> bool:
    """Return whether an artifact location became the same one below the new root, with files."""
    actual = Path(str(difference.actual))
    if not actual.is_relative_to(round_trip.artifacts) or not actual.exists():
        return False
    original = unquote(str(difference.expected))
    return original.endswith(f"/{actual.relative_to(round_trip.artifacts)}")


def differences(result: comparison.Comparison, round_trip: RoundTrip) -> list[str]:
    locations = ("artifact_uri", "location", "mlflow.artifactLocation")
    return [
        str(difference)
        for difference in undeclared(result)
        if not (difference.path[-1] in locations and moved(difference, round_trip))
    ]


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_restored_store_equals_the_source(row: corpus.Row, round_trips: RoundTrips) -> None:
    round_trip = round_trips(row)
    expected = comparison.read_source(str(round_trip.location))
    logged = in_order(expected)
    equal = comparison.as_database(expected)
    assert differences(comparison.compare(expected, round_trip.store), round_trip) == []
    assert round_trip.report.losses == []
    assert round_trip.report.collapsed == equal
    restored = comparison.order_of_logging(str(round_trip.database))
    assert {key: [repr(p) for p in points] for key, points in restored.items()} == logged
    assert row.count("runs") == len(expected["runs"])


@pytest.mark.parametrize("row", DATABASES, ids=name)
def test_mlflow_reads_restored_databases_like_the_originals(
    row: corpus.Row, round_trips: RoundTrips, tmp_path: Path
) -> None:
    """MLflow itself reads both: the original after its own schema upgrade, and the restored one."""
    from mlflow.store.db.utils import _upgrade_db
    from sqlalchemy import create_engine

    uri = f"sqlite:///{shutil.copy(round_trips(row).location, tmp_path)}"
    engine = create_engine(uri)
    _upgrade_db(engine)
    engine.dispose()
    result = comparison.compare(comparison.read_store(uri), round_trips(row).store)
    assert result.fields > 10
    assert differences(result, round_trips(row)) == []


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.cells[READABLE].startswith("yes") and row not in DATABASES],
    ids=name,
)
def test_mlflow_reads_restored_file_stores_like_the_originals(
    row: corpus.Row, round_trips: RoundTrips, tmp_path: Path
) -> None:
    copy = shutil.copytree(round_trips(row).location, tmp_path / "mlruns")
    expected = comparison.read_store(f"file://{copy}")
    comparison.as_database(expected)
    result = comparison.compare(expected, round_trips(row).store)
    # MLflow cannot find spans if the artifacts were elsewhere when they were written.
    spans = [d for d in result.differences if d.path[0] == "traces" and d.path[2] == "spans"]
    assert all(difference.expected == MISSING for difference in spans)
    result.differences = [d for d in result.differences if d not in spans]
    assert differences(result, round_trips(row)) == []


# -- documents of restored stores ----------------------------------------------------------


def _is_store_itself(d: Difference, round_trip: RoundTrip) -> bool:
    _, section, identifier, *attribute = d.path
    if section == "prefix":
        return identifier == "store"
    of_store = identifier == "store:store" and attribute in (["mlf:uri"], ["prov:label"])
    return of_store and d.actual == f"sqlite:///{round_trip.database}"


def _is_location_of_files(d: Difference, round_trip: RoundTrip) -> bool:
    identifier, attribute = d.path[2], d.path[-1]
    is_location = attribute in ("schema:contentUrl", "mlf:artifactUri")
    of_trace = "/tag/mlflow.artifactLocation/" in identifier and attribute == "prov:value"
    return (is_location or of_trace) and moved(d, round_trip)


def _is_out_of_reach(d: Difference, round_trip: RoundTrip) -> bool:
    starts = ("run:artifact/", "run:folder/", "run:generation/artifact/", "_:hadMember/run$folder/")
    without = not (round_trip.artifacts / d.path[0]).exists()
    return d.path[2].startswith(starts) and d.actual == MISSING and without


def _is_file_of_spans(d: Difference, _: RoundTrip) -> bool:
    return "/artifact/traces.json" in d.path[2] and d.actual == MISSING


def _is_location_of_spans(d: Difference, _: RoundTrip) -> bool:
    return "/tag/mlflow.trace.spansLocation" in d.path[2] and d.expected == MISSING


def _is_tag_in_call(d: Difference, _: RoundTrip) -> bool:
    if d.path[3:] != ("mlf:arguments",) or "/start_trace/" not in d.path[2]:
        return False
    expected, actual = json.loads(str(d.expected)), json.loads(str(d.actual))
    tags = actual["trace_info"]["tags"]
    expected["trace_info"]["tags"] |= {
        "mlflow.artifactLocation": tags["mlflow.artifactLocation"],
        "mlflow.trace.spansLocation": "TRACKING_STORE",
    }
    return bool(expected == actual)


def _is_default_experiment(d: Difference, _: RoundTrip) -> bool:
    # The session is new, too, if the original store was empty.
    is_session = d.path[1:] == ("activity", "store:session/store")
    return (
        d.path[0] == "store" and d.expected == MISSING and (is_session or _about_experiment(d, "0"))
    )


def _is_experiment_without_name(d: Difference, _: RoundTrip) -> bool:
    is_name = d.path[2] == "store:experiment/7" and d.path[3:] == ("schema:name",)
    in_store = d.path[0] == "store" and _about_experiment(d, "7")
    return d.expected == MISSING and (in_store or (is_name and d.actual == "7"))


def _about_experiment(d: Difference, experiment_id: str) -> bool:
    identifier = d.path[2].replace("$", ":")
    about = (f"experiment/{experiment_id}", f"event/create_experiment/{experiment_id}(1)")
    return any(f":{name}" in identifier or f"/{name}" in identifier for name in about)


def _is_number(d: Difference, _: RoundTrip) -> bool:
    return d.path[0] == "store" and d.path[3:] == ("mlf:sequence", "$")


def _is_repetition(d: Difference, _: RoundTrip) -> bool:
    if d.path[3:] != ("points",):
        return False
    expected: Any = copy.deepcopy(d.expected)
    for _, _, _, record, _ in expected:
        record.pop("mlf:repetitions", None)
    return bool(expected == d.actual != d.expected)


def _is_order_of_points(d: Difference, _: RoundTrip) -> bool:
    return d.path[3:] == ("points",) and _by_time(d.expected) == d.actual


def _by_time(points: Any) -> list[Any]:
    return sorted(points, key=lambda point: (point[0], int(point[1]), float(point[2])))


def _is_old_name(d: Difference, _: RoundTrip) -> bool:
    if d.path[3:] != ("mlf:fields",):
        return False
    expected = json.loads(str(d.expected))
    return bool(expected.pop("name") and expected == json.loads(str(d.actual)))


def _is_model_of_version(d: Difference, _: RoundTrip) -> bool:
    if d.path[3:] != ("mlf:arguments",) or "/create_model_version/" not in d.path[2]:
        return False
    expected = json.loads(str(d.expected))
    return {**expected, "model_id": None} == json.loads(str(d.actual)) != expected


DECLARED: dict[str, Callable[[Difference, RoundTrip], bool]] = {
    "the store has another URI, and its namespace another UUID": _is_store_itself,
    "files were copied to the artifact root of the new store": _is_location_of_files,
    "files in a folder of another project are not looked for": (_is_out_of_reach),
    "spans that were in a file are in the database": _is_file_of_spans,
    "a trace has a tag with the location of its spans": _is_location_of_spans,
    "the call that started a trace has its tags": _is_tag_in_call,
    "MLflow's databases have an experiment 0": _is_default_experiment,
    "an experiment without meta.yaml gets its id as name": _is_experiment_without_name,
    "events are numbered in the order in which a store is read": _is_number,
    "databases keep a point once that was logged again for a model": _is_repetition,
    "points are read from a database in order of time": _is_order_of_points,
    "MLflow's databases have no column for the name that runs had before 1.0": _is_old_name,
    "MLflow's databases have no column for the logged model of a version": _is_model_of_version,
}
"""Tests of the differences between documents of a restored store and of the original."""


def test_documents_of_restored_stores_differ_only_as_declared(round_trips: RoundTrips) -> None:
    unused, undeclared = set(DECLARED), []
    for row in ROWS:
        for difference in round_trips(row).differences():
            reasons = {
                reason
                for reason, is_declared in DECLARED.items()
                if is_declared(difference, round_trips(row))
            }
            if not reasons:
                undeclared.append(f"{name(row)}: {difference}"[:1000])
            unused -= reasons
    assert undeclared == []
    assert unused == set() or not WHOLE
