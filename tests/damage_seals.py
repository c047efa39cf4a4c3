"""Change sealed runs at random; check that every change is noticed, and named where it can be.

Run ``python tests/damage_seals.py --count 1000 --seed 1``. Each time a document, a metric file, an
artifact, a journal, a seal, the chain or the set of runs is changed, the whole store is verified,
and the change is undone.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

SCRIPT = """
import json, mlflow
mlflow.set_tracking_uri("yprov+sqlite:///m.db")
runs = []
for number, points in enumerate((2, 250, 0)):
    with mlflow.start_run(run_name=f"run {number}") as run:
        mlflow.log_param("lr", 0.1 * number)
        mlflow.set_tag("stage", f"value {number}")
        for step in range(points):
            mlflow.log_metric("loss", 1 / (1 + step), step=step)
        mlflow.log_text(f"text {number}" * 20, "notes/a.txt")
        mlflow.log_text(f"other {number}", "b.txt")
    runs.append(run.info.run_id)
print(json.dumps(runs))
"""

Expected = str
"""What the differences must name; empty if any difference will do."""


class Sealed:
    """A store with three sealed runs, and the seal of the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        os.environ |= {
            "YPROV_MLFLOW_DIR": str(self.state),
            "YPROV_MLFLOW_COLLECTORS": "none",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        os.chdir(folder)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
        )
        self.runs: list[str] = json.loads(done.stdout.splitlines()[-1])
        from yprov_mlflow.prov.capture.run_seals import SealedStore
        from yprov_mlflow.prov.integrity import signing_keys

        self.key = signing_keys.make(folder / "key.pem", "ed25519")
        self.store = SealedStore("sqlite:///m.db")
        private = signing_keys.load_private(folder / "key.pem")
        for run_id in self.store.runs():
            self.store.seal_run(run_id, private)
        self.store.seal_store(self.store.runs(), private)
        self.artifacts = {
            run_id: next(folder.glob(f"mlruns/*/{run_id}/artifacts")) for run_id in self.runs
        }

    def differences(self) -> list[Any]:
        """Return everything that is not as it was sealed."""
        verified = {run_id: self.store.verify_run(run_id, self.key) for run_id in self.store.runs()}
        of_chain = self.store.check_chain(verified, self.key)
        return [*of_chain, *(d for result in verified.values() for d in result.differences)]

    def files(self) -> Iterator[Path]:
        """Yield all files of the runs and the state that a seal covers."""
        for root in (*self.artifacts.values(), self.state / "journal", self.state / "seals"):
            yield from (path for path in sorted(root.rglob("*")) if path.is_file())


# -- changes: each returns a text that the differences must contain ----------------------------


def _document(generator: random.Random, sealed: Sealed) -> Expected:
    """Change, remove or add one record of a document."""
    run_id = generator.choice(sealed.runs)
    path = sealed.artifacts[run_id] / "provenance" / "prov.json"
    document = json.loads(path.read_bytes())
    section = generator.choice(sorted(document.keys() - {"prefix"}))
    identifier = generator.choice(sorted(document[section]))
    match generator.randrange(3):
        case 0:
            del document[section][identifier]
            expected = f"removed: {section} {identifier}"
        case 1:
            document[section][identifier]["mlf:forged"] = str(generator.random())
            expected = f"changed: {section} {identifier}"
        case _:
            identifier = f"run:forged/{generator.random()}"
            document[section][identifier] = {"prov:label": "forged"}
            expected = f"added: {section} {identifier}"
    path.write_text(json.dumps(document))
    return expected


