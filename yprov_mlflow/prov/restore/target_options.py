"""Options of a target, which its kinds have in common."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """How a target is opened, and which records may change in it.

    Args:
        overwrite: Replace records that differ.
        artifact_root: Artifact root of a database that is created; MLflow's default if None.
        extends: Bring records of which the target has an earlier state up to date.
        same_ids: Whether the runs were logged to this store: then its experiments are theirs.
    """

    overwrite: bool = False
    artifact_root: str | None = None
    extends: bool = False
    same_ids: bool = False
