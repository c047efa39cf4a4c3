"""Writes ``mlruns`` trees by hand, as MLflow's versions wrote them; knows nothing of the reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

RUN = "0123456789abcdef0123456789abcde"
"""Start of run ids; one more digit makes an id."""
STARTED = 1_600_000_000_000

Points = Iterable[tuple[Any, ...]]


def describe(path: Path, **said: Any) -> None:
    """Write a description as MLflow does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(said, default_flow_style=False, allow_unicode=True), "utf-8")


def put(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, by their paths below a folder, to the byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def lines(points: Points) -> str:
    """Write points as a metric file has them."""
    return "".join(" ".join(map(str, point)) + "\n" for point in points)


class Tree:
    """A tree under construction, with experiment 0."""

    def __init__(self, root: Path, **said: Any) -> None:
        self.root = root
        self.experiment("0", name="Default", **said)

    def experiment(
        self,
        experiment_id: str,
        *,
        trash: bool = False,
        tags: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        **said: Any,
    ) -> Path:
        folder = self.root / ".trash" / experiment_id if trash else self.root / experiment_id
        told = {
            "artifact_location": f"file:///elsewhere/mlruns/{experiment_id}",
            "experiment_id": experiment_id,
            "lifecycle_stage": "active",
            "name": f"experiment {experiment_id}",
            "creation_time": 1,
            "last_update_time": 2,
        }
        describe(folder / "meta.yaml", **{**told, **said, **(meta or {})})
        put(folder / "tags", tags or {})
        return folder

    def run(
        self,
        number: str | int = 0,
        *,
        experiment: str = "0",
        params: Mapping[str, str | bytes] | None = None,
        tags: Mapping[str, str | bytes] | None = None,
        metrics: Mapping[str, Points | str | bytes] | None = None,
        artifacts: Mapping[str, str | bytes] | None = None,
        meta: Mapping[str, Any] | None = None,
        **said: Any,
    ) -> Path:
        run_id = number if isinstance(number, str) else f"{RUN}{number:x}"
        folder = self.root / experiment / run_id
        told = {
            "artifact_uri": f"file:///elsewhere/mlruns/{experiment}/{run_id}/artifacts",
            "end_time": STARTED + 5,
            "entry_point_name": "",
            "experiment_id": experiment.removeprefix(".trash/"),
            "lifecycle_stage": "active",
            "run_id": run_id,
            "run_name": "a run",
            "run_uuid": run_id,
            "source_name": "",
            "source_type": 4,
            "source_version": "",
            "start_time": STARTED,
            "status": 3,
            "tags": [],
            "user_id": "alice",
        }
        described = {
            key: value
            for key, value in {**told, **said, **(meta or {})}.items()
            if value is not ...
        }
        describe(folder / "meta.yaml", **described)
        put(folder / "params", params or {})
        put(folder / "tags", tags or {})
        put(folder / "artifacts", artifacts or {})
        written = {
            key: points if isinstance(points, str | bytes) else lines(points)
            for key, points in (metrics or {}).items()
        }
        put(folder / "metrics", written)
        return folder

    def model(
        self,
        model_id: str,
        run: Path | None,
        *,
        experiment: str = "0",
        metrics: Mapping[str, Points] | None = None,
        **said: Any,
    ) -> Path:
        folder = self.root / experiment / "models" / model_id
        told = {
            "artifact_location": f"file:///elsewhere/mlruns/0/models/{model_id}/artifacts",
            "creation_timestamp": STARTED + 1,
            "experiment_id": experiment,
            "last_updated_timestamp": STARTED + 2,
            "lifecycle_stage": "active",
            "model_id": model_id,
            "model_type": "",
            "name": "net",
            "source_run_id": run.name if run is not None else None,
            "status": 2,
            "status_message": None,
        }
        describe(folder / "meta.yaml", **{**told, **said})
        put(folder / "metrics", {key: lines(points) for key, points in (metrics or {}).items()})
        return folder