def _points(generator: random.Random, sealed: Sealed) -> Expected:
    """Change, remove or add one point of a metric file."""
    import pyarrow as pa
    from pyarrow import parquet

    (path,) = (p for p in sealed.files() if p.name == "metrics.parquet")
    table = parquet.read_table(path)
    rows = table.to_pylist()
    row = generator.choice(rows)
    point = f"point of loss at step {row['step']} "
    match generator.randrange(3):
        case 0:
            rows.remove(row)
            expected = f"removed: {point}"
        case 1:
            row["value"] = row["value"] + 0.125
            expected = f"changed: {point}"
        case _:
            rows.insert(generator.randrange(len(rows)), {**row, "step": 999})
            expected = "added: point of loss at step 999 "
    parquet.write_table(pa.Table.from_pylist(rows, table.schema), path)
    return expected


def _journal_line(generator: random.Random, sealed: Sealed) -> Expected:
    """Change or remove one event of a journal, or add one."""
    path = _any_journal(generator, sealed)
    lines = path.read_bytes().splitlines(keepends=True)
    number = generator.randrange(1, len(lines))
    kind, sequence = json.loads(lines[number][: lines[number].rindex(b"]") + 1])[:2]
    name = f"event {sequence} ({kind})"
    match generator.randrange(3):
        case 0:
            del lines[number]
            # A journal that only became shorter at its end is no longer the one that was sealed.
            expected = f"removed: {name}"
        case 1:
            lines[number] = lines[number].replace(b"]", b" ]", 1)
            expected = f"changed: {name}"
        case _:
            lines.append(b'["tag_delete",99999,1,"forged"]123\n')
            expected = f"added: {Path('journal', path.name)}"
    path.write_bytes(b"".join(lines))
    return expected


def _any_journal(generator: random.Random, sealed: Sealed) -> Path:
    return generator.choice(sorted(sealed.state.glob("journal/[0-9a-f]*/*.journal")))


def _any_file(generator: random.Random, sealed: Sealed) -> Path:
    """Return a file of the artifacts, a journal, a seal or a chain."""
    journals = sealed.state / "journal"
    paths = [
        path
        for path in sealed.files()
        if path.name != "lock" and not (path.is_relative_to(journals) and path.suffix != ".journal")
        if not path.parent.name.startswith("store")
    ]
    return generator.choice(paths)


def _flip(generator: random.Random, sealed: Sealed) -> Expected:
    """Change one bit of a file."""
    path = _any_file(generator, sealed)
    content = bytearray(path.read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return ""


def _cut(generator: random.Random, sealed: Sealed) -> Expected:
    """Cut off the end of a file."""
    path = _any_file(generator, sealed)
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content))])
    return ""


def _remove(generator: random.Random, sealed: Sealed) -> Expected:
    """Remove a file."""
    path = _any_file(generator, sealed)
    path.unlink()
    return path.name if path.suffix == ".txt" else ""


def _add(generator: random.Random, sealed: Sealed) -> Expected:
    """Add an artifact."""
    name = f"forged-{generator.randrange(10**9)}"
    folder = sealed.artifacts[generator.choice(sealed.runs)]
    (folder / generator.choice((".", "notes", "provenance")) / name).write_text("x")
    return name


def _swap(generator: random.Random, sealed: Sealed) -> Expected:
    """Exchange the contents of two files of the same name."""
    name = generator.choice(("prov.json", "a.txt", "b.txt", "seal.json"))
    first, second = generator.sample([p for p in sealed.files() if p.name == name], 2)
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    return ""


def _chain_line(generator: random.Random, sealed: Sealed) -> Expected:
    """Remove, repeat or swap lines of the chain."""
    lines = sealed.store.chain.path.read_bytes().splitlines(keepends=True)
    match generator.randrange(3):
        case 0:
            del lines[generator.randrange(len(lines))]
        case 1:
            number = generator.randrange(len(lines))
            lines.insert(number, lines[number])
        case _:
            i, j = generator.sample(range(len(lines)), 2)
            lines[i], lines[j] = lines[j], lines[i]
    sealed.store.chain.path.write_bytes(b"".join(lines))
    return ""


