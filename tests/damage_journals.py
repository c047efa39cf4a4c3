"""Damage real journals at random; check that no document says anything false, and that all tell.

Run ``python tests/damage_journals.py --count 1000 --seed 1``. The document from the undamaged
journals and the store is the truth. A document from damaged journals must have everything that
the store has, once; nothing that the true document lacks; and a statement that it is partial
where it has less. Every damage must be reported.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from support.readers.documents import RunDocument, literal, literals

SCRIPT = """
import json, os, signal, sys, numpy, yprov_mlflow as mlflow
from mlflow.entities import Metric, Param, RunTag
mlflow.set_tracking_uri("sqlite:///m.db")
client = mlflow.MlflowClient()

def log(number):
    mlflow.log_param(f"lr{number}", 0.1)
    mlflow.log_metrics({"a": 1.5, "b": float("nan"), "c": 1e300}, step=number)
    for stage in ("training", "validation"):
        with mlflow.prov.context(stage):
            for epoch in range(3):
                with mlflow.prov.epoch(epoch):
                    mlflow.log_metric("loss", 1 / (1 + epoch + number), step=10 * number + epoch)
    mlflow.set_tag("phase", f"value {number}")
    mlflow.set_tag("gone", "x")
    mlflow.delete_tag("gone")
    client.log_batch(mlflow.active_run().info.run_id,
        metrics=[Metric("batch", i / 7, 1_700_000_000_000 + i, 100 * number + i) for i in range(5)],
        params=[Param(f"p{number}", "1")], tags=[RunTag("t", str(number))])
    mlflow.log_text(f"text {number}", f"file{number}.txt")
    data = mlflow.data.from_numpy(numpy.arange(4) + number, name=f"d{number}")
    mlflow.log_input(data, "training")

