"""What differs between the kept code of two runs."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.graph.code_changes import MOST_LINES, CodeChange, KeptCode, KeptFile, changes

COMMIT, LATER = "1" * 40, "2" * 40


class Contents(dict[str, bytes]):
    """Contents by SHA-256, and the codes of runs that have them."""

    def code(self, commit: str | None = COMMIT, **files: str) -> KeptCode:
        kept = {}
        for path, text in files.items():
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            self[sha256] = text.encode()
            kept[path] = KeptFile("a" * 32, (), sha256)
        return KeptCode(commit, kept)

    def changes(self, left: KeptCode, right: KeptCode) -> tuple[CodeChange, ...]:
        return changes(left, right, lambda file: self.get(file.sha256))


def patch(base: Sequence[str], changed: Sequence[str], path: str = "train.py") -> str:
    """Return what ``git diff`` prints."""
    lines = list(difflib.unified_diff(base, changed, f"a/{path}", f"b/{path}", lineterm=""))
    return "\n".join([f"diff --git a/{path} b/{path}", *lines, ""]) if lines else ""


def applied(hunks: Sequence[str], left: Sequence[str]) -> list[str]:
    """Return the file that hunks turn another one into; they must fit it."""
    result, position = list[str](), 0
    for hunk in hunks:
        head, *lines = hunk.split("\n")
        match = re.fullmatch(r"@@ -(\d+),(\d+) \+\d+,\d+ @@", head)
        assert match
        start = int(match[1]) - 1
        # Context that no patch shows is not printed.
        hidden = int(match[2]) - sum(line[0] != "+" for line in lines)
        for skip in range(hidden + 1):
            old = [line[1:] for line in lines if line[0] != "+"]
            if left[start + skip : start + skip + len(old)] == old:
                break
        else:
            raise AssertionError("the hunk does not fit")
        result += left[position : start + skip]
        result += [line[1:] for line in lines if line[0] != "-"]
        position = start + skip + len(old)
    return result + list(left[position:])


LINES = st.lists(st.sampled_from(["a", "b", "c", "    d", "--- e", "@@ f", "diff"]), max_size=30)


@given(LINES, LINES, LINES)
def test_hunks_turn_one_changed_file_into_the_other(
    base: list[str], left: list[str], right: list[str]
) -> None:
    contents = Contents()
    codes = [
        contents.code(**({"changes.patch": text} if (text := patch(base, side)) else {}))
        for side in (left, right)
    ]
    result = contents.changes(*codes)
    if left == right:
        assert result == ()
        return
    (change,) = result
    assert change.path == "train.py" and not change.note
    assert applied(change.hunks, left) == right


def test_a_change_that_one_run_lacks_is_shown_either_way() -> None:
    contents = Contents()
    before = [f"line {number}" for number in range(40)]
    after = [*before[:20], "new", *before[21:]]
    changed = contents.code(**{"changes.patch": patch(before, after)})
    (there,) = contents.changes(contents.code(), changed)
    (back,) = contents.changes(changed, contents.code())
    assert "-line 20\n+new" in there.hunks[0]
    assert "-new\n+line 20" in back.hunks[0]
    assert there.hunks[0].startswith("@@ -18,7 +18,7 @@")


def test_untracked_files_and_cells_are_compared_as_a_whole() -> None:
    contents = Contents()
    left = contents.code(None, **{"files/a.py": "x = 1\n", "notebook.ipy": "1\n", "files/b.py": ""})
    right = contents.code(None, **{"files/a.py": "x = 2\n", "notebook.ipy": "1\n2\n"})
    assert contents.changes(left, right) == (
        CodeChange("a.py", ("@@ -1,1 +1,1 @@\n-x = 1\n+x = 2",)),
        CodeChange("b.py", (), "it is kept of the first run only"),
        CodeChange("cells of the notebook", ("@@ -1,1 +1,2 @@\n 1\n+2",)),
    )


def test_between_commits_only_the_repository_knows() -> None:
    contents = Contents()
    text = patch(["a"], ["b"])
    left = contents.code(**{"changes.patch": text})
    right = contents.code(LATER, **{"changes.patch": text})
    result = contents.changes(left, right)
    assert [(c.path, c.hunks) for c in result] == [("train.py", ()), ("commit", ())]
    assert f"git diff {COMMIT[:12]} {LATER[:12]}" in result[1].note


@pytest.mark.parametrize("path", ["files/a.py", "changes.patch"])
def test_what_is_not_within_reach_is_said(path: str) -> None:
    contents = Contents()
    left, right = contents.code(**{path: "1"}), contents.code(**{path: "2"})
    contents.clear()
    (change,) = contents.changes(left, right)
    assert (change.hunks, change.note) == ((), "its content is not kept here")


def test_hunks_are_bounded() -> None:
    contents = Contents()
    left = contents.code(**{"files/a.py": "x"})
    right = contents.code(**{"files/a.py": "\n".join(map(str, range(10 * MOST_LINES)))})
    (change,) = contents.changes(left, right)
    assert len("\n".join(change.hunks).split("\n")) == MOST_LINES
    assert change.note == f"more than {MOST_LINES} lines differ"
