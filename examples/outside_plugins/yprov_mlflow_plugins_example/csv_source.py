"""Source: files of the ``CSVLogger`` of Keras, each of which is a run.

A file has a header such as ``epoch,accuracy,loss`` and a line for each epoch. It has no times, so
the documents have none either, except that MLflow's points need one: it is 0, which means unknown.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import STORE_SESSION, Event, MetricsLogged, RunCreated
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source


def recognizes(location: str) -> bool:
    """Return whether a location is a CSV file of epochs, or a folder with one."""
    return next(_files(Path(location)), None) is not None


def open(location: str) -> Source:
    """Return the source at a location."""
    return CsvSource(location)


def _files(path: Path) -> Iterator[Path]:
    for file in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
        if file.suffix == ".csv" and file.is_file():
            with file.open("rb") as stream:
                if stream.read(6) == b"epoch,":
                    yield file


class CsvSource(Source):
    """Reads the files; the name of a file is the name of its run."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.folder = location if Path(location).is_dir() else None
        self._problems: list[Problem] = []

    def store(self) -> Mapping[str, str]:
        """Return an id that follows from the location."""
        uri = Path(self.location).absolute().as_uri()
        return {"uuid": ids.store_uuid(None, None, uri), "uri": uri}

    def runs(self) -> Iterator[RunRef]:
        """Yield a reference for each file."""
        for file in _files(Path(self.location)):
            run_id = hashlib.sha256(f"{self.store()['uri']} {file.name}".encode()).hexdigest()[:32]
            yield RunRef(run_id, "0", "csv", None, None, "active", file.name)

    def _path(self, ref: RunRef) -> Path:
        return Path(self.folder, ref.key) if self.folder else Path(self.location)

    def fingerprint(self, ref: RunRef) -> str:
        """Return size and time of the file."""
        status = self._path(ref).stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield the run and its metrics."""
        head = (ref.run_id, STORE_SESSION)
        name = ref.key.removesuffix(".csv")
        yield RunCreated(*head, 0, 0, "0", "csv", name, None, None, None, {}, self.store())
        keys, values, steps = [], [], []
        with self._path(ref).open(newline="") as file:
            for row in csv.DictReader(file):
                try:
                    numbers = {key: float(text) for key, text in row.items() if text}
                    step = int(numbers.pop("epoch"))
                except (KeyError, TypeError, ValueError) as error:
                    self._problems.append(Problem(str(self._path(ref)), str(error), "a line"))
                    continue
                keys += numbers
                values += numbers.values()
                steps += [step] * len(numbers)
        yield MetricsLogged(*head, 1, 0, keys, values, [0] * len(keys), steps)

    def store_events(self) -> Iterator[Event]:
        """Yield nothing: the files have runs only."""
        return iter(())

    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Do nothing: no file stays open."""