def main():
    with mlflow.start_run() as run:
        log(1)
        if hasattr(mlflow, "create_external_model"):
            mlflow.create_external_model("m", params={"p": "1"})
    child = os.fork()
    if not child:
        with mlflow.start_run(run_id=run.info.run_id):
            log(2)
        os._exit(0)
    os.waitpid(child, 0)
    killed, ready = os.pipe()
    child = os.fork()
    if not child:
        run = mlflow.start_run()
        log(3)
        os.write(ready, run.info.run_id.encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    print(json.dumps([run.info.run_id, os.read(killed, 100).decode()]))
main()
"""

Lines = list[bytes]
Damage = Callable[[random.Random, Path, list[Path]], None]


# -- damages ---------------------------------------------------------------------------


def _bytes(change: Callable[[random.Random, bytearray], object]) -> Damage:
    def damage(generator: random.Random, path: Path, others: list[Path]) -> None:
        content = bytearray(path.read_bytes())
        change(generator, content)
        path.write_bytes(content)

    return damage


def _lines(change: Callable[[random.Random, Lines, Lines], object]) -> Damage:
    def damage(generator: random.Random, path: Path, others: list[Path]) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        foreign = generator.choice(others).read_bytes().splitlines(keepends=True)
        change(generator, lines, foreign)
        path.write_bytes(b"".join(lines))

    return damage


def _span(generator: random.Random, length: int) -> slice:
    first, last = sorted(generator.sample(range(length + 1), 2))
    return slice(first, last)


def _flip(generator: random.Random, content: bytearray) -> None:
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)


def _digit(generator: random.Random, content: bytearray) -> None:
    places = [match.start() for match in re.finditer(rb"\d", content)]
    place = generator.choice(places)
    digits = [digit for digit in b"0123456789" if digit != content[place]]
    content[place] = generator.choice(digits)


def _zero(generator: random.Random, content: bytearray) -> None:
    part = _span(generator, len(content))
    content[part] = bytes(part.stop - part.start)


def _noise(generator: random.Random, content: bytearray) -> None:
    part = _span(generator, len(content))
    content[part] = generator.randbytes(part.stop - part.start)


def _delete(generator: random.Random, content: bytearray) -> None:
    del content[_span(generator, len(content))]


def _newline(generator: random.Random, content: bytearray) -> None:
    content[generator.choice([i for i, byte in enumerate(content) if byte == 10])] = 32


def _cut(generator: random.Random, content: bytearray) -> None:
    del content[generator.randrange(len(content)) :]


def _behead(generator: random.Random, content: bytearray) -> None:
    del content[: generator.randrange(1, len(content))]


def _swap(generator: random.Random, lines: Lines, foreign: Lines) -> None:
    i, j = generator.sample(range(len(lines)), 2)
    lines[i], lines[j] = lines[j], lines[i]


def _replace_file(make: Callable[[Path, Path], object]) -> Damage:
    def damage(generator: random.Random, path: Path, others: list[Path]) -> None:
        path.unlink()
        make(path, generator.choice(others))

    return damage


def _place(generator: random.Random, lines: Lines) -> int:
    return generator.randrange(len(lines) + 1)


CONTENT_DAMAGES: dict[str, Damage] = {
    "a flipped bit": _bytes(_flip),
    "a changed digit": _bytes(_digit),
    "a block of zeros": _bytes(_zero),
    "a block of noise": _bytes(_noise),
    "bytes deleted": _bytes(_delete),
    "bytes inserted": _bytes(lambda g, c: c.__setitem__(slice(g.randrange(len(c)), 0), b"x\n7")),
    "a newline lost": _bytes(_newline),
    "other line ends": _lines(
        lambda g, lines, _: lines.__setitem__(slice(None), [x[:-1] + b"\r\n" for x in lines])
    ),
    "the end cut off": _bytes(_cut),
    "the start cut off": _bytes(_behead),
    "garbage appended": _bytes(lambda g, c: c.extend(g.randbytes(g.randrange(1, 500)))),
    "lines swapped": _lines(_swap),
    "lines shuffled": _lines(lambda g, lines, _: g.shuffle(lines)),
    "a line repeated": _lines(lambda g, lines, _: lines.insert(_place(g, lines), g.choice(lines))),
    "all lines repeated": _lines(lambda g, lines, _: lines.extend(list(lines))),
    "a line lost": _lines(lambda g, lines, _: lines.pop(g.randrange(len(lines)))),
    "the last lines lost": _lines(
        lambda g, lines, _: lines.__delitem__(slice(g.randrange(len(lines)), None))
    ),
    "a foreign line": _lines(lambda g, lines, f: lines.insert(_place(g, lines), g.choice(f))),
    "foreign lines": _lines(lambda g, lines, f: lines.extend(f)),
    "a foreign head": _lines(
        lambda g, lines, _: lines.insert(_place(g, lines), b'["journal",2,"otherrun","s"]\n')
    ),
    "a line of the wrong shape": _lines(
        lambda g, lines, _: lines.insert(_place(g, lines), b'["params",50,2,[]]\n')
    ),
    "nested brackets": _lines(
        lambda g, lines, _: lines.insert(_place(g, lines), b"[" * 100_000 + b"\n")
    ),
    "lines without checksums": _lines(
        lambda g, lines, _: lines.__setitem__(
            slice(None), [x[: x.rfind(b"]") + 1] + b"\n" for x in lines]
        )
    ),
}

FILE_DAMAGES: dict[str, Damage] = {
    "a copy of the file": lambda g, path, _: shutil.copy(path, path.with_name("copy.journal")),
    "a renamed file": lambda g, path, _: path.rename(path.with_name("renamed.journal")),
    "a foreign file": lambda g, path, others: shutil.copy(
        g.choice(others), path.with_name("foreign.journal")
    ),
    "a foreign file in its place": _replace_file(lambda path, other: shutil.copy(other, path)),
    "the file lost": _replace_file(lambda path, other: None),
    "an empty file": _replace_file(lambda path, other: path.touch()),
    "a link": _replace_file(lambda path, other: path.symlink_to(other)),
    "a link to nowhere": _replace_file(lambda path, other: path.symlink_to("nowhere")),
    "a pipe": _replace_file(lambda path, other: os.mkfifo(path)),
    "a folder": _replace_file(lambda path, other: path.mkdir()),
}

DAMAGES = {**CONTENT_DAMAGES, **FILE_DAMAGES}


UNREPORTED = ("nothing was reported", "the document does not say that it is partial")
UNKNOWN = (*UNREPORTED, "session ends")  # if the end of a journal is lost without a trace


# -- the oracle ------------------------------------------------------------------------


def exact(document: RunDocument) -> dict[str, Any]:
    """Return what the store has, too."""
    return {
        "params": document.params,
        "tags": {k: v for k, v in document.tags.items() if not k.startswith("mlflow.")},
        "points": sorted(
            f"{r['schema:name']} {r['prov:value']} {r['mlf:step']} {r['mlf:timestamp']}"
            for r in document.of_type("mlf:MetricSample").values()
        ),
        "status": document.status,
        "artifacts": sorted(document.artifacts),
        "datasets": sorted(
            str(r.get("prov:label")) for r in document.of_type("mls:Dataset").values()
        ),
        "models": sorted(
            str(r.get("mlf:modelId")) for r in document.of_type("mlf:LoggedModel").values()
        ),
    }


def parts(document: RunDocument) -> dict[str, collections.Counter[str]]:
    """Return statements that only journals have, which may be missing but never differ."""
    contexts = {**document.of_type("mlf:Context"), **document.of_type("mlf:Epoch")}
    samples = document.of_type("mlf:MetricSample")

    def around(context: str) -> Iterator[str]:
        """Yield the context and those around it."""
        while context in contexts:
            yield f"{contexts[context]['prov:label']} {contexts[context]['prov:startTime']}"
            context = literal(contexts[context]["dcterms:isPartOf"])

    return {
        "tag history": collections.Counter(
            f"{r['schema:name']} {r['prov:value']}"
            for r in document.of_type("mlf:Tag").values()
            if "prov:value" in r
        ),
        "hashes": collections.Counter(
            f"{r['mlf:path']} {r['mlf:sha256']}"
            for r in document.of_type("mlf:Artifact").values()
            if "mlf:sha256" in r
        ),
        "contexts": collections.Counter(
            f"{r['prov:label']} {r['prov:startTime']}" for r in contexts.values()
        ),
        "ends": collections.Counter(
            f"{r['prov:label']} {r['prov:startTime']} {r['prov:endTime']}"
            for r in contexts.values()
            if "prov:endTime" in r
        ),
        "session starts": collections.Counter(
            f"{literal(r['mlf:token'])} {r['prov:startTime']}"
            for r in document.sessions.values()
            if "prov:startTime" in r
        ),
        "session ends": collections.Counter(
            # MLflow's own time, in ms, where the last events are lost.
            f"{literal(r['mlf:token'])} {r['prov:endTime'][:23]}"
            for r in document.sessions.values()
            if "prov:endTime" in r
        ),
        "points in contexts": collections.Counter(
            f"{r['prov:value']} {r['mlf:step']} {part}"
            for identifier, r in samples.items()
            for part in around(document.generated_by.get(identifier, ""))
        ),
    }


def compare(true: RunDocument, document: RunDocument) -> list[str]:
    """Return what a document says that is not true, and what it lacks without saying so."""
    wrong = [
        f"{name}: {value} instead of {expected}"
        for (name, value), expected in zip(
            exact(document).items(), exact(true).values(), strict=True
        )
        if value != expected
    ]
    lacks = False
    for (name, counts), expected_counts in zip(
        parts(document).items(), parts(true).values(), strict=True
    ):
        lacks = lacks or bool(expected_counts - counts)
        if extra := counts - expected_counts:
            wrong.append(f"{name}: {dict(extra)} is not in {dict(expected_counts)}")
    if lacks and not literals(document.run.get("mlf:partial")):
        wrong.append(UNREPORTED[1])
    return wrong


# -- the experiment --------------------------------------------------------------------


class Experiment:
    """Two runs, one of them killed, and their documents from undamaged journals."""

    def __init__(self, folder: Path) -> None:
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
        shutil.copytree(self.state, folder / "pristine")
        self.pristine = folder / "pristine"
        from mlflow import MlflowClient

        from yprov_mlflow.prov.capture import recovery

        self.recover = recovery.recover
        client = MlflowClient("sqlite:///m.db")
        self.artifacts = {
            run: Path(urllib.parse.urlparse(client.get_run(run).info.artifact_uri).path)
            for run in self.runs
        }
        self.true = {}
        for run in self.runs:
            outcome, document = self.document(run)
            assert document is not None and not outcome.reason, outcome
            self.true[run] = document

    def document(self, run: str) -> tuple[Any, RunDocument | None]:
        """Recover a run, and return the outcome and the document."""
        provenance = self.artifacts[run] / "provenance"
        shutil.rmtree(provenance, ignore_errors=True)
        (outcome,) = self.recover(None, [run], again=True)
        file = provenance / "prov.json"
        return outcome, RunDocument.load(file) if file.is_file() else None

    def damage(self, generator: random.Random) -> tuple[str, list[str]]:
        """Damage a journal; return the damage, and everything that is wrong afterwards."""
        name = generator.choice(list(DAMAGES))
        run = generator.choice(self.runs)
        shutil.rmtree(self.state)
        shutil.copytree(self.pristine, self.state)
        folder = self.state / "journal" / run
        delivered = folder / "delivered.json"
        if delivered.exists() and generator.random() < 0.3:
            delivered.unlink()
        undelivered = not delivered.exists()
        before = {path: path.read_bytes() for path in sorted(folder.glob("*.journal"))}
        path = generator.choice(list(before))
        others = [p for p in sorted(self.state.glob("journal/*/*.journal")) if p != path]
        DAMAGES[name](generator, path, others)
        title = f"{name} in {'the killed run' if run == self.runs[1] else 'the finished run'}"
        if _content(folder) == before:
            return title, []
        outcome, document = self.document(run)
        wrong = [] if outcome.reason else [UNREPORTED[0]]
        # The end of a journal may be lost without a trace, if the run has no document yet.
        whole_lines = path.is_file() and before[path].startswith(path.read_bytes())
        untraceable = whole_lines and undelivered and path.read_bytes().endswith(b"\n")
        if document is None:
            return title, [f"no document: {outcome.reason}"]
        wrong += compare(self.true[run], document)
        return title, [text for text in wrong if not (untraceable and text.startswith(UNKNOWN))]


def _content(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else b"?"
        for path in sorted(folder.glob("*.journal"))
    }


def main() -> int:
    """Damage journals, print what is wrong, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", type=int, help="only the damage with this number")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failed: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(Path(folder))
        for number in range(options.count) if options.only is None else [options.only]:
            generator = random.Random(f"{options.seed} {number}")
            try:
                title, wrong = experiment.damage(generator)
            except Exception:  # noqa: BLE001 - counts as a fault of this damage
                title, wrong = "crash", [traceback.format_exc()]
            counts[title] += 1
            failed[title] += bool(wrong)
            for text in wrong:
                print(f"{number}: {title}: {text}")
        os.chdir("/")
    for title, count in sorted(counts.items()):
        print(f"{count:5} {failed[title]:5} wrong  {title}")
    print(f"seed {options.seed}: {sum(counts.values())} damages, {sum(failed.values())} wrong")
    return int(bool(sum(failed.values())))


if __name__ == "__main__":
    sys.exit(main())
