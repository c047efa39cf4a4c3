"""Real old stores: documents, restored, are to MLflow what the stores were, and to us as well."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import comparison
import corpus
import pytest
from comparison import MISSING, Difference
from journeys import Journey

from integration.targets import in_order, undeclared

ROWS = corpus.rows()
DATABASES = [row for row in ROWS if "alembic" in row.cells["version evidence"]]
READABLE = "MLflow 3.17.2 reads it?"

pytestmark = pytest.mark.skipif(not ROWS, reason="the corpus of real stores is not here")

Journeys = Callable[[corpus.Row], Journey]


def name(row: corpus.Row) -> str:
    return f"{row.archive} {row.path}"


@pytest.fixture(scope="module")
def journeys(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    unpacked: Callable[[corpus.Row], Path],
) -> Journeys:
    """Give the way of a store there and back, which is gone once for all tests."""
    folder = tmp_path_factory.mktemp("journeys")
    known: dict[str, Journey] = {}

    def journey(row: corpus.Row) -> Journey:
        if name(row) not in known:
            place = folder / str(len(known))
            place.mkdir()
            known[name(row)] = Journey(unpacked(row), place, empty_database)
        return known[name(row)]

    return journey


def moved(difference: Difference, journey: Journey) -> bool:
    """Tell whether a place of artifacts became the same one below the new root, with files."""
    expected, found = difference.expected, Path(str(difference.found))
    if not found.is_relative_to(journey.artifacts) or not found.exists():
        return False
    return unquote(str(expected)).endswith(f"/{found.relative_to(journey.artifacts)}")


def differences(result: comparison.Comparison, journey: Journey) -> list[str]:
    places = ("artifact_uri", "location", "mlflow.artifactLocation")
    return [
        str(difference)
        for difference in undeclared(result)
        if not (difference.place[-1] in places and moved(difference, journey))
    ]


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_all_that_is_in_a_store_comes_back(row: corpus.Row, journeys: Journeys) -> None:
    journey = journeys(row)
    expected = comparison.read_source(str(journey.location))
    logged = in_order(expected)
    equal = comparison.as_database(expected)
    assert differences(comparison.compare(expected, journey.store), journey) == []
    assert journey.report.losses == []
    assert journey.report.collapsed == equal
    found = comparison.order_of_logging(str(journey.database))
    assert {at: [repr(p) for p in points] for at, points in found.items()} == logged
    assert row.count("runs") == len(expected["runs"])


@pytest.mark.parametrize("row", DATABASES, ids=name)
def test_old_databases_are_to_mlflow_what_they_were(
    row: corpus.Row, journeys: Journeys, tmp_path: Path
) -> None:
    """MLflow itself reads the old database, brought to its schema, and the restored one."""
    from mlflow.store.db.utils import _upgrade_db
    from sqlalchemy import create_engine

    uri = f"sqlite:///{shutil.copy(journeys(row).location, tmp_path)}"
    engine = create_engine(uri)
    _upgrade_db(engine)
    engine.dispose()
    result = comparison.compare(comparison.read_store(uri), journeys(row).store)
    assert result.fields > 10
    assert differences(result, journeys(row)) == []


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.cells[READABLE].startswith("yes") and row not in DATABASES],
    ids=name,
)
def test_old_trees_that_mlflow_reads_are_to_it_what_they_were(
    row: corpus.Row, journeys: Journeys, tmp_path: Path
) -> None:
    copy = shutil.copytree(journeys(row).location, tmp_path / "mlruns")
    expected = comparison.read_store(f"file://{copy}")
    comparison.as_database(expected)
    result = comparison.compare(expected, journeys(row).store)
    # MLflow does not find spans whose artifacts were elsewhere when they were written.
    found = [d for d in result.differences if d.place[0] == "traces" and d.place[2] == "spans"]
    assert all(difference.expected == MISSING for difference in found)
    result.differences = [d for d in result.differences if d not in found]
    assert differences(result, journeys(row)) == []


# -- documents of what was restored --------------------------------------------------------


def _is_store_itself(d: Difference, journey: Journey) -> bool:
    _, section, identifier, *attribute = d.place
    if section == "prefix":
        return identifier == "store"
    of_store = identifier == "store:store" and attribute in (["mlf:uri"], ["prov:label"])
    return of_store and d.found == f"sqlite:///{journey.database}"


def _is_place_of_files(d: Difference, journey: Journey) -> bool:
    identifier, attribute = d.place[2], d.place[-1]
    named = attribute in ("schema:contentUrl", "mlf:artifactUri")
    of_trace = "/tag/mlflow.artifactLocation/" in identifier and attribute == "prov:value"
    return (named or of_trace) and moved(d, journey)


def _is_out_of_reach(d: Difference, journey: Journey) -> bool:
    starts = ("run:artifact/", "run:folder/", "run:generation/artifact/", "_:hadMember/run$folder/")
    without = not (journey.artifacts / d.place[0]).exists()
    return d.place[2].startswith(starts) and d.found == MISSING and without


def _is_file_of_spans(d: Difference, _: Journey) -> bool:
    return "/artifact/traces.json" in d.place[2] and d.found == MISSING


def _is_place_of_spans(d: Difference, _: Journey) -> bool:
    return "/tag/mlflow.trace.spansLocation" in d.place[2] and d.expected == MISSING


def _is_tag_in_call(d: Difference, _: Journey) -> bool:
    if d.place[3:] != ("mlf:arguments",) or "/start_trace/" not in d.place[2]:
        return False
    expected, found = json.loads(str(d.expected)), json.loads(str(d.found))
    tags = found["trace_info"]["tags"]
    expected["trace_info"]["tags"] |= {
        "mlflow.artifactLocation": tags["mlflow.artifactLocation"],
        "mlflow.trace.spansLocation": "TRACKING_STORE",
    }
    return bool(expected == found)


def _is_default_experiment(d: Difference, _: Journey) -> bool:
    only = d.place[1:] == ("activity", "store:session/store")  # of a store that has nothing else
    return d.place[0] == "store" and d.expected == MISSING and (only or _about_experiment(d, "0"))


def _is_told_of_experiment(d: Difference, _: Journey) -> bool:
    named = d.place[2] == "store:experiment/7" and d.place[3:] == ("schema:name",)
    told = d.place[0] == "store" and _about_experiment(d, "7")
    return d.expected == MISSING and (told or (named and d.found == "7"))


def _about_experiment(d: Difference, experiment_id: str) -> bool:
    place = d.place[2].replace("$", ":")
    about = (f"experiment/{experiment_id}", f"event/create_experiment/{experiment_id}(1)")
    return any(f":{one}" in place or f"/{one}" in place for one in about)


def _is_number(d: Difference, _: Journey) -> bool:
    return d.place[0] == "store" and d.place[3:] == ("mlf:sequence", "$")


def _is_equal_points(d: Difference, _: Journey) -> bool:
    if d.place[3:] == ("mlf:count", "$"):
        return int(str(d.found)) < int(str(d.expected))
    return d.place[3:] == ("points",) and _once(d.expected) == d.found != d.expected


def _once(points: Any) -> list[Any]:
    """Give of points of one time, step and value the first, whatever else is told of them."""
    found: dict[tuple[str, ...], Any] = {}
    for point in points:
        found.setdefault(tuple(point[:3]), point)
    return [*found.values()]


def _is_order_of_points(d: Difference, _: Journey) -> bool:
    return d.place[3:] == ("points",) and _by_time(d.expected) == d.found


def _by_time(points: Any) -> list[Any]:
    return sorted(points, key=lambda point: (point[0], int(point[1]), float(point[2])))


def _is_old_name(d: Difference, _: Journey) -> bool:
    if d.place[3:] != ("mlf:fields",):
        return False
    expected = json.loads(str(d.expected))
    return bool(expected.pop("name") and expected == json.loads(str(d.found)))


def _is_model_of_version(d: Difference, _: Journey) -> bool:
    if d.place[3:] != ("mlf:arguments",) or "/create_model_version/" not in d.place[2]:
        return False
    expected = json.loads(str(d.expected))
    return {**expected, "model_id": None} == json.loads(str(d.found)) != expected


DECLARED: dict[str, Callable[[Difference, Journey], bool]] = {
    "a store is known by its URI, and its ids by a UUID made of that": _is_store_itself,
    "files were copied to the new store's place for them": _is_place_of_files,
    "files of a database that lie in a folder of another project are not looked for": (
        _is_out_of_reach
    ),
    "spans that were a file are in the database": _is_file_of_spans,
    "a trace has a tag for where its spans are": _is_place_of_spans,
    "the call that started a trace has its tags": _is_tag_in_call,
    "MLflow's databases have an experiment 0": _is_default_experiment,
    "an experiment without meta.yaml gets its id as name": _is_told_of_experiment,
    "events are numbered in the order in which a store is read": _is_number,
    "points that are equal are one in a database": _is_equal_points,
    "points are read from a database by time": _is_order_of_points,
    "MLflow's databases have no column for the name that runs had before 1.0": _is_old_name,
    "MLflow's databases have no column for the logged model of a version": _is_model_of_version,
}
"""How documents of a restored store may differ from those it came from."""


def test_documents_of_restored_stores_differ_only_as_declared(journeys: Journeys) -> None:
    unmet, undeclared = set(DECLARED), []
    for row in ROWS:
        for difference in journeys(row).differences():
            met = {why for why, is_it in DECLARED.items() if is_it(difference, journeys(row))}
            if not met:
                undeclared.append(f"{name(row)}: {difference}"[:1000])
            unmet -= met
    assert undeclared == []
    assert unmet == set()
