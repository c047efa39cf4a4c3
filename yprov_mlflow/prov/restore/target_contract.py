"""The contract of what is restored into."""

from __future__ import annotations

import abc
from pathlib import Path

from yprov_mlflow.prov.restore.state import Run, StoreState


class Target(abc.ABC):
    """A store of MLflow that takes what documents tell."""

    @abc.abstractmethod
    def put_run(self, run: Run, document: Path) -> None:
        """Write a run whose experiment is known; ``document`` is the file that told of it."""

    @abc.abstractmethod
    def finish(self, estate: StoreState, document: Path) -> None:
        """Write all that belongs to no single run; ``document`` is any of the files."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is open."""
