"""The roads from programs to documents, and the comparison with what is true.

live        captured while the programs ran
completed   converted, beside the captured documents
converted   converted from the store alone
again       converted once more, after restoring the converted documents into a database

An offline store has the first road only: there is no store to convert.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support.servers import mlflow_server

from truth.documents import Document, facts_of_run, facts_of_store, facts_of_traces
from truth.programs import STORE, Key, Program, Truth

PROGRAMS_OF_A_PROCESS = 250
PROGRAMS_OF_AN_EXPERIMENT = 50
PROGRAMS_OF_A_FLUSH = 10
LATE_S = 3.0  # documents of runs with late events are written again within this time
_LARGEST = f"{sys.float_info.max!r}?"  # doubtful


class Job(NamedTuple):
    """The programs of one process."""

    seeds: range
    store: str
    delivery: str = "direct"


class Workplace:
    """A store in a folder, and what programs wrote to it."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.store = store
        self.truth = Truth()
        uris = {"file": f"file://{folder}/mlruns", "offline": f"yprov:{folder}/state"}
        self.uri = uris.get(store, f"sqlite:///{folder}/m.db")

    # -- programs ------------------------------------------------------------------------

    def run(self, mlflow: Any, seeds: range, synchronous: bool) -> None:
        """Run programs, and write the documents that are not written yet."""
        mlflow.set_tracking_uri(self.uri)
        programs: list[Program] = []
        for seed in seeds:
            if (seed - seeds.start) % PROGRAMS_OF_AN_EXPERIMENT == 0:
                mlflow.set_experiment(f"truth {seed}")
                self.truth.store.say("experiment", f"truth {seed}", value=True)
            programs.append(Program(mlflow, seed, self.truth, synchronous, self.store))
            programs[-1].execute()
            if len(programs) == PROGRAMS_OF_A_FLUSH or seed == seeds[-1]:
                mlflow.flush_trace_async_logging()
                for program in programs:
                    program.afterwards()
                programs.clear()

    @property
    def artifacts(self) -> Path:
        """The folder with the artifacts of all runs."""
        names = {"server": "artifacts", "offline": "state/artifacts"}
        return self.folder / names.get(self.store, "mlruns")

    def keep_live_documents(self) -> None:
        """Copy the captured documents, by owner."""
        (self.folder / "live").mkdir()
        for path in self.artifacts.glob("**/artifacts/provenance/prov.json"):
            run_id = path.parts[-4]
            shutil.copy(path, self.folder / "live" / f"{run_id}.json")

    def remove_live_documents(self) -> None:
        """Remove the captured documents from the store."""
        for path in self.artifacts.glob("**/artifacts/provenance"):
            shutil.rmtree(path)

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """Run a server that captures, in front of the database."""
        options = ("--app-name", "yprov", "--backend-store-uri", self.uri)
        with mlflow_server(self.folder, dict(os.environ), *options) as (self.uri, _):
            yield

    # -- documents -----------------------------------------------------------------------

    def documents(self, road: str) -> dict[str, dict[str, Any]]:
        """Return the documents of a road, by owner."""
        if road == "live":
            paths = {path.stem: path for path in self.folder.glob("live/*.json")}
            (paths[STORE],) = self.folder.glob("state/**/stores/*/prov.json")
        else:
            folder = self.folder / road
            paths = {path.parent.name: path for path in folder.glob("*/*/prov.json")}
            paths[STORE] = folder / "store" / "prov.json"
        return {owner: json.loads(path.read_text()) for owner, path in paths.items()}

    def differences(self, road: str) -> Iterator[str]:
        """Yield what the documents of a road state wrongly, or do not state."""
        documents = self.documents(road)
        for owner, facts in self.truth.owners.items():
            if owner == STORE:
                # A version of a run's model is captured in the run's document, too.
                registry = list(documents.values()) if road == "live" else [documents[STORE]]
                traces = facts_of_traces(Document(documents[STORE]))
                stated = [*traces, *facts_of_store(registry)]
            else:
                stated = [*facts_of_run(documents[owner])]
            for key, difference in compare(self.expected(facts.total(), road), stated):
                seeds = self.truth.seeds
                seed = next((seeds[name] for name in (owner, *key) if name in seeds), None)
                yield f"{road}, program {seed}, {owner}: {difference}"

    def expected(self, facts: dict[Key, Any], road: str) -> dict[Key, Any]:
        """Return what the documents of a road can know.

        A store keeps neither contexts, nor reads, nor former names, nor the order of datasets and
        models. A server does not see which run of its clients reads. MLflow's databases
        keep infinity as the largest float, which documents mark as doubtful. A server tells no
        hashes of files and no deleted models.
        """
        unknown = {"former name"} if road == "completed" else set()
        if self.store == "server":
            unknown |= {"read", "read version"}
        if road not in ("live", "completed"):
            unknown |= {"trained on", "former name", "read", "read version"}
        facts = {key: value for key, value in facts.items() if key[0] not in unknown}
        if road in ("live", "completed"):
            return facts
        if self.store == "server":
            gone = {k[1] for k, v in facts.items() if k[0] == "model" and v[1] == "DELETED"}
            of_model = ("model", "model param", "model tag")
            facts = {k: v for k, v in facts.items() if k[0] not in of_model or k[1] not in gone}
        if self.store == "server" and road == "converted":
            facts = {key: value if key[0] != "file" else None for key, value in facts.items()}
        for key, value in facts.items():
            if key[0] == "point":
                number = value[0] if self.store == "file" else value[0].replace("inf", _LARGEST)
                facts[key] = (number, value[1], None)
        return facts


