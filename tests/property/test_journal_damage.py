"""The reader of journals believes no damage and reports all; see ``tests/fuzz_reader.py``.

``python tests/fuzz_reader.py --count 100000`` tries more.
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import fuzz_reader
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yprov_mlflow.prov.journal import JournalDirectory, packing


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 2**32), min_size=1, max_size=12))
def test_random_damage_is_reported_and_never_believed(seed: int, damages: list[int]) -> None:
    with TemporaryDirectory() as folder:
        journals = fuzz_reader.random_journals(random.Random(seed), Path(folder))
        for number in damages:
            outcome = fuzz_reader.damage(random.Random(number), journals)
            assert outcome.wrong == []


@pytest.fixture(scope="module")
def packed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[fuzz_reader.Journals, Path, bytes]:
    """Return packed journals, and the path and content of the pack."""
    state = tmp_path_factory.mktemp("state")
    journals = fuzz_reader.random_journals(random.Random(1), state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_NOTICED_S", 0.0)
        packing.pack(state, list(JournalDirectory.all(state)), state)
    (path,) = state.glob("packs/*.zip")
    return journals, path, path.read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_damage_of_a_pack_is_reported_and_never_believed(
    data: st.DataObject, packed: tuple[fuzz_reader.Journals, Path, bytes]
) -> None:
    journals, path, content = packed
    damaged = bytearray(content)
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "zeros"])):
        case "flip":
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del damaged[place:]
        case "zeros":
            damaged[place : place + 100] = bytes(len(damaged[place : place + 100]))
    path.write_bytes(damaged)
    readers, problems = journals.folder.readers()
    read = [event for reader in readers for event in reader]
    problems += [problem for reader in readers for problem in reader.problems]
    for event in read:
        assert repr(journals.events.get(fuzz_reader.key(event))) == repr(event)
    if len(read) < len(journals.events):
        assert any(problem.lost for problem in problems)
