"""What differs between the code of two runs, line by line, as far as the code was kept.

The collector ``code`` keeps changes since the commit, files that git does not track, and cells of
notebooks. The commit itself is in the repository, so hunks of changes need the same commit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from yprov_mlflow.prov.graph.lookup import about, first, iri, values
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.layout import KEPT_CELLS, KEPT_FILES, KEPT_PATCH, KEPT_SCRIPT

MOST_FILES = 50
MOST_LINES = 120  # of the hunks of a file
_MOST_BYTES = 1 << 20  # of a content
_CONTEXT = 3  # lines, as in git
_SECTION = re.compile(r"^diff --git a/.* b/(.*)$", re.MULTILINE)
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")
_CELLS = "cells of the notebook"

_UNREADABLE = "its content is not kept here"
_OTHER_FORM = "one run has it as a change since the commit, the other as a whole"


class KeptFile(NamedTuple):
    """A kept file: its content by SHA-256, and where it is among the artifacts of its run."""

    run_id: str
    places: tuple[str, ...]
    sha256: str


Read = Callable[[KeptFile], bytes | None]
"""Returns the content of a kept file, None if it is not within reach."""


class CodeChange(NamedTuple):
    """A file that differs between two runs.

    Attributes:
        path: The file, or the cells of a notebook.
        hunks: What differs, as in a unified diff.
        note: Why hunks are missing; empty if they are complete.
    """

    path: str
    hunks: tuple[str, ...]
    note: str = ""


class KeptCode(NamedTuple):
    """The code of a run: its commit and its kept files by their paths."""

    commit: str | None
    files: Mapping[str, KeptFile]


def kept_code(graph: Graph, run_id: str, inputs: Iterable[str]) -> KeptCode:
    """Return the kept code among the inputs of a run."""
    terms = "rdf:type", "mlf:gitCommit", "mlf:keptIn", "prov:hadMember"
    commit, files = None, dict[str, KeptFile]()
    for statements in about(graph, list(inputs), *terms).values():
        if iri("schema:SoftwareSourceCode") not in values(statements.get("rdf:type", ())):
            continue
        commit = first(statements, "mlf:gitCommit") or commit
        folders = values(statements.get("mlf:keptIn", ()))
        members = values(statements.get("prov:hadMember", ()))
        for member in about(graph, members, "mlf:path", "mlf:sha256").values():
            path, sha256 = first(member, "mlf:path"), first(member, "mlf:sha256")
            if path and sha256:
                places = tuple(f"{folder}/{path}" for folder in folders)
                files[path] = KeptFile(run_id, places, sha256)
    return KeptCode(commit, files)


def changes(left: KeptCode, right: KeptCode, read: Read) -> tuple[CodeChange, ...]:
    """Return the files that differ, with their hunks; at most ``MOST_FILES``.

    Args:
        left: The code of a run.
        right: The code of another one.
        read: Reads kept files.
    """
    if left == right:
        return ()
    texts = [_Texts(code, read) for code in (left, right)]
    names = sorted({*texts[0].names(), *texts[1].names()})
    differing = (change for name in names if (change := _change(name, *texts)) is not None)
    listed = list(differing)
    further = len(listed) - MOST_FILES
    if further > 0:
        listed[MOST_FILES:] = [CodeChange(f"{further} more files", (), "the limit is reached")]
    if left.commit and right.commit and left.commit != right.commit:
        command = f"git diff {left.commit[:12]} {right.commit[:12]}"
        listed.append(CodeChange("commit", (), f"in the repository, {command} shows the rest"))
    return tuple(listed)


class _Texts:
    """The kept texts of a run: whole files, and the changes of files since the commit."""

    def __init__(self, code: KeptCode, read: Read) -> None:
        self.commit = code.commit
        self.unreadable: set[str] = set()
        self.sections: dict[str, str] = {}
        self.wholes: dict[str, KeptFile] = {}
        self._read = read
        for path, file in code.files.items():
            name = _name(path)
            if path != KEPT_PATCH:
                self.wholes[name] = file
            elif (text := self.text(file)) is None:
                self.unreadable.add(name)
            else:
                self.sections |= _sections(text)

    def names(self) -> set[str]:
        return {*self.sections, *self.wholes, *self.unreadable}

    def text(self, file: KeptFile) -> str | None:
        content = self._read(file)
        if content is None or len(content) > _MOST_BYTES:
            return None
        return content.decode(errors="replace")


def _name(path: str) -> str:
    """Return the name that people know a kept file by."""
    if path == KEPT_CELLS:
        return _CELLS
    folder, _, inner = path.partition("/")
    return inner if folder in (KEPT_FILES, KEPT_SCRIPT) and inner else path


def _change(name: str, left: _Texts, right: _Texts) -> CodeChange | None:
    if name in left.unreadable | right.unreadable:
        return CodeChange(name, (), _UNREADABLE)
    wholes = left.wholes.get(name), right.wholes.get(name)
    sections = left.sections.get(name, ""), right.sections.get(name, "")
    if any(wholes):
        if any(sections):
            return CodeChange(name, (), _OTHER_FORM)
        return _change_of_whole(name, wholes, left, right)
    if sections[0] == sections[1] and left.commit == right.commit:
        return None
    if left.commit != right.commit:
        return CodeChange(name, (), "it differs from its commit, and the commits are two")
    hunks = [list(_hunks(section)) for section in sections]
    if not any(hunks):
        return CodeChange(name, (), "its mode or its binary content differs")
    base = {number: line for of_side in hunks for hunk in of_side for number, line in hunk.old()}
    last = max(base, default=0)
    versions = [list(_applied(of_side, base, last)) for of_side in hunks]
    return _compared(name, *versions)


def _change_of_whole(
    name: str, wholes: tuple[KeptFile | None, ...], left: _Texts, right: _Texts
) -> CodeChange | None:
    first_file, second_file = wholes
    if first_file is None or second_file is None:
        # The other run may have had it: a module that it imported later is not kept.
        which = "second" if first_file is None else "first"
        return CodeChange(name, (), f"it is kept of the {which} run only")
    if first_file.sha256 == second_file.sha256:
        return None
    before, after = left.text(first_file), right.text(second_file)
    if before is None or after is None:
        return CodeChange(name, (), _UNREADABLE)
    return _compared(name, before.splitlines(), after.splitlines())


# -- changes since a commit ------------------------------------------------------------


class _Hunk(NamedTuple):
    """A hunk of a patch: the number of its first old line, and its lines with their marks."""

    start: int
    lines: tuple[str, ...]

    def old(self) -> Iterator[tuple[int, str]]:
        old_lines = (line[1:] for line in self.lines if line[:1] in (" ", "-"))
        yield from enumerate(old_lines, self.start)


def _sections(patch: str) -> dict[str, str]:
    """Return the changes of each file."""
    starts = list(_SECTION.finditer(patch))
    ends = [match.start() for match in starts[1:]] + [len(patch)]
    return {m[1]: patch[m.start() : end] for m, end in zip(starts, ends, strict=True)}


def _hunks(section: str) -> Iterator[_Hunk]:
    start, lines, left = 0, list[str](), [0, 0]
    for line in section.split("\n"):
        if sum(left) > 0 and line[:1] in (" ", "-", "+"):
            lines.append(line)
            left[0] -= line[:1] != "+"
            left[1] -= line[:1] != "-"
        elif match := _HUNK.match(line):
            if lines:
                yield _Hunk(start, tuple(lines))
            counts = re.findall(r"[-+]\d+(?:,(\d+))?", match[0])
            left = [int(count or 1) for count in counts]
            # With no old line, the hunk comes after the line of this number.
            start, lines = int(match[1]) + (left[0] == 0), []
    if lines:
        yield _Hunk(start, tuple(lines))


def _applied(hunks: Sequence[_Hunk], base: Mapping[int, str], last: int) -> Iterator[str]:
    """Yield the lines of a file with its changes; those that no patch shows are placeholders."""
    number = 1
    for hunk in hunks:
        yield from (_line(base, n) for n in range(number, hunk.start))
        yield from (line[1:] for line in hunk.lines if line[:1] in (" ", "+"))
        number = hunk.start + sum(1 for _ in hunk.old())
    yield from (_line(base, n) for n in range(number, last + 1))


def _line(base: Mapping[int, str], number: int) -> str:
    return base.get(number, f"\0{number}")


def _compared(name: str, left: Sequence[str], right: Sequence[str]) -> CodeChange | None:
    hunks, count = list[str](), 0
    for group in difflib.SequenceMatcher(None, left, right).get_grouped_opcodes(_CONTEXT):
        a, b = group[0], group[-1]
        lines = [f"@@ -{a[1] + 1},{b[2] - a[1]} +{a[3] + 1},{b[4] - a[3]} @@"]
        for kind, left_start, left_end, right_start, right_end in group:
            if kind == "equal":
                shown = left[left_start:left_end]
                lines += [f" {line}" for line in shown if not line.startswith("\0")]
                continue
            lines += [f"-{line}" for line in left[left_start:left_end]]
            lines += [f"+{line}" for line in right[right_start:right_end]]
        further = len(lines) - (MOST_LINES - count)
        if further > 0:
            hunks.append("\n".join(lines[: MOST_LINES - count]))
            return CodeChange(name, tuple(hunks), f"more than {MOST_LINES} lines differ")
        hunks.append("\n".join(lines))
        count += len(lines)
    return CodeChange(name, tuple(hunks)) if hunks else None
