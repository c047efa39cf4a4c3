"""The rules that CONTRIBUTING.md states and no linter knows."""

import ast
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import yprov_mlflow

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 80
MOST_POSITIONAL_PARAMETERS = 6
LONG_SIGNATURES = {
    "yprov_mlflow.prov.capture.handlers": "a handler has the parameters of MLflow's method",
}
WHY = re.compile(r"[\]\w]\s+[-#]\s+\S")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

PACKAGE = Path(importlib.util.find_spec("yprov_mlflow").origin).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.fixture(params=FILES, ids=name_of)
def module(request):
    text = request.param.read_text("utf-8")
    return request.param, text, ast.parse(text)


def test_there_is_something_to_look_at():
    assert {"yprov_mlflow", "yprov_mlflow.prov.settings"} <= {name_of(path) for path in FILES}


def test_modules_are_short_and_named_for_what_they_are(module):
    path, text, _ = module
    assert text.count("\n") <= MOST_LINES
    assert not FORBIDDEN_NAMES & set(name_of(path).split("."))


def test_most_modules_are_shorter_still():
    lengths = sorted(path.read_text("utf-8").count("\n") for path in FILES)
    assert lengths[len(lengths) // 2] <= 150


def test_functions_are_short_and_take_few_parameters(module):
    path, _, tree = module
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, node.name
            positional = [*node.args.posonlyargs, *node.args.args]
            own = [argument for argument in positional if argument.arg not in ("self", "cls")]
            few = len(own) <= MOST_POSITIONAL_PARAMETERS
            assert few or name_of(path) in LONG_SIGNATURES, node.name


def test_no_exception_is_swallowed_in_silence(module):
    _, _, tree = module
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kind = getattr(node.type, "id", None)
            broad = node.type is None or kind in ("Exception", "BaseException")
            assert not (broad and all(isinstance(line, ast.Pass) for line in node.body)), (
                f"line {node.lineno}"
            )


def test_each_exemption_says_why(module):
    _, text, _ = module
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        for mark in ("# noqa", "# type: ignore", "# pragma:"):
            _, found, rest = line.partition(mark)
            above = lines[number - 2].strip().startswith("#")
            assert not found or above or WHY.search(rest), f"line {number}: {line.strip()}"


def bound(tree):
    """Public names that a module defines, and those of ours that a package passes on."""
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_exports_are_all_there_is(module):
    path, _, tree = module
    exported = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and "__all__" in [ast.unparse(t) for t in node.targets]
    ]
    if not exported:
        return
    (names,) = exported
    assert len(names) == len(set(names))  # that they are sorted is for ruff
    public = {name for name in bound(tree) if not name.startswith("_")}
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert public <= set(names) <= public | imported
    if path.name == "__init__.py":
        assert imported - {"annotations"} <= set(names) | {path.stem for path in FILES}


def test_no_module_of_ours_hides_one_of_mlflow():
    import mlflow

    theirs = {name for _, name, _ in pkgutil.iter_modules(mlflow.__path__)} | set(mlflow.__all__)
    ours = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()
    }
    ours -= {"__init__", "__main__"}
    assert {"settings", "prov"} <= ours
    assert not ours & theirs


def test_typed_marker_is_shipped():
    assert (PACKAGE / "py.typed").is_file()
    assert yprov_mlflow.__path__
