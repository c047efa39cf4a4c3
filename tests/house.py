"""Measure the house rules of the package: language, names, size, structure.

Run ``python tests/house.py [ROOT]`` for a table; ``tests/unit/test_house_rules.py`` holds the
limits. ROOT is a checkout; by default the one that has this file.
"""

from __future__ import annotations

import ast
import collections
import io
import itertools
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)

OPENING = re.compile(r"(Give|Tell|Say|Name the)\b")
"""Verbs that hide what a function does: *Return* and *Return whether* say it."""

HEADLESS = re.compile(
    r"(^|[.;:,(] ?)What (a|an|the|is|was|it|has|had|no|others?|cannot|they|else|such)\b"
    r"|\b(of|with|for|to|by|from|on|in|and|that|gives?|says?|takes?|keep|has|have|is|are|as)"
    r" what (a|an|the|is|was|it|they|has|had|no|else|can|cannot|may|others?|there|this|could)\b"
)
"""*What* as a noun phrase without a head, where the thing has a name."""

NEGATION = re.compile(r"\b(is|are|was|were|be|has|have) (no|none)\b(?! longer| more than)")
"""*is no list* for *is not a list*."""

ARCHAIC = re.compile(
    r"\b(told|spelt|begun|anew|aside|nobody|likewise|shall|whoever|whatever|wherever|lest|ought"
    r"|thereby|therein|hither)\b",
    re.IGNORECASE,
)
"""Words that nobody uses in technical prose."""

HEADLESS_PERSON = re.compile(r"\b[Ww]ho (reads?|ends?|writes?|asks?|opens?|logs?|made|calls?)\b")
BRITISH = re.compile(
    r"\b(colour|behaviour|neighbour|licence|catalogue|centre|\w+[lr]isation|\w+alis(e|ed|es|ing)"
    r"|serialis\w+|normalis\w+|organis\w+|recognis\w+|data sets?|time stamps?|name spaces?)\b",
    re.IGNORECASE,
)
"""American spelling, and the compounds of MLflow and PROV: dataset, timestamp, namespace."""

DIALECT = {
    "opening": re.compile(rf"^{OPENING.pattern}"),
    "headless what": HEADLESS,
    "is no": NEGATION,
    "archaic": ARCHAIC,
    "headless person": HEADLESS_PERSON,
    "spelling": BRITISH,
}

PROSE = {name: DIALECT[name] for name in ("archaic", "spelling")}
"""Rules for comments, messages and pages, whose sentences have other subjects than functions."""

PLACEHOLDERS = frozenset("found given told one known place taken rest another held".split())
"""Names that say how a value came about and not what it is."""

LIVES_LONG = 3
"""Lines from which on a placeholder name is a defect."""

LAZY_FACES = frozenset({"yprov_mlflow", "yprov_mlflow.prov", "yprov_mlflow.prov.capture.dropin"})
"""Modules that import others of ours by name, on first use."""

MAY_REPEAT = 8
"""Module names that may stand in more than one package."""