def _run_vanishes(generator: random.Random, sealed: Sealed) -> Expected:
    """Remove a run from the store, and sometimes its line from the chain."""
    run_id = generator.choice(sealed.runs)
    with closing(sqlite3.connect(sealed.folder / "m.db")) as database, database:
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (run_id,))
    if generator.random() < 0.5:
        chain = sealed.store.chain.path
        lines = chain.read_bytes().splitlines(keepends=True)
        chain.write_bytes(b"".join(line for line in lines if run_id.encode() not in line))
    return f"removed: run {run_id}"


def _run_appears(generator: random.Random, sealed: Sealed) -> Expected:
    """Add a run to the store."""
    run_id = f"{generator.getrandbits(128):032x}"
    with closing(sqlite3.connect(sealed.folder / "m.db")) as database, database:
        cursor = database.execute("SELECT * FROM runs WHERE run_uuid = ?", sealed.runs[:1])
        names = [column[0] for column in cursor.description]
        row = {**dict(zip(names, cursor.fetchone(), strict=True)), "run_uuid": run_id}
        row["artifact_uri"] = str(sealed.folder / "mlruns" / "0" / run_id / "artifacts")
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", [*row.values()])
    return f"added: run {run_id}"


CHANGES: dict[str, Callable[[random.Random, Sealed], Expected]] = {
    "a record of a document": _document,
    "a point of a metric file": _points,
    "an event of a journal": _journal_line,
    "a bit of any file": _flip,
    "the end of any file": _cut,
    "a file is removed": _remove,
    "a file is added": _add,
    "two files are exchanged": _swap,
    "lines of the chain": _chain_line,
    "a run vanishes": _run_vanishes,
    "a run appears": _run_appears,
}


def change(generator: random.Random, sealed: Sealed, name: str) -> list[str]:
    """Do one change, verify, and undo it; return what was not noticed."""
    before = {path: path.read_bytes() for path in sealed.files()}
    database = (sealed.folder / "m.db").read_bytes()
    expected = CHANGES[name](generator, sealed)
    after = {path: path.read_bytes() for path in sealed.files()}
    try:
        texts = [str(difference) for difference in sealed.differences()]
    except Exception:  # noqa: BLE001 - verifying must not raise, whatever was changed
        texts = [traceback.format_exc()]
        expected = "an answer"
    if after == before and (sealed.folder / "m.db").read_bytes() == database:
        expected = ""  # as when a line was swapped with an equal one
        texts = texts or [""]
    _undo(sealed, before, database)
    if not texts:
        return ["nothing was noticed"]
    missing = not any(expected in text + " " for text in texts)
    return [f"not named: {expected}; but {texts[:5]}"] if missing else []


def _undo(sealed: Sealed, before: dict[Path, bytes], database: bytes) -> None:
    for path in [*sealed.files()]:
        if path not in before:
            path.unlink()
    for path, content in before.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    if (sealed.folder / "m.db").read_bytes() != database:
        copy = sealed.folder / "copy.db"
        copy.write_bytes(database)
        with (
            closing(sqlite3.connect(copy)) as source,
            closing(sqlite3.connect(sealed.folder / "m.db")) as target,
        ):
            source.backup(target)
        copy.unlink()


def main() -> int:
    """Change sealed runs, print what was not noticed, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failed: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        sealed = Sealed(Path(folder))
        assert sealed.differences() == [], sealed.differences()
        for number in range(options.count):
            name = list(CHANGES)[number % len(CHANGES)]
            wrong = change(random.Random(f"{options.seed} {number}"), sealed, name)
            counts[name] += 1
            failed[name] += bool(wrong)
            for text in wrong:
                print(f"{number}: {name}: {text}", flush=True)
        assert sealed.differences() == [], sealed.differences()
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
    for name, count in sorted(counts.items()):
        print(f"{count:5} {failed[name]:5} not noticed or not named  {name}")
    print(f"seed {options.seed}: {sum(counts.values())} changes, {sum(failed.values())} missed")
    return int(bool(sum(failed.values())))


if __name__ == "__main__":
    sys.exit(main())
