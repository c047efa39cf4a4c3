"""Columns of few different values."""

from __future__ import annotations

import itertools
from array import array

import pytest

from yprov_mlflow.prov.translate import Coded

VALUES = ("a", "b", None)


@pytest.mark.parametrize("found", itertools.product(VALUES, repeat=3), ids=str)
def test_what_is_looked_up_is_what_it_says(found):
    for numbers in itertools.product(range(3), repeat=4):
        column = Coded.looked_up(found, array("i", numbers))
        told = [found[number] for number in numbers]
        assert list(column) == told
        assert [column[place] for place in range(4)] == column[:] == told
        if len(set(found)) > 1:
            assert column.meanings == list(dict.fromkeys(told))


def test_a_column_of_values_has_each_once():
    column = Coded.of(["b", None, "b", "a"])
    assert (column.meanings, column.codes) == (["b", None, "a"], array("i", [0, 1, 0, 2]))
    assert Coded.of(column) is column
    assert list(Coded.constant(None, 3)) == [None] * 3


def test_equal_columns_look_the_same():
    assert repr(Coded.of(["b", "b"])) == repr(Coded.constant("b", 2)) == "Coded(['b', 'b'])"