class Module(NamedTuple):
    """One file of the package."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")


def modules(root: Path) -> list[Module]:
    """Return the modules of ``root/yprov_mlflow``, sorted by path."""
    result = []
    for path in sorted((root / "yprov_mlflow").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        text = path.read_text("utf-8")
        result.append(Module(name, path, text, ast.parse(text)))
    return result


def docstrings(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, and of each string below an assignment."""
    for node in ast.walk(module.tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text
    for body in (
        module.tree.body,
        *(n.body for n in module.tree.body if isinstance(n, ast.ClassDef)),
    ):
        for before, node in itertools.pairwise(body):
            text = getattr(getattr(node, "value", None), "value", None)
            assigned = isinstance(before, ast.Assign | ast.AnnAssign)
            if assigned and isinstance(node, ast.Expr) and isinstance(text, str):
                yield node.lineno, text


def comments(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def messages(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of string literals that read like prose: two spaces or more."""
    skip = {id(getattr(n, "value", None)) for n in ast.walk(module.tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(module.tree):
        if (
            not isinstance(node, ast.Constant)
            or not isinstance(node.value, str)
            or id(node) in skip
        ):
            continue
        if node.value.count(" ") >= 2 and not re.search(r"\b(SELECT|FROM)\b", node.value):
            yield node.lineno, node.value


def dialect(text: str, rules: Mapping[str, re.Pattern[str]] = DIALECT) -> list[str]:
    """Return the rules of plain English that a text breaks."""
    return [name for name, pattern in rules.items() if pattern.search(text)]


def assigned_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield name and line of each assigned variable and each parameter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, FUNCTIONS):
            for argument in (*node.args.args, *node.args.kwonlyargs):
                yield argument.arg, argument.lineno


def long_placeholders(module: Module) -> Iterator[tuple[int, str]]:
    """Yield placeholder names whose last use is more than ``LIVES_LONG`` lines away."""
    for function in (n for n in ast.walk(module.tree) if isinstance(n, FUNCTIONS)):
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for name, line in assigned_names(function):
            if name in PLACEHOLDERS:
                first[name] = min(line, first.get(name, line))
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in first:
                last[node.id] = max(node.lineno, last.get(node.id, 0))
        for name, line in first.items():
            if last.get(name, line) - line > LIVES_LONG:
                yield line, name


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions and methods."""
    yield from (node for node in ast.walk(module.tree) if isinstance(node, FUNCTIONS))


def broad_handlers(module: Module) -> int:
    """Return the number of handlers of ``Exception``, ``BaseException`` or everything."""
    return sum(
        node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
    )


def inner_imports(module: Module) -> int:
    """Return the number of import statements inside functions."""
    return sum(
        isinstance(node, ast.Import | ast.ImportFrom)
        for function in functions(module)
        for node in ast.walk(function)
    )


def imports_of_ours_by_name(module: Module) -> Iterator[int]:
    """Yield lines that import a module of the package by a string."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            call = ast.unparse(node)
            if "yprov_mlflow" in call or "__package__" in call or "__name__" in call:
                yield node.lineno


def import_graph(package: list[Module]) -> dict[str, set[str]]:
    """Return for each module those it imports: at the top, in functions, or by a string.

    Imports for type checkers do not count, nor do the lazy faces of the package.
    """
    names = {module.name for module in package}
    graph: dict[str, set[str]] = {}
    for module in package:
        targets = graph.setdefault(module.name, set())
        if module.name in LAZY_FACES:
            continue
        unchecked = {
            id(child)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for child in ast.walk(node)
        }
        for node in ast.walk(module.tree):
            if id(node) in unchecked:
                continue
            if isinstance(node, ast.ImportFrom) and node.module in names:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    targets.add(full if full in names else node.module)
            elif isinstance(node, ast.Constant) and node.value in names:
                targets.add(node.value)
        targets.discard(module.name)
    return graph


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components with more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                result.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return result


def repeated_names(package: list[Module]) -> list[str]:
    """Return the module names that occur in more than one package."""
    stems = collections.Counter(m.path.stem for m in package if m.path.stem != "__init__")
    return sorted(name for name, count in stems.items() if count > 1)


def figures(root: Path) -> dict[str, float]:
    """Return the figures of the house for one checkout."""
    package = modules(root)
    lines = sum(module.lines for module in package)
    texts = [text for module in package for _, text in docstrings(module)]
    names = [name for module in package for name, _ in assigned_names(module.tree)]
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for module in package
        for node in functions(module)
        if node.end_lineno
    )
    typed = [node.returns is not None for module in package for node in functions(module)]
    return {
        "lines": lines,
        "modules": sum(module.path.stem != "__init__" for module in package),
        "dialect, % of docstrings": 100 * sum(bool(dialect(t)) for t in texts) / len(texts),
        "placeholder names, %": 100 * sum(n in PLACEHOLDERS for n in names) / len(names),
        "comments, % of lines": 100 * sum(len(list(comments(m))) for m in package) / lines,
        "typed returns, %": 100 * sum(typed) / len(typed),
        "function length, p95": lengths[int(len(lengths) * 0.95)],
        "function length, maximum": lengths[-1],
        "broad excepts per 1,000 lines": 1000 * sum(map(broad_handlers, package)) / lines,
        "imports in functions per 1,000 lines": 1000 * sum(map(inner_imports, package)) / lines,
        "module names used more than once": len(repeated_names(package)),
        "import cycles": len(cycles(import_graph(package))),
    }


if __name__ == "__main__":
    for name, value in figures(
        Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1]
    ).items():
        print(f"{value:10.1f}  {name}" if isinstance(value, float) else f"{value:10}  {name}")
