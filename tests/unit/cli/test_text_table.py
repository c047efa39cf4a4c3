from __future__ import annotations

from yprov_mlflow.prov.cli.text_table import display_width, table_lines

ROWS = [("resnet", "a" * 12, "1"), ("second run", "b c d e f g", "12")]
COLUMNS = ("name", "id", "points")
RIGHT = (False, False, True)


def test_a_table_that_fits_has_a_line_per_row() -> None:
    assert list(table_lines(COLUMNS, ROWS, RIGHT, 80)) == [
        "name        id            points",
        "resnet      aaaaaaaaaaaa       1",
        "second run  b c d e f g       12",
    ]


def test_cells_are_wrapped_at_spaces_only() -> None:
    lines = list(table_lines(COLUMNS, ROWS, RIGHT, 28))
    assert lines == [
        "name    id            points",
        "resnet  aaaaaaaaaaaa       1",
        "second  b c d e f g       12",
        "run",
    ]


def test_rows_become_blocks_where_words_do_not_fit() -> None:
    lines = list(table_lines(COLUMNS, ROWS, RIGHT, 20))
    assert lines[:4] == ["name    resnet", "id      aaaaaaaaaaaa", "points  1", ""]


def test_cut_cells_keep_a_row_on_one_line() -> None:
    lines = list(table_lines(COLUMNS, ROWS, RIGHT, 26, cut={"name", "id"}))
    assert len(lines) == 3 and "aaaaaaa…" in lines[1]
    assert all(display_width(line) <= 26 for line in lines)


def test_wide_characters_take_two_columns() -> None:
    lines = list(table_lines(("名前", "x"), [("日本", "1")], (False, True), 80))
    assert lines == ["名前  x", "日本  1"]
