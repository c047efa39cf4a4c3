"""Dictionary-encoded columns."""

from __future__ import annotations

import itertools
from array import array

import pytest

from yprov_mlflow.prov.translate import Coded

VALUES = ("a", "b", None)


@pytest.mark.parametrize("table", itertools.product(VALUES, repeat=3), ids=str)
def test_lookup_gives_the_value_of_each_index(table):
    for indices in itertools.product(range(3), repeat=4):
        column = Coded.lookup(table, array("i", indices))
        expected = [table[index] for index in indices]
        assert list(column) == expected
        assert [column[i] for i in range(4)] == column[:] == expected
        if len(set(table)) > 1:
            assert column.meanings == list(dict.fromkeys(expected))


def test_a_column_has_each_value_once():
    column = Coded.of(["b", None, "b", "a"])
    assert (column.meanings, column.codes) == (["b", None, "a"], array("i", [0, 1, 0, 2]))
    assert Coded.of(column) is column
    assert list(Coded.constant(None, 3)) == [None] * 3


def test_equal_columns_have_equal_representations():
    assert repr(Coded.of(["b", "b"])) == repr(Coded.constant("b", 2)) == "Coded(['b', 'b'])"
