"""The seal of a store: which runs it has, each with the digest of its seal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from yprov_mlflow.prov.errors import SealError
from yprov_mlflow.prov.integrity import manifest
from yprov_mlflow.prov.integrity.differences import (
    ADDED,
    CHANGED,
    NO_SEAL,
    REMOVED,
    Difference,
)
from yprov_mlflow.prov.integrity.envelope import opened, signed
from yprov_mlflow.prov.integrity.file_tree import FileDigest
from yprov_mlflow.prov.integrity.manifest import RUNS, Manifest
from yprov_mlflow.prov.integrity.seal_chain import ChainedSeal, SealChain
from yprov_mlflow.prov.integrity.sealing import now
from yprov_mlflow.prov.layout import PRIVATE_FILE

if TYPE_CHECKING:
    from yprov_mlflow.prov.integrity.signing_keys import PrivateKey, PublicKey
    from yprov_mlflow.prov.integrity.verification import Verified


def seal_store(
    chain: SealChain, store: str, seals: Mapping[str, FileDigest], key: PrivateKey
) -> None:
    """Write the seal of a store into the folder of its chain.

    Raises:
        OSError: It cannot be written.
    """
    with chain.turn() as link:
        sealed = Manifest(name=store, time=now(), files=dict(seals), link=link, kind=RUNS)
        content = signed(sealed.statement(), key)
        # Replaced as a whole: a store whose seal is half a file would look changed.
        incomplete = chain.store_seal.with_suffix(".incomplete")
        incomplete.touch(PRIVATE_FILE)
        incomplete.write_bytes(content)
        incomplete.replace(chain.store_seal)
        chain.add(ChainedSeal.of(hashlib.sha256(content).hexdigest(), sealed))


def check_store(
    chain: SealChain, store: str, verified: Mapping[str, Verified], key: PublicKey
) -> Iterator[Difference]:
    """Yield the runs that were removed or added since the store was sealed.

    Args:
        chain: The chain of the store.
        store: UUID of the store.
        verified: The result of the verification of each run of the store.
        key: The key that signed the seal of the store.
    """
    sealed, difference = _open(chain, store, key)
    if difference is not None:
        yield difference
    seals: dict[str, set[str]] = {}
    for line in chain.lines()[0]:
        seals.setdefault(line.run, set()).add(line.seal)
    files = sealed.files if sealed is not None else {}
    for run, file in sorted(files.items()):
        if run not in verified and run not in seals:  # the chain reports those that it has
            yield Difference(REMOVED, f"run {run}", "", "", "the seal of the store has it")
        elif run in verified and file.sha256 not in {*seals.get(run, ()), verified[run].seal}:
            yield Difference(CHANGED, f"run {run}", "", "", "the seal of the store has another")
    for run, result in verified.items():
        is_sealed = all(difference.reason != NO_SEAL for difference in result.differences)
        if not is_sealed and run not in files and run not in seals:
            yield Difference(ADDED, f"run {run}", "", "", NO_SEAL)


def _open(
    chain: SealChain, store: str, key: PublicKey
) -> tuple[Manifest | None, Difference | None]:
    """Return the seal of a store if it has one, and a difference if that cannot be trusted."""
    lines = [line for line in chain.lines()[0] if not line.run]
    name, where = f"store {store}", str(chain.store_seal)
    try:
        content = chain.store_seal.read_bytes()
        sealed = manifest.of_statement(opened(content, where, key), where)
    except FileNotFoundError:
        return None, Difference(REMOVED, name, where, "", NO_SEAL) if lines else None
    except SealError as error:
        return None, Difference(CHANGED, name, where, "", error.what)
    digest = hashlib.sha256(content).hexdigest()
    if sealed.name != store or lines[-1:] != [ChainedSeal.of(digest, sealed)]:
        return sealed, Difference(CHANGED, name, where, "", "the chain has another seal of it")
    return sealed, None
