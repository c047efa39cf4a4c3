"""Reads a run's document as a PROV user does: by types, names and relations, not by ids."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.oracles.validity import assert_valid

Record = dict[str, Any]


class Point(NamedTuple):
    """A point of a metric."""

    step: int
    timestamp_ms: int
    value: float


def literal(value: Any) -> Any:
    """Return the Python value of a PROV-JSON literal."""
    if not isinstance(value, dict):
        return value
    raw, kind = value["$"], value.get("type", "").rpartition(":")[2]
    match kind:
        case "int" | "long" | "integer":
            return int(raw)
        case "double" | "float":
            return float(raw.lower().replace("inf", "infinity"))
        case "boolean":
            return raw == "true"
        case "dateTime":
            return datetime.datetime.fromisoformat(raw)
    return raw


def literals(value: Any) -> list[Any]:
    """Return all values of an attribute, which is missing, a literal or a list."""
    if value is None:
        return []
    return [literal(item) for item in (value if isinstance(value, list) else [value])]


class RunDocument:
    """The document of a run, and the folder with the files that belong to it."""

    def __init__(self, data: Record, folder: Path) -> None:
        self.data = data
        self.folder = folder

    @classmethod
    def load(cls, path: Path) -> RunDocument:
        """Read a document, and fail the test if the document is invalid."""
        data = json.loads(path.read_bytes())
        assert_valid(data)
        return cls(data, path.parent)

    @classmethod
    def fetch(cls, run_id: str, uri: str) -> RunDocument:
        """Download the run's artifact folder ``provenance`` with plain MLflow."""
        from mlflow import MlflowClient

        with pytest.MonkeyPatch.context() as patch:
            # MLflow 2 downloads only from the server of the variable.
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            folder = Path(MlflowClient(tracking_uri=uri).download_artifacts(run_id, "provenance"))
        return cls.load(folder / "prov.json")

    def as_prov(self) -> Any:
        """Read the document with ``prov``, check that it survives PROV-N, and return it."""
        from prov.model import ProvDocument

        document = ProvDocument.deserialize(str(self.folder / "prov.json"), format="json")
        notation = document.serialize(format="provn")
        assert ProvDocument.deserialize(content=notation, format="provn") == document
        return document

    # -- records -----------------------------------------------------------------------------

    def relations(self, kind: str) -> list[Record]:
        return list(self.data.get(kind, {}).values())

    def of_type(self, kind: str) -> dict[str, Record]:
        """Return the entities, activities and agents of a type, by id."""
        return {
            identifier: record
            for section in ("entity", "activity", "agent")
            for identifier, record in self.data.get(section, {}).items()
            if kind in literals(record.get("prov:type"))
        }

    @cached_property
    def invalidated(self) -> set[str]:
        """Return the ids of the entities that were invalidated."""
        return {relation["prov:entity"] for relation in self.relations("wasInvalidatedBy")}

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        members: dict[str, list[str]] = {}
        for relation in self.relations("hadMember"):
            members.setdefault(relation["prov:collection"], []).append(relation["prov:entity"])
        return members

    @cached_property
    def generated_by(self) -> dict[str, str]:
        """Return the activity that generated each entity."""
        return {
            relation["prov:entity"]: relation["prov:activity"]
            for relation in self.relations("wasGeneratedBy")
            if "prov:activity" in relation
        }

    # -- the run -----------------------------------------------------------------------------

    @property
    def run(self) -> Record:
        """Return the activity of the run itself, the only run in the document with a status."""
        [run] = [r for r in self.of_type("mlf:Run").values() if "mlf:status" in r]
        return run

    @property
    def run_id(self) -> str:
        return str(literal(self.run["mlf:runId"]))

    @property
    def status(self) -> str:
        return str(literal(self.run["mlf:status"])).rpartition(":")[2]

    @property
    def name(self) -> str:
        return str(self.run["prov:label"])

    @property
    def sessions(self) -> dict[str, Record]:
        return self.of_type("mlf:RunSession")

    # -- logged values -------------------------------------------------------------------------

    @cached_property
    def params(self) -> dict[str, str]:
        """Return the run's params as MLflow stores them."""
        return {
            literal(record["schema:name"]): literal(record["mlf:text"])
            for record in self.of_type("mlf:Param").values()
            if "mlf:about" not in record
        }

    @cached_property
    def points(self) -> dict[str, list[Point]]:
        """Return all points of each metric, sorted by step, timestamp and value."""
        result: dict[str, list[Point]] = {}
        in_file = False
        for identifier, series in self.of_type("mlf:MetricSeries").items():
            points = result.setdefault(literal(series["schema:name"]), [])
            in_file = in_file or "mlf:points" in series
            for member in self._members.get(identifier, ()):
                points.append(_point(self.data["entity"][member]))
        if in_file:
            for key, point in self.parquet_points():
                result[key].append(point)
        return {key: sorted(points) for key, points in result.items()}

    def parquet_points(self) -> Iterator[tuple[str, Point]]:
        """Yield the metric and the point of each row in ``metrics.parquet``."""
        from pyarrow import parquet

        for batch in parquet.ParquetFile(self.folder / "metrics.parquet").iter_batches():
            columns = (
                batch.column(name).to_pylist() for name in ("key", "step", "timestamp_ms", "value")
            )
            for key, *point in zip(*columns, strict=True):
                yield key, Point(*point)

    def counts(self) -> dict[str, int]:
        """Return the number of points of each metric as its series state it."""
        result: dict[str, int] = {}
        for series in self.of_type("mlf:MetricSeries").values():
            key = literal(series["schema:name"])
            result[key] = result.get(key, 0) + literal(series["mlf:count"])
        return result

    def values(self, key: str) -> list[float]:
        """Return the values of a metric, sorted by step and timestamp."""
        return [point.value for point in self.points[key]]

    @cached_property
    def tags(self) -> dict[str, str]:
        """Return the run's tags, without deleted and overwritten ones."""
        return {
            literal(record["schema:name"]): literal(record["prov:value"])
            for identifier, record in self.of_type("mlf:Tag").items()
            if "mlf:about" not in record and identifier not in self.invalidated
        }

    def tag_history(self, key: str) -> list[str]:
        """Return all values of a tag of the run, oldest first."""
        versions = [
            (int(identifier.rpartition("/")[2].partition(".")[0]), literal(record["prov:value"]))
            for identifier, record in self.of_type("mlf:Tag").items()
            if "mlf:about" not in record and literal(record["schema:name"]) == key
        ]
        return [value for _, value in sorted(versions)]

    @cached_property
    def artifacts(self) -> dict[str, str | None]:
        """Return the SHA-256 of the run's files by path, without overwritten versions."""
        return {
            literal(record["mlf:path"]): literal(record.get("mlf:sha256"))
            for identifier, record in self.of_type("mlf:Artifact").items()
            if "dcterms:isPartOf" not in record and identifier not in self.invalidated
        }

    def artifact_versions(self, path: str) -> list[str]:
        """Return the SHA-256 of each version of a file of the run."""
        return [
            literal(record["mlf:sha256"])
            for record in self.of_type("mlf:Artifact").values()
            if "dcterms:isPartOf" not in record and literal(record["mlf:path"]) == path
        ]

    @cached_property
    def datasets(self) -> dict[str, Record]:
        """Return the datasets that the run used, by name: the usage with its content."""
        contents = self.of_type("mls:Dataset")
        return {
            literal(usage["mlf:datasetName"]): {**contents[usage["prov:entity"]], **usage}
            for usage in self.relations("used")
            if usage["prov:entity"] in contents and "mlf:datasetName" in usage
        }

    @cached_property
    def models(self) -> dict[str, Record]:
        """Return the logged models by MLflow's id."""
        return {
            literal(record["mlf:modelId"]): record
            for record in self.of_type("mlf:LoggedModel").values()
        }


def _point(record: Record) -> Point:
    if "mlf:timestampMs" in record:
        timestamp_ms = literal(record["mlf:timestampMs"])
    else:
        moment = literal(record["mlf:timestamp"])
        timestamp_ms = round(moment.timestamp() * 1000)
    return Point(literal(record["mlf:step"]), timestamp_ms, literal(record["prov:value"]))
