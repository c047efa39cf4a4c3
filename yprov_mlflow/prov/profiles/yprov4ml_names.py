"""Names in the profile of yProv4ML: of runs, activities, entities and metric files."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from yprov_mlflow.prov.ids import quote_key

RANK = 0
"""Rank in names of files and folders: one document describes all ranks of a run."""

METRICS = f"metrics_GR{RANK}"
ARTIFACTS = f"artifacts_GR{RANK}"
REQUIREMENTS = f"{ARTIFACTS}/requirements.txt"
"""File of the packages, which yProv4ML's card shows."""

NAMED_METRICS = "metrics_by_name"
"""Folder for metrics with a slash in their name: yProv4ML's card reads no folders in METRICS."""

NO_SOURCE = "None"
"""Source of a metric that was logged without one, as yProv4ML writes it."""

_EPOCH = re.compile(r"/epoch/[^/]*")
# 255 bytes is the limit of most file systems; the rest is for the extension.
_LONGEST_FILE_NAME = 240


class RunNames(NamedTuple):
    """Names of a run: ``<experiment>_<number>`` in yProv4ML's terms.

    Args:
        experiment: Name of the experiment.
        number: Number of the run; yProv4ML counts, this package uses the start time in ms.
    """

    experiment: str
    number: int

    @property
    def folder(self) -> str:
        """Name of the run's folder."""
        return f"{_short(quote_key(self.experiment), 150)}_{self.number}"

    @property
    def run(self) -> str:
        """Id of the run's activity; also the context of all that was logged in no context."""
        return f"{quote_key(self.experiment)}_GR{RANK}_{self.number}"

    @property
    def document(self) -> str:
        """Name of the file of the run's document."""
        return f"prov_{_short(quote_key(self.experiment), 150)}_GR{RANK}_{self.number}.json"


def context_of_points(context: str) -> str:
    """Return the id of a context as metric points name it: quoted names joined by ``+``."""
    return ".".join(part.partition("@")[0] for part in context.split("+") if part)


def context_of_activity(identifier: str) -> str | None:
    """Return the id of the context that an activity of our document is or lies in.

    Epochs belong to their context, sessions and the run itself to none.
    """
    local = _EPOCH.sub("", identifier.partition(":")[2].partition("@")[0])
    if not local.startswith("context/"):
        return None
    return ".".join(local.removeprefix("context/").split("/context/"))


def entity_id(label: str, context: str, mark: str = "") -> str:
    """Return the id of an entity: its quoted label and its context, as yProv4ML joins them."""
    return f"{quote_key(label)}{mark}//{context}"


def metric_file(key: str, context: str, source: str, rank: int, suffix: str) -> str:
    """Return the path of a metric file in the run's folder.

    yProv4ML's ``get_metric`` searches paths for ``<key>_<context>_<source>``, so the path keeps
    the key as it is, slashes included.
    """
    path = f"{key}_{context}_{_in_file_name(source)}_GR{rank}{suffix}"
    parts = path.split("/")
    if len(parts) > 1 and all(map(_is_file_name, parts)):
        return f"{NAMED_METRICS}/{path}"
    return flat_metric_file(key, context, source, rank, suffix)


def flat_metric_file(key: str, context: str, source: str, rank: int, suffix: str) -> str:
    """Return the path of a metric file without folders for slashes, and with a short name."""
    stem = f"{_in_file_name(key)}_{context}_{_in_file_name(source)}_GR{rank}"
    stem = _short(stem, _LONGEST_FILE_NAME)
    return f"{METRICS}/{stem}{suffix}"


def _in_file_name(text: str) -> str:
    return text if "/" not in text and "\0" not in text else quote_key(text)


def _is_file_name(part: str) -> bool:
    return (
        part not in ("", ".", "..")
        and "\0" not in part
        and len(part.encode("utf-8", "replace")) <= _LONGEST_FILE_NAME
    )


def _short(text: str, most_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{encoded[: most_bytes - 13].decode('utf-8', 'ignore')}@{digest}"
