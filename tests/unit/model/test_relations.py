"""PROV's table of relations, and that no other module has a second one."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import prov.model
import pytest
from prov.constants import PROV_N_MAP

from yprov_mlflow.prov.model.relations import ELEMENTS, FORMAL, KINDS, UNNAMED

PACKAGE = Path(importlib.util.find_spec("yprov_mlflow").origin).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# Names that attributes of only one or two relations have, and hardly anything else.
DISTINCTIVE = frozenset(
    "generatedEntity usedEntity informed informant trigger starter ender delegate responsible"
    " influencee influencer specificEntity generalEntity alternate1 alternate2".split()
)


def module_level(tree):
    """Yield the nodes outside functions; classes count, as their bodies may hold a table."""
    ahead = list(tree.body)
    while ahead:
        node = ahead.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            ahead.extend(ast.iter_child_nodes(node))


def attributes_of_relations(tree):
    """Return the attributes of relations in the module-level strings of a module."""
    return {
        word
        for node in module_level(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in DISTINCTIVE.intersection(re.findall(r"\w+", node.value))
    }


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('A = {"wasInfluencedBy": ("prov:influencee", "prov:influencer")}', 2),
        ('A = ["starter activity ?", f("prov:delegate")]', 2),
        ('class A:\n    B = "prov:trigger"', 1),
        ('def f():\n    return "prov:trigger"', 0),
    ],
)
def test_scan_counts_attributes_outside_functions(source, count):
    assert len(attributes_of_relations(ast.parse(source))) == count


def test_no_other_module_has_a_table_of_relations():
    tables = [
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if len(attributes_of_relations(ast.parse(path.read_text("utf-8")))) >= 3
    ]
    assert tables == ["prov/model/relations.py"]


def test_table_agrees_with_the_prov_library():
    classes = {
        PROV_N_MAP[cls._prov_type]: cls
        for cls in vars(prov.model).values()
        if isinstance(cls, type) and getattr(cls, "_prov_type", None) in PROV_N_MAP
    }
    assert KINDS.keys() == classes.keys()
    for section, cls in classes.items():
        theirs = {str(attribute) for attribute in cls.FORMAL_ATTRIBUTES}
        assert set(FORMAL[section]) == theirs, section


def test_rows_of_the_table_are_complete():
    for section, kind in KINDS.items():
        parallel = (kind.roles, kind.required, kind.fixed, kind.properties)
        assert {len(column) for column in parallel} == {len(kind.formals)}, section
        assert set(kind.roles) <= {*ELEMENTS, ""}
        # Readers of PROV-N rely on required attributes coming first.
        assert list(kind.required) == sorted(kind.required, reverse=True)
        if kind.formals and section not in UNNAMED:
            assert kind.properties[0] == "" and all(kind.properties[1:])
