"""Writes file stores (``mlruns``) as MLflow's versions do, without any code of the package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

RUN = "0123456789abcdef0123456789abcde"
"""The first 31 digits of run ids."""
STARTED = 1_600_000_000_000
"""Default start time of runs, in ms."""

Points = Iterable[tuple[Any, ...]]


def write_meta(path: Path, **fields: Any) -> None:
    """Write a YAML file in MLflow's style."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(fields, default_flow_style=False, allow_unicode=True), "utf-8")


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, given as a mapping from paths below ``folder`` to contents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def metric_lines(points: Points) -> str:
    """Return the content of a metric file."""
    return "".join(" ".join(map(str, point)) + "\n" for point in points)


class FileStoreBuilder:
    """A file store with experiment 0, to which tests add experiments, runs and models.

    The methods return the new folder. Other keyword arguments, and ``meta``, are fields of
    ``meta.yaml`` that replace or extend the defaults.
    """

    def __init__(self, root: Path, **fields: Any) -> None:
        self.root = root
        self.experiment("0", name="Default", **fields)

    def experiment(
        self,
        experiment_id: str,
        *,
        trash: bool = False,
        tags: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        folder = self.root / ".trash" / experiment_id if trash else self.root / experiment_id
        defaults = {
            "artifact_location": f"file:///elsewhere/mlruns/{experiment_id}",
            "experiment_id": experiment_id,
            "lifecycle_stage": "active",
            "name": f"experiment {experiment_id}",
            "creation_time": 1,
            "last_update_time": 2,
        }
        write_meta(folder / "meta.yaml", **{**defaults, **fields, **(meta or {})})
        write_files(folder / "tags", tags or {})
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
        **fields: Any,
    ) -> Path:
        """Add a run; fields with the value ``...`` are left out of ``meta.yaml``."""
        run_id = number if isinstance(number, str) else f"{RUN}{number:x}"
        folder = self.root / experiment / run_id
        defaults = {
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
        all_fields = {**defaults, **fields, **(meta or {})}
        present = {key: value for key, value in all_fields.items() if value is not ...}
        write_meta(folder / "meta.yaml", **present)
        write_files(folder / "params", params or {})
        write_files(folder / "tags", tags or {})
        write_files(folder / "artifacts", artifacts or {})
        metric_files = {
            key: points if isinstance(points, str | bytes) else metric_lines(points)
            for key, points in (metrics or {}).items()
        }
        write_files(folder / "metrics", metric_files)
        return folder

    def model(
        self,
        model_id: str,
        run: Path | None,
        *,
        experiment: str = "0",
        metrics: Mapping[str, Points] | None = None,
        **fields: Any,
    ) -> Path:
        folder = self.root / experiment / "models" / model_id
        defaults = {
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
        write_meta(folder / "meta.yaml", **{**defaults, **fields})
        metric_files = {key: metric_lines(points) for key, points in (metrics or {}).items()}
        write_files(folder / "metrics", metric_files)
        return folder