def compare(true: dict[Key, Any], stated: list[tuple[Key, Any]]) -> Iterator[tuple[Key, str]]:
    """Yield the facts that are missing, false, or stated more than once, with a description."""
    counts = Counter(key for key, _ in stated)
    for key, value in stated:
        if key not in true:
            yield key, f"false: {key} is {value!r}"
        elif true[key] != value:
            yield key, f"wrong: {key} is {value!r}, not {true[key]!r}"
    for key, count in counts.items():
        if count > 1:
            yield key, f"stated {count} times: {key}"
    for key in true.keys() - counts.keys():
        yield key, f"missing: {key} is {true[key]!r}"


# -- roads ---------------------------------------------------------------------------------


def convert(uri: str, out: Path) -> None:
    """Convert a store in this process."""
    from yprov_mlflow.prov.convert import Conversion, Request
    from yprov_mlflow.prov.convert.executors import InlineExecutor

    list(Conversion(Request(source=uri, out=out), InlineExecutor()))


def restore(documents: Path, uri: str, artifacts: Path) -> None:
    """Restore documents into a database, with the artifacts of the store."""
    from yprov_mlflow.prov.restore import RestoreRequest
    from yprov_mlflow.prov.restore import restore as restore_documents

    root = str(artifacts.parent / "restored")
    restore_documents(RestoreRequest((documents,), uri, artifacts, artifact_root=root))


def create_database(path: Path) -> None:
    """Create a database with MLflow's tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{path}", str(path.parent / "mlruns")).engine.dispose()


def check(job: Job) -> list[str]:
    """Run programs in this process, which runs no others, and return all differences."""
    # Half of the processes export traces in threads, as MLflow does by default.
    synchronous = job.seeds.start // PROGRAMS_OF_A_PROCESS % 2 == 1
    shared_memory = Path("/dev/shm")
    within = shared_memory if shared_memory.is_dir() else None  # writes there need no disk
    with tempfile.TemporaryDirectory(dir=within) as name, contextlib.chdir(name):
        folder = Path(name)
        os.environ.update(
            YPROV_MLFLOW_DIR=str(folder / "state"),
            YPROV_MLFLOW_COLLECTORS="none",
            YPROV_MLFLOW_DELIVERY=job.delivery,
            MLFLOW_DISABLE_TELEMETRY="true",
            MLFLOW_ALLOW_FILE_STORE="true",
            MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
            MLFLOW_ENABLE_ASYNC_TRACE_LOGGING=str(not synchronous).lower(),
        )
        workplace = Workplace(folder, job.store)
        # A copy of a database takes less time than another one.
        create_database(folder / "m.db")
        shutil.copy(folder / "m.db", folder / "restored.db")
        with workplace.server() if job.store == "server" else contextlib.nullcontext():
            return list(_differences_of_all_roads(workplace, job.seeds, synchronous))


def _differences_of_all_roads(
    workplace: Workplace, seeds: range, synchronous: bool
) -> Iterator[str]:
    # A server captures what clients without this package send it.
    mlflow = importlib.import_module("mlflow" if workplace.store == "server" else "yprov_mlflow")
    from yprov_mlflow.prov.capture.recovery import recover

    folder = workplace.folder
    workplace.run(mlflow, seeds, synchronous)
    time.sleep(LATE_S)
    list(recover())
    workplace.keep_live_documents()
    yield from workplace.differences("live")
    if workplace.store == "offline":
        return
    convert(workplace.uri, folder / "completed")
    yield from workplace.differences("completed")
    workplace.remove_live_documents()
    convert(workplace.uri, folder / "converted")
    yield from workplace.differences("converted")
    restored = f"sqlite:///{folder}/restored.db"
    restore(folder / "converted", restored, workplace.artifacts)
    convert(restored, folder / "again")
    yield from workplace.differences("again")
