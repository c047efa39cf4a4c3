"""Check documents with the programs of others: schemas, ``prov``, RDF parsers, ``roc-validator``.

Run ``python tests/standards/check.py``, or ``nox -s standards``. The documents are those of every
store of the corpus, of the stores of ``migration/golden``, and of a captured run, each in all
formats. Printed is, for each checker, the number of documents and of errors; the errors stand
below the table. The exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import logging
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jsonschema_rs
import pyoxigraph
import rdflib
from lxml import etree
from prov.model import ProvDocument
from support.oracles.validity import schema
from support.readers import corpus

from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.layout import DOCUMENT_STEM, STORE_FOLDER
from yprov_mlflow.prov.sources import open_source

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "migration" / "golden"
MOST_SHOWN = 20
MOST_RECORDS = 5000
"""Larger documents are not given to the readers of ``prov``, which take a minute for each."""


# -- checkers: each raises an exception for a document with an error -------------------------


@functools.cache
def json_schema(name: str) -> Any:
    content = schema().schema
    if name == "prov-jsonld":
        text = files("prov").joinpath("tests/schemas/prov-jsonld.schema.json").read_text("utf-8")
        content = json.loads(text)
    return jsonschema_rs.validator_for(content)


@functools.cache
def xml_schema() -> etree.XMLSchema:
    with as_file(files("prov").joinpath("tests/schemas")) as folder:
        return etree.XMLSchema(etree.parse(folder / "prov.xsd"))


def has_json_schema(content: bytes, name: str) -> None:
    json_schema(name).validate(json.loads(content))


def has_xml_schema(content: bytes) -> None:
    xml_schema().assertValid(etree.fromstring(content))


def is_read_by_prov(content: bytes, name: str, expected: ProvDocument) -> None:
    document = ProvDocument.deserialize(content=content.decode(), format=name)
    records, others = document.get_records(), expected.get_records()
    # In XML, names that end in no word have other IRIs. Only documents with lists of equal values,
    # and with values that a format cannot hold, have a JSON form.
    exact = name != "xml" and b"jsonForm" not in content
    if len(records) != len(others) or (exact and set(records) != set(others)):
        raise ValueError("prov reads other records than from PROV-JSON")


def is_read_by_rdflib(content: bytes, name: str, statements: int) -> None:
    graph = rdflib.Dataset().parse(data=content, format=name)
    if len(set(graph.quads())) != statements:
        raise ValueError(f"rdflib reads {len(graph)} statements, pyoxigraph {statements}")


RDF = {"turtle": "turtle", "trig": "trig", "n-quads": "nquads", "json-ld": "json-ld"}
OF_PROV = {"prov-json": "json", "prov-jsonld": "jsonld", "prov-n": "provn", "prov-xml": "xml"}


def checks(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield name and check for each file of a document that a checker of others can read."""
    contents = {
        name: path.read_bytes()
        for name, form in FORMATS.items()
        if (path := folder / f"{DOCUMENT_STEM}{form.suffix}").is_file()
    }
    for name in ("prov-json", "prov-jsonld"):
        check: Callable[[], None] = functools.partial(has_json_schema, contents[name], name)
        yield f"{name}: JSON schema", check
    if "prov-xml" in contents:
        yield "prov-xml: XML schema", functools.partial(has_xml_schema, contents["prov-xml"])
    sections = json.loads(contents["prov-json"])
    if sum(map(len, sections.values())) <= MOST_RECORDS:
        expected = ProvDocument.deserialize(content=contents["prov-json"].decode(), format="json")
        for name in OF_PROV.keys() & contents.keys():
            check = functools.partial(is_read_by_prov, contents[name], OF_PROV[name], expected)
            yield f"{name}: reader of prov", check
    for name in RDF.keys() & contents.keys():
        syntax = getattr(pyoxigraph.RdfFormat, name.upper().replace("-", "_"))
        statements = len(set(pyoxigraph.parse(contents[name], syntax)))
        check = functools.partial(is_read_by_rdflib, contents[name], RDF[name], statements)
        yield f"{name}: rdflib", check


def check_folder(folder: Path) -> tuple[Counter[str], list[tuple[str, str]]]:
    """Return how many files each checker got of a document, and its errors."""
    rdflib.NORMALIZE_LITERALS = False
    logging.getLogger("rdflib").setLevel(logging.ERROR)  # it warns of years beyond Python's
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    errors = []
    for name, check in checks(folder):
        counts[name] += 1
        try:
            check()
        except Exception as error:  # noqa: BLE001 - the checkers of others raise anything
            text = f"{folder}: {type(error).__name__}: {error}"
            errors.append((name, re.sub(r"\s+", " ", text)[:400]))
    return counts, errors


# -- documents ---------------------------------------------------------------------------


def stores(folder: Path) -> Iterator[Path]:
    """Unpack and yield the stores of the corpus, then those of MLflow's versions."""
    for row in corpus.rows():
        yield corpus.unpack(row.archive, folder / "corpus") / row.path
    for archive in sorted(GOLDEN.glob("*.tar.gz")):
        with tarfile.open(archive) as file:
            file.extractall(into := folder / "golden" / archive.name, filter="data")
        yield from (path for path in into.rglob("mlruns") if path.is_dir())
        yield from into.rglob("mlflow.db")


