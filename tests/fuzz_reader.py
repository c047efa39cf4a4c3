"""Damage journals at random and read them: no crash, no invented event, every damage reported.

Run ``python tests/fuzz_reader.py --count 100000 --seed 1``. Unlike ``damage_journals.py``, which
checks documents, this program checks the reader alone, so that it can try far more damages. It
combines cuts, flips and swaps of bytes and lines with files that are lost, replaced or copied.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from damage_journals import CONTENT_DAMAGES, FILE_DAMAGES

from yprov_mlflow.prov import events
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter, merge

RUN, OTHER = "0" * 32, "1" * 32
SESSIONS = [f"{number:016x}" for number in range(3)]
REUSES = 200  # damages that are tried on the same journals

_TEXTS = ("", "loss", "]1", '"]12345', "a\nb", "\u2028", "ü" * 9, "[" * 40, "x" * 300, "\ud800")
_NUMBERS = (0.0, -1.5, 1e300, float("nan"), float("inf"), 1 / 3)

Call = tuple[type[Event], tuple[Any, ...]]


def any_call(generator: random.Random) -> Call:
    """Return an event's class and its fields, with texts that resemble the ends of lines."""
    text, choice = generator.choice(_TEXTS), generator.randrange(6)
    match choice:
        case 0 | 1:
            count = generator.randrange(1, 5)
            values = [generator.choice(_NUMBERS) for _ in range(count)]
            steps = [generator.randrange(-5, 2**40) for _ in range(count)]
            return events.MetricsLogged, ([text] * count, values, steps, steps)
        case 2:
            return events.ParamsLogged, ({text: generator.choice(_TEXTS)},)
        case 3:
            return events.TagDeleted, (text,)
        case 4:
            return events.RunUpdated, ("FINISHED", generator.randrange(2**41))
        case _:
            return events.StoreCalled, ("method", {"run": text}, {text: 2**70, "x": [text, None]})


class Journals:
    """The journals of two runs in a folder, and the events that were written to them."""

    def __init__(self, state: Path, calls: Mapping[tuple[str, str], list[Call]]) -> None:
        self.state = state
        for (run_id, session), session_calls in calls.items():
            writer = JournalWriter(JournalDirectory(state, run_id), session)
            for cls, fields in session_calls:
                writer.append(cls, *fields)
            writer.close()
        self.folder = JournalDirectory(state, RUN)
        self.events = {key(event): event for event in merge(self.folder.readers()[0])}
        expected = sum(len(part) for (run_id, _), part in calls.items() if run_id == RUN)
        assert len(self.events) == expected

    def check(self, delivered: dict[str, int], before: dict[Path, bytes]) -> list[str]:
        """Return what is wrong with the events that are read after a damage."""
        readers, problems = self.folder.readers()
        read = list(merge(readers))
        problems = [*problems, *(problem for reader in readers for problem in reader.problems)]
        wrong = []
        for event in read:
            # NaN differs from itself, but its text does not.
            if repr(self.events.get(key(event))) != repr(event):
                wrong.append(f"invented: {event}")
        numbers = [key(event) for event in read]
        if len(set(numbers)) < len(numbers):
            wrong.append("an event was read twice")
        if not problems and not _is_untraceable(self.folder, delivered, before):
            wrong.append("no problem was reported")
        # That the last events of a session are missing shows only by the size of the file, which
        # other damage may have restored: then that other damage is reported.
        last = {session: max(n for s, n in numbers if s == session) for session, _ in numbers}
        missing = [
            (session, number)
            for session, number in sorted(self.events.keys() - set(numbers))
            if number < last.get(session, 0)
        ]
        if missing and not any(problem.lost for problem in problems):
            wrong.append(f"events are missing, but no problem says so: {missing}")
        return wrong


def key(event: Event) -> tuple[str, int]:
    """Return the identity of an event in its run."""
    return event.session, event.seq


def _is_untraceable(
    folder: JournalDirectory, delivered: dict[str, int], before: dict[Path, bytes]
) -> bool:
    """Return whether whole lines were cut off the ends of files, and no document had them."""
    after = content(folder.path)
    return not delivered and all(
        path not in after or (text.startswith(after[path]) and after[path].endswith(b"\n"))
        for path, text in before.items()
    )


def content(folder: Path) -> dict[Path, bytes]:
    """Return the content of the journals in a folder; nothing of pipes and links."""
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else b"?"
        for path in sorted(folder.glob("*.journal"))
    }


class Outcome(NamedTuple):
    """The damages that were done together, and what was wrong afterwards."""

    title: str
    wrong: list[str]


def damage(generator: random.Random, journals: Journals) -> Outcome:
    """Do up to three damages to the journals of a run, read them, and restore them."""
    folder = journals.folder
    before = content(folder.path)
    others = sorted(journals.state.glob("journal/*/*.journal"))
    with_mark = generator.random() < 0.5
    if with_mark:
        folder.mark_delivered(folder.sizes())
    names = []
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        path = generator.choice(list(before))
        name = generator.choice(list(CONTENT_DAMAGES))
        # An earlier damage may have left nothing that this one could change.
        try:
            CONTENT_DAMAGES[name](generator, path, [p for p in others if p != path])
            names.append(name)
        except (IndexError, ValueError):
            continue
    if generator.random() < 0.15:
        names.append(generator.choice(list(FILE_DAMAGES)))
        path = generator.choice(list(before))
        FILE_DAMAGES[names[-1]](generator, path, [p for p in others if p != path])
    try:
        unchanged = content(folder.path) == before
        wrong = [] if unchanged else journals.check(folder.delivered(), before)
    except Exception:  # noqa: BLE001 - the reader must not raise, whatever it reads
        wrong = [traceback.format_exc()]
    restore(folder.path, before)
    title = names[0] if len(names) == 1 else f"{len(names)} damages"
    return Outcome(title, [f"{' + '.join(names)}: {text}" for text in wrong])


def restore(folder: Path, before: dict[Path, bytes]) -> None:
    """Give a folder its undamaged journals again, without a mark of delivery."""
    shutil.rmtree(folder)
    folder.mkdir(0o700)
    for path, text in before.items():
        path.write_bytes(text)


def random_journals(generator: random.Random, state: Path) -> Journals:
    """Write journals of up to 15 events for three sessions of a run and one of another."""
    owners = [*((RUN, session) for session in SESSIONS), (OTHER, SESSIONS[0])]
    return Journals(
        state,
        {
            owner: [any_call(generator) for _ in range(generator.randrange(1, 16))]
            for owner in owners
        },
    )


def main() -> int:
    """Damage journals, print what is wrong, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failed: collections.Counter[str] = collections.Counter()
    memory = "/dev/shm"
    root = memory if os.access(memory, os.W_OK) else None
    for first in range(0, options.count, REUSES):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            generator = random.Random(f"{options.seed} {first}")
            journals = random_journals(generator, Path(folder))
            for number in range(first, min(first + REUSES, options.count)):
                generator = random.Random(f"{options.seed} {number} damage")
                title, wrong = damage(generator, journals)
                counts[title] += 1
                failed[title] += bool(wrong)
                for text in wrong:
                    print(f"{number}: {text}", flush=True)
    for title, count in sorted(counts.items()):
        print(f"{count:7} {failed[title]:5} wrong  {title}")
    print(f"seed {options.seed}: {sum(counts.values())} damages, {sum(failed.values())} wrong")
    return int(bool(sum(failed.values())))


if __name__ == "__main__":
    sys.exit(main())
