"""The rules of CONTRIBUTING.md that no linter knows: one test per rule, over all modules."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import house
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = house.modules(ROOT)
FIGURES = house.figures(ROOT)
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("migration/**/*.md"))
    if path.name != "CONTRIBUTING.md"  # it quotes what not to write
)

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 80
MOST_POSITIONAL_PARAMETERS = 6
LONG_SIGNATURES = {
    "yprov_mlflow.prov.capture.handlers": "a handler has the parameters of MLflow's method",
}
REASON = re.compile(r"[\]\w]\s+[-#]\s+\S")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
CLEAR_NAMES_IN = {"README.md", "SECURITY.md"}


def test_package_is_found() -> None:
    assert {"yprov_mlflow", "yprov_mlflow.prov.settings"} <= {module.name for module in PACKAGE}


# -- language ----------------------------------------------------------------------------


def test_docstrings_are_plain_english() -> None:
    lines = [
        f"{module.name}:{line}: {', '.join(rules)}: {text.splitlines()[0]}"
        for module in PACKAGE
        for line, text in house.docstrings(module)
        if (rules := house.dialect(text))
    ]
    assert lines == []


def test_comments_and_messages_are_plain_english() -> None:
    lines = [
        f"{module.name}:{line}: {', '.join(rules)}: {text}"
        for module in PACKAGE
        for line, text in (*house.comments(module), *house.messages(module))
        if (rules := house.dialect(text, house.PROSE))
    ]
    assert lines == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_plain_english(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    lines = [
        f"{number}: {', '.join(rules)}: {line}"
        for number, line in enumerate(prose.splitlines(), 1)
        if (rules := house.dialect(line, house.PROSE))
    ]
    assert lines == []


def test_names_say_what_a_value_is() -> None:
    lines = [
        f"{module.name}:{line}: {name}"
        for module in PACKAGE
        for line, name in house.long_placeholders(module)
    ]
    assert lines == []
    assert FIGURES["placeholder names, %"] < 1


def test_a_share_of_the_lines_are_comments() -> None:
    assert 3 <= FIGURES["comments, % of lines"] <= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_modules_that_exist(page: Path) -> None:
    package = ROOT / "yprov_mlflow"
    roots = (ROOT, ROOT / "migration", page.parent, package, package / "prov")
    names = re.findall(r"`([\w/]+\.py)`", page.read_text("utf-8"))
    assert [name for name in names if not any((root / name).is_file() for root in roots)] == []


# -- size --------------------------------------------------------------------------------


def test_modules_are_short() -> None:
    assert [module.name for module in PACKAGE if module.lines > MOST_LINES] == []
    lengths = sorted(module.lines for module in PACKAGE)
    assert lengths[len(lengths) // 2] <= 160


def test_functions_are_short_and_take_few_parameters() -> None:
    long = []
    for module in PACKAGE:
        for node in house.functions(module):
            assert node.end_lineno is not None
            positional = [*node.args.posonlyargs, *node.args.args]
            own = [argument for argument in positional if argument.arg not in ("self", "cls")]
            many = len(own) > MOST_POSITIONAL_PARAMETERS and module.name not in LONG_SIGNATURES
            if many or node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION:
                long.append(f"{module.name}.{node.name}")
    assert long == []
    assert FIGURES["function length, p95"] <= 40


def test_modules_are_named_for_their_subject() -> None:
    names = {part for module in PACKAGE for part in module.name.split(".")}
    assert not FORBIDDEN_NAMES & names
    assert len(house.repeated_names(PACKAGE)) <= house.MAY_REPEAT


# -- structure ---------------------------------------------------------------------------


def test_modules_import_each_other_without_cycles() -> None:
    assert house.cycles(house.import_graph(PACKAGE)) == []


def test_only_lazy_faces_import_ours_by_name() -> None:
    lines = [
        f"{module.name}:{line}"
        for module in PACKAGE
        if module.name not in house.LAZY_FACES
        for line in house.imports_of_ours_by_name(module)
    ]
    assert lines == []


def test_imports_within_functions_are_rare() -> None:
    assert FIGURES["imports in functions per 1,000 lines"] <= 3.5


def test_broad_excepts_are_rare_and_never_silent() -> None:
    assert FIGURES["broad excepts per 1,000 lines"] <= 0.9
    silent = [
        f"{module.name}:{node.lineno}"
        for module in PACKAGE
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert silent == []


def test_exemptions_give_their_reason() -> None:
    lines = []
    for module in PACKAGE:
        text = module.text.splitlines()
        for number, line in enumerate(text, 1):
            for mark in ("# noqa", "# type: ignore", "# pragma:"):
                _, separator, after = line.partition(mark)
                above = text[number - 2].strip().startswith("#")
                if separator and not above and not REASON.search(after):
                    lines.append(f"{module.name}:{number}")
    assert lines == []


def test_all_lists_the_public_names() -> None:
    wrong = []
    for module in PACKAGE:
        exported = [
            ast.literal_eval(node.value)
            for node in module.tree.body
            if isinstance(node, ast.Assign)
            and [ast.unparse(t) for t in node.targets] == ["__all__"]
        ]
        if exported and not _exports_match(module, exported[0]):
            wrong.append(module.name)
    assert wrong == []


def _exports_match(module: house.Module, exported: list[str]) -> bool:
    defined, imported = set(), set()
    for node in ast.walk(module.tree) if module.name in house.LAZY_FACES else module.tree.body:
        if isinstance(node, (*house.FUNCTIONS, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name for alias in node.names}
    if module.name in house.LAZY_FACES:
        return set(exported) <= defined | imported
    public = {name for name in defined if not name.startswith("_")}
    complete = public <= set(exported) <= public | imported
    return complete and len(exported) == len(set(exported))


def test_prov_is_the_only_name_that_is_ours() -> None:
    import mlflow

    ours = {path.stem for path in (ROOT / "yprov_mlflow").iterdir() if path.suffix in ("", ".py")}
    assert ours - {"__init__", "__main__", "__pycache__"} == {"prov"}
    theirs = {name for _, name, _ in pkgutil.iter_modules(mlflow.__path__)} | set(mlflow.__all__)
    assert "prov" not in theirs
    assert not hasattr(mlflow, "prov")


def test_functions_and_subpackages_of_prov_share_no_name() -> None:
    prov = importlib.import_module("yprov_mlflow.prov")
    submodules = {name for _, name, _ in pkgutil.iter_modules(prov.__path__)}
    assert not submodules & set(prov.__all__)


def test_typed_marker_is_shipped() -> None:
    assert (ROOT / "yprov_mlflow" / "py.typed").is_file()
