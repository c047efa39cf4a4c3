"""Compare frameworks with and without capture: what MLflow says, and what the documents say.

Run ``python tests/frameworks/compare.py``, or ``nox -s frameworks``. Each script in ``scripts``
runs in new processes with plain MLflow, with the drop-in, and unmodified with a ``yprov+`` URI.
Printed are the numbers of facts of each kind; those with ``!`` differ, and the differences stand
below the table. The exit code is 1 if anything differs: between plain and captured training, or
between MLflow's client and the documents of capture, or of a conversion without these.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from frameworks.document_facts import read_documents
from frameworks.store_facts import Facts, read_store

SCRIPTS = Path(__file__).parent / "scripts"
NEEDS = {
    "sklearn_models": ("sklearn",),
    "xgboost_models": ("xgboost", "sklearn"),
    "lightgbm_models": ("lightgbm", "sklearn"),
    "lightning_models": ("lightning",),
    "keras_models": ("keras", "tensorflow"),
    "transformers_models": ("transformers", "torch"),
    "torch_verbs": ("torch",),
    "optuna_study": ("optuna",),
    "genai_traces": (),
    "genai_evaluation": ("openai", "langchain_core"),
}
"""The modules that each script imports, besides MLflow."""

KINDS = (
    *("runs", "params", "tags", "points", "series", "datasets", "model inputs", "outputs", "files"),
    *("models", "model params", "model tags", "model points", "versions"),
    *("traces", "trace tags", "spans", "span values", "assessments"),
)
IN_PLAIN = {
    "runs": (2,),
    "params": (1, 2),
    "tags": (1,),
    "points": (1, 2, 4),
    "series": (1, 2, 3),
    "datasets": (1, 2, 3),
    "model inputs": (),
    "outputs": (2,),
    "files": (1,),
    "models": (1, 2),
    "model params": (1, 2),
    "model tags": (1,),
    "model points": (2, 3, 5, 6),
    "versions": (0, 1),
    "traces": (2,),
    "trace tags": (2,),
    "spans": (3, 5),
    "span values": (3,),
    "assessments": (3, 4, 5, 6, 7),
}
"""The parts of a fact that must be the same in every execution: no ids, times, random names."""

METRIC_KEY = {"points": 1, "series": 1, "model points": 2}
"""The position of the key of a metric."""

VARYING = re.compile(
    r"runtime|per_second|trial_id|_duration|_time\b|tfevents\..*|\b[0-9a-f]{8,}\b|\d{10,}"
)
"""Metrics of speed and of hashes, and the ids, times and processes in names of files."""

NUMBER = re.compile(r"-?(\d+\.\d+(e[+-]\d+)?|inf|nan)")

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
SCRIPT_S = 600


class Execution(NamedTuple):
    """One execution of a script: its folder, and the seconds it took."""

    folder: Path
    wall_s: float
    cpu_s: float

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def documents(self) -> list[Path]:
        folders = (self.folder / "mlruns", self.state / "stores")
        return [path for folder in folders for path in folder.rglob("prov.json")]


def environment(folder: Path, uri: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {
        **inherited,
        **THREADS,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_PROGRESS_BAR": "false",
        # Each logged model would start a process that loads it again, for seconds.
        "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_TRACKING_URI": uri,
        "YPROV_MLFLOW_DIR": str(folder / "state"),
    }


def execute(name: str, folder: Path, empty: Path, road: str) -> Execution:
    """Run a script in a new process, and wait for it."""
    folder.mkdir(parents=True)
    shutil.copy(empty, folder / "mlflow.db")
    source = (SCRIPTS / f"{name}.py").read_text("utf-8")
    if road == "drop-in":
        source = re.sub(r"^import mlflow$", "import yprov_mlflow as mlflow", source, flags=re.M)
    (folder / "train.py").write_text(source, "utf-8")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    env = environment(folder, f"yprov+{uri}" if road == "plugin" else uri)
    before, start = os.times(), time.perf_counter()
    log_path = folder / "log.txt"
    with log_path.open("wb") as log:
        done = subprocess.run(
            (sys.executable, "train.py"),
            cwd=folder,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=SCRIPT_S,  # capture must not make training hang
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{name}, {road}: {log_path.read_text(errors='replace')[-2000:]}")
    after = os.times()
    cpu_s = after.children_user + after.children_system
    cpu_s -= before.children_user + before.children_system
    return Execution(folder, time.perf_counter() - start, cpu_s)


def command(execution: Execution, *words: str) -> None:
    """Run ``yprov-mlflow``."""
    done = subprocess.run(
        (Path(sys.executable).parent / "yprov-mlflow", *words),
        cwd=execution.folder,
        env=environment(execution.folder, execution.uri),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def document_facts(execution: Execution) -> dict[str, Facts]:
    """Return the facts of the captured documents, and of those converted without them."""
    command(execution, "recover")
    captured = read_documents(execution.documents())
    for path in list((execution.folder / "mlruns").rglob("provenance")):
        shutil.move(path, execution.folder / "captured" / path.parents[1].name)
    out = execution.folder / "converted"
    command(execution, "convert", execution.uri, "--out", str(out))
    return {"captured": captured, "converted": read_documents(out.rglob("prov.json"))}


def same_in_plain(facts: Facts, kind: str) -> Counter[tuple[Any, ...]]:
    """Return the parts of the facts that do not vary between executions."""
    parts: Counter[tuple[Any, ...]] = Counter()
    for fact, count in facts[kind].items():
        values = tuple(fact[position] for position in IN_PLAIN[kind])
        if kind in METRIC_KEY and VARYING.search(fact[METRIC_KEY[kind]]):
            continue
        parts[tuple(map(_lasting, values))] += count
    return parts


def _lasting(part: Any) -> Any:
    """Return a part of a fact without what varies; numbers as text have many digits, too."""
    if not isinstance(part, str) or NUMBER.fullmatch(part):
        return part
    return VARYING.sub("~", part)


def differences(name: str, true: Counter[Any], stated: Counter[Any]) -> Iterator[str]:
    for what, facts in (("missing", true - stated), ("not true", stated - true)):
        for fact, count in sorted(facts.items(), key=str)[:5]:
            yield f"{name}: {what}, {count} times: {fact}"
        if len(facts) > 5:
            yield f"{name}: {what}: {len(facts) - 5} more"


def false_claims(execution: Execution, facts: Facts) -> Counter[Any]:
    """Return the statements on training data that the script does not confirm."""
    path = execution.folder / "trained_on.json"
    truth = json.loads(path.read_text()) if path.exists() else {}
    return Counter(
        {(m, d): n for (m, d), n in facts["trained on"].items() if d not in truth.get(m, ())}
    )


def missing_contexts(execution: Execution) -> Counter[Any]:
    """Return the contexts that the script expects of its runs and that their documents lack."""
    path = execution.folder / "contexts.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    missing: Counter[Any] = Counter()
    for document in execution.documents():
        data = json.loads(document.read_bytes())
        run = data["activity"].get("run:run", {})
        contexts = {name.partition(":")[2] for name in data["activity"]}
        for context in expected.get(run.get("prov:label"), ()):
            missing[run["prov:label"], context] += context not in contexts
    return missing


class Result(NamedTuple):
    """The comparison of one framework: numbers of facts, differences, seconds."""

    counts: dict[str, int]
    differing: set[str]
    found: list[str]
    seconds: dict[str, tuple[float, float]]


def compare(name: str, folder: Path, empty: Path) -> Result:
    """Run a script on all roads and compare."""
    result = Result({}, set(), [], {})

    def note(kind: str, where: str, true: Counter[Any], stated: Counter[Any]) -> None:
        found = list(differences(f"{name}, {where}, {kind}", true, stated))
        if found:
            result.differing.add(kind)
            result.found.extend(found)

    plain = execute(name, folder / "plain", empty, "plain")
    in_plain = read_store(plain.uri)
    result.seconds["plain"] = plain.wall_s, plain.cpu_s
    for road in ("drop-in", "plugin"):
        execution = execute(name, folder / road, empty, road)
        result.seconds[road] = execution.wall_s, execution.cpu_s
        in_store = read_store(execution.uri)
        command(execution, "recover")
        note("contexts", road, missing_contexts(execution), Counter())
        for kind in KINDS:
            result.counts[kind] = in_store[kind].total()
            true, stated = same_in_plain(in_plain, kind), same_in_plain(in_store, kind)
            note(kind, f"{road} instead of plain", true, stated)
        for source, stated_facts in document_facts(execution).items():
            for kind in KINDS:
                note(kind, f"{road}, {source}", in_store[kind], stated_facts[kind])
            none: Counter[Any] = Counter()
            claims = false_claims(execution, stated_facts)
            note("trained on", f"{road}, {source}", none, claims)
            if source == "captured":
                result.counts["trained on"] = stated_facts["trained on"].total()
    return result


def empty_database(folder: Path) -> Path:
    """Return an MLflow database without content, whose creation takes seconds."""
    from mlflow import MlflowClient

    path = folder / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


def table(results: dict[str, Result]) -> Iterator[str]:
    columns = (*KINDS, "trained on")
    yield " ".join([f"{'':14}", *(f"{name:>19}" for name in results)])
    for kind in columns:
        cells = (
            f"{r.counts.get(kind, 0)}{'!' if kind in r.differing else ''}" for r in results.values()
        )
        yield " ".join([f"{kind:14}", *(f"{cell:>19}" for cell in cells)])
    for road in ("plain", "drop-in", "plugin"):
        times = (r.seconds.get(road, (0, 0)) for r in results.values())
        cells = (f"{wall:.1f} ({cpu:.1f})" for wall, cpu in times)
        yield " ".join([f"{road:14}", *(f"{cell:>19}" for cell in cells)])


def main() -> int:
    """Compare the frameworks that are installed; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=NEEDS, default=list(NEEDS))
    parser.add_argument(
        "--keep", type=Path, help="Folder for stores and documents; it must be new."
    )
    arguments = parser.parse_args()
    results: dict[str, Result] = {}
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        empty = empty_database(folder.absolute())
        for name in arguments.only:
            missing = [module for module in NEEDS[name] if find_spec(module) is None]
            if missing:
                print(f"{name} is skipped: {', '.join(missing)} is not installed")
                continue
            try:
                results[name] = compare(name, folder.absolute() / name, empty)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                results[name] = Result({}, set(), [f"{name} failed: {error}"], {})
            print(f"{name}: {len(results[name].found)} differences", flush=True)
    print(*table(results), "Seconds are wall time (CPU time).", sep="\n")
    found = [line for result in results.values() for line in result.found]
    print(*found, sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
