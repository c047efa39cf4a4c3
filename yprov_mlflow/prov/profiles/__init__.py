"""Profiles: a run's document in the shape that another program expects, beside the full one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from yprov_mlflow.prov.formats.metric_files import yprov4ml_files
from yprov_mlflow.prov.layout import PROFILE
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.profiles import yprov4ml_folder
from yprov_mlflow.prov.profiles.yprov4ml_names import RunNames
from yprov_mlflow.prov.translate import PointBatch

__all__ = ["PROFILES", "Profile"]


@dataclasses.dataclass(frozen=True)
class Profile:
    """A profile.

    Args:
        folder: Returns the name of a run's folder from its experiment and its start in ms.
        write: Writes the profile: document, points of its metric file, folder, address of the
            folder, kind of metric files. Returns texts about what it had to leave out.
        kinds: Kinds of metric files that it can write, the default first.
    """

    folder: Callable[[str, int], str]
    write: Callable[[Document, Iterable[PointBatch], Path, str, str], list[str]]
    kinds: Sequence[str]


PROFILES: Mapping[str, Profile] = {
    PROFILE: Profile(
        lambda experiment, number: RunNames(experiment, number).folder,
        yprov4ml_folder.write,
        tuple(yprov4ml_files.SUFFIXES),
    ),
}
"""All profiles by name."""
