"""File names, the URI prefix and 64-bit bounds are written in one module each."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from yprov_mlflow.prov import layout, uris
from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN

PACKAGE = Path(importlib.util.find_spec("yprov_mlflow").origin).parent
FILE_NAMES = {
    layout.PROVENANCE,
    layout.PROV_JSON,
    layout.METRICS_PARQUET,
    layout.JOURNAL_SUFFIX,
    layout.DELIVERED,
    layout.DELIVERY_LOCK,
    layout.CLAIMS,
    layout.STORES,
    layout.CONVERSION,
    layout.LEDGER,
}


def constants(*without: str):
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name not in without:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value


def test_file_and_folder_names_are_in_layout_only():
    names = {text.strip("/") for text in FILE_NAMES}
    copies = [
        where
        for where, value in constants("layout.py")
        if isinstance(value, str) and value.strip("/") in names
    ]
    assert not copies, "import the name from yprov_mlflow.prov.layout"


def test_uri_prefix_is_in_uris_only():
    copies = [where for where, value in constants("uris.py") if value == uris.PREFIX]
    assert not copies, "use yprov_mlflow.prov.uris"


def test_bounds_of_64_bit_integers_are_in_events_only():
    copies = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            power = isinstance(node, ast.BinOp) and ast.unparse(node) in ("2 ** 63", "1 << 63")
            if power or (isinstance(node, ast.Constant) and node.value == INT64_MAX):
                copies.append(path.name)
    # Slurm marks unknown values with 2 ** 63, which is not a bound.
    assert set(copies) <= {"events.py", "slurm.py"}
    assert (INT64_MIN, INT64_MAX) == (-(1 << 63), (1 << 63) - 1)


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("provenance/prov.json", True),
        ("provenance/prov-0123456789ab.json", True),
        ("provenance/metrics.parquet", True),
        ("provenance/metrics-0a.parquet", True),
        ("provenance/prov.json.bak", False),
        ("provenance/notes.txt", False),
        ("model/provenance/prov.json", False),
    ],
)
def test_artifacts_that_capture_writes_are_recognized(path, own):
    assert bool(layout.OWN_ARTIFACT.match(path)) is own


@pytest.mark.parametrize(
    ("uri", "prefixed", "plain"),
    [
        ("yprov+sqlite:///mlflow.db", True, "sqlite:///mlflow.db"),
        ("yprov+", True, ""),
        ("sqlite:///yprov+", False, "sqlite:///yprov+"),
    ],
)
def test_uri_prefix_is_recognized_and_removed(uri, prefixed, plain):
    assert uris.has_prefix(uri) is prefixed
    assert uris.strip_prefix(uri) == plain


def test_uris_other_than_text_have_no_prefix():
    assert not uris.has_prefix(None)
    assert not uris.has_prefix(Path("yprov+x"))