def command(*words: str | Path, folder: Path, env: Mapping[str, str] = {}) -> None:
    """Run our command line; converting a store with broken files has the exit code 3 or 4."""
    arguments = [sys.executable, "-m", "yprov_mlflow", *map(str, words)]
    done = subprocess.run(
        arguments, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True
    )
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"{' '.join(arguments)} failed: {done.stderr}")


def convert(source: Path, out: Path, most: int) -> None:
    """Convert the first runs of a store, and its own data, to all formats."""
    words = [word for name in FORMATS for word in ("--to", name)]
    if most and source.name != "prov.json":
        with closing(open_source(str(source))) as runs:
            words += [f"--run={ref.run_id}" for ref in itertools.islice(runs.runs(), most)]
    command("convert", source, "-o", out, *words, folder=out.parent)


def capture(folder: Path) -> Path:
    """Capture the run of the quickstart, and return the folder of its document."""
    folder.mkdir()
    env = {"YPROV_MLFLOW_DIR": str(folder / "state"), "MLFLOW_DISABLE_TELEMETRY": "1"}
    quickstart = ROOT / "examples" / "quickstart.py"
    done = subprocess.run(
        [sys.executable, quickstart],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    match = re.search(r"Provenance document: (.*)", done.stdout)
    assert match is not None, done.stdout
    return Path(match[1])


# -- crates ------------------------------------------------------------------------------

ABOUT = """
[tool.yprov-mlflow.about]
title = "A run"
description = "The run of a test."
keywords = ["test"]
license = "Apache-2.0"
publisher = { name = "University of Trento", ror = "05trd4x28" }

[[tool.yprov-mlflow.about.authors]]
name = "Josiah Carberry"
orcid = "0000-0002-1825-0097"
affiliation = { name = "University of Trento", ror = "05trd4x28" }
"""
ISSUES = re.compile(r" *[0-9]+  (\S+)  +(/.*)")


def make_crate(document: Path, crate: Path, *options: str) -> Path:
    """Write the crate of a document; the artifacts of old stores are mostly gone."""
    about = crate.with_suffix(".toml")
    about.write_text(ABOUT)
    command("crate", document, "-o", crate, "--about", about, *options, folder=crate.parent)
    return crate


def check_crates(crates: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """Yield each profile that a crate claims, and what ``roc-validator`` misses in the crate.

    Old stores lack much of what profiles recommend, such as the version of MLflow. Only the first
    crate, that of the captured run, must have it.
    """
    script = Path(__file__).parents[1] / "peers" / "check_crates.py"
    done = subprocess.run([sys.executable, script, *crates], capture_output=True, text=True)
    lines = done.stdout.splitlines()[1:]
    if done.returncode not in (0, 1) or not lines:
        raise SystemExit(done.stderr)
    rows: list[tuple[str, list[str]]] = []
    captured = False
    for line in lines:
        if match := ISSUES.match(line):
            rows.append((f"crate: {match[1]}", []))
            captured = match[2] == str(crates[0])
        elif captured or not line.strip().startswith("RECOMMENDED"):
            rows[-1][1].append(line.strip())
    yield from rows


# -- the table ---------------------------------------------------------------------------


def report(counts: Counter[str], errors: list[tuple[str, str]]) -> str:
    out = io.StringIO()
    by_checker = Counter(name for name, _ in errors)
    print(f"{'checker':32} {'documents':>9} {'errors':>7}", file=out)
    for name in sorted(counts):
        print(f"{name:32} {counts[name]:9} {by_checker[name]:7}", file=out)
    for name, text in errors[:MOST_SHOWN]:
        print(f"\n{name}\n  {text}", file=out)
    if len(errors) > MOST_SHOWN:
        print(f"\n… and {len(errors) - MOST_SHOWN} more errors", file=out)
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each N-th store")
    parser.add_argument("--most", type=int, default=0, help="only so many runs of each store")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--crates", type=int, default=sys.maxsize, help="most crates")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    errors: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(options.jobs) as pool:
        folder = Path(scratch)
        out = folder / "out"
        out.mkdir()
        document = capture(folder / "captured")
        crates = [make_crate(document, folder / "crate")]
        for number, source in enumerate([document, *list(stores(folder))[:: options.every]]):
            convert(source, out / str(number), options.most)
            documents = sorted(path.parent for path in (out / str(number)).rglob("prov.json"))
            documents = [path for path in documents if ".yprov-convert" not in path.parts]
            for more, problems in pool.map(check_folder, documents):
                counts += more
                errors += problems
            runs = [path for path in documents if path.name != STORE_FOLDER]
            if runs and len(crates) < options.crates:
                crates.append(make_crate(runs[0], folder / f"crate-{number}", "--no-files"))
            name = source.relative_to(folder)
            print(f"{name}: {len(documents)} documents", file=sys.stderr, flush=True)
        for profile, lines in check_crates(crates):
            counts[profile] += 1
            errors += [(profile, line) for line in lines]
    print(report(counts, errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
