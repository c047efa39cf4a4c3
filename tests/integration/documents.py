"""Read a run's document as a user of PROV would: by types, names and relations, not by ids."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from validity import assert_valid

Record = dict[str, Any]


class Point(NamedTuple):
    """One point of a metric, as MLflow has it."""

    step: int
    timestamp_ms: int
    value: float


def literal(value: Any) -> Any:
    """Give the Python value of a PROV-JSON literal."""
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
    """Give all values of an attribute, however many there are."""
    if value is None:
        return []
    return [literal(one) for one in (value if isinstance(value, list) else [value])]


class RunDocument:
    """The document of one run, and the files beside it."""

    def __init__(self, data: Record, folder: Path) -> None:
        self.data = data
        self.folder = folder

    @classmethod
    def load(cls, path: Path) -> RunDocument:
        """Read a document; any that is not valid fails the test that meets it."""
        data = json.loads(path.read_bytes())
        assert_valid(data)
        return cls(data, path.parent)

    @classmethod
    def fetch(cls, run_id: str, uri: str) -> RunDocument:
        """Download ``provenance`` from the run's artifacts, with nothing but MLflow."""
        from mlflow import MlflowClient

        folder = Path(MlflowClient(tracking_uri=uri).download_artifacts(run_id, "provenance"))
        return cls.load(folder / "prov.json")

    def as_prov(self) -> Any:
        """Give the document as the library ``prov`` reads it, which PROV-N does not change."""
        from prov.model import ProvDocument

        read = ProvDocument.deserialize(str(self.folder / "prov.json"), format="json")
        notation = read.serialize(format="provn")
        assert ProvDocument.deserialize(content=notation, format="provn") == read
        return read

    # -- records -----------------------------------------------------------------------------

    def relations(self, kind: str) -> list[Record]:
        return list(self.data.get(kind, {}).values())

    def of_type(self, kind: str) -> dict[str, Record]:
        """Give entities, activities and agents that have a type, by id."""
        return {
            identifier: record
            for section in ("entity", "activity", "agent")
            for identifier, record in self.data.get(section, {}).items()
            if kind in literals(record.get("prov:type"))
        }

    @cached_property
    def ended(self) -> set[str]:
        """Ids of entities that were invalidated."""
        return {relation["prov:entity"] for relation in self.relations("wasInvalidatedBy")}

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for relation in self.relations("hadMember"):
            found.setdefault(relation["prov:collection"], []).append(relation["prov:entity"])
        return found

    @cached_property
    def generated_by(self) -> dict[str, str]:
        """The activity that generated each entity."""
        return {
            relation["prov:entity"]: relation["prov:activity"]
            for relation in self.relations("wasGeneratedBy")
            if "prov:activity" in relation
        }

    # -- the run -----------------------------------------------------------------------------

    @property
    def run(self) -> Record:
        """The activity that is the run itself, not one that it only mentions."""
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

    # -- what was logged -----------------------------------------------------------------------

    @cached_property
    def params(self) -> dict[str, str]:
        """The run's params, as the text that MLflow keeps."""
        return {
            literal(record["schema:name"]): literal(record["mlf:text"])
            for record in self.of_type("mlf:Param").values()
            if "mlf:about" not in record
        }

    @cached_property
    def points(self) -> dict[str, list[Point]]:
        """All points of each metric, in no order that means anything."""
        found: dict[str, list[Point]] = {}
        in_file = False
        for identifier, series in self.of_type("mlf:MetricSeries").items():
            points = found.setdefault(literal(series["schema:name"]), [])
            in_file = in_file or "mlf:points" in series
            for member in self._members.get(identifier, ()):
                points.append(_point(self.data["entity"][member]))
        if in_file:
            for key, point in self.filed_points():
                found[key].append(point)
        return {key: sorted(points) for key, points in found.items()}

    def filed_points(self) -> Iterator[tuple[str, Point]]:
        """Read the points of the Parquet file beside the document."""
        from pyarrow import parquet

        for batch in parquet.ParquetFile(self.folder / "metrics.parquet").iter_batches():
            columns = (
                batch.column(name).to_pylist() for name in ("key", "step", "timestamp_ms", "value")
            )
            for key, *point in zip(*columns, strict=True):
                yield key, Point(*point)

    def counts(self) -> dict[str, int]:
        """How many points each series says that it has."""
        found: dict[str, int] = {}
        for series in self.of_type("mlf:MetricSeries").values():
            key = literal(series["schema:name"])
            found[key] = found.get(key, 0) + literal(series["mlf:count"])
        return found

    def values(self, key: str) -> list[float]:
        """The values of a metric by step and time."""
        return [point.value for point in self.points[key]]

    @cached_property
    def tags(self) -> dict[str, str]:
        """The run's tags as they are at the end."""
        return {
            literal(record["schema:name"]): literal(record["prov:value"])
            for identifier, record in self.of_type("mlf:Tag").items()
            if "mlf:about" not in record and identifier not in self.ended
        }

    def tag_history(self, key: str) -> list[str]:
        """All values that a tag of the run ever had, oldest first."""
        found = [
            (int(identifier.rpartition("/")[2].partition(".")[0]), literal(record["prov:value"]))
            for identifier, record in self.of_type("mlf:Tag").items()
            if "mlf:about" not in record and literal(record["schema:name"]) == key
        ]
        return [value for _, value in sorted(found)]

    @cached_property
    def artifacts(self) -> dict[str, str | None]:
        """SHA-256 of the run's files that are there at the end, by path."""
        return {
            literal(record["mlf:path"]): literal(record.get("mlf:sha256"))
            for identifier, record in self.of_type("mlf:Artifact").items()
            if "dcterms:isPartOf" not in record and identifier not in self.ended
        }

    def artifact_versions(self, path: str) -> list[str]:
        """SHA-256 of each version of a file of the run."""
        return [
            literal(record["mlf:sha256"])
            for record in self.of_type("mlf:Artifact").values()
            if "dcterms:isPartOf" not in record and literal(record["mlf:path"]) == path
        ]

    @cached_property
    def datasets(self) -> dict[str, Record]:
        """The data sets that the run used, by name."""
        used = {relation["prov:entity"] for relation in self.relations("used")}
        return {
            literal(record["schema:name"]): record
            for identifier, record in self.of_type("mls:Dataset").items()
            if identifier in used and "schema:name" in record
        }

    @cached_property
    def models(self) -> dict[str, Record]:
        """Logged models by MLflow's id."""
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
