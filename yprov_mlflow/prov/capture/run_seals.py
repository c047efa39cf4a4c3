"""Seals of the runs of a tracking store, and their verification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mlflow
from mlflow.entities import ViewType

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.delivery import locked
from yprov_mlflow.prov.capture.recovery import get_run, open_store
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.integrity.differences import Difference
from yprov_mlflow.prov.integrity.file_tree import FileDigest, FileTree, FolderTree
from yprov_mlflow.prov.integrity.seal_chain import ChainedSeal, SealChain, check_chain
from yprov_mlflow.prov.integrity.sealing import Sealable, seal, seal_digest
from yprov_mlflow.prov.integrity.store_seal import check_store, seal_store
from yprov_mlflow.prov.integrity.verification import Verified, verify
from yprov_mlflow.prov.journal import JournalDirectory, Opener
from yprov_mlflow.prov.layout import PROVENANCE, SERVER, temporary_folder

if TYPE_CHECKING:
    from yprov_mlflow.prov.integrity.signing_keys import PrivateKey, PublicKey

_PAGE = 1000


class ArtifactTree:
    """The artifacts of a run that are not in a local folder."""

    def __init__(self, artifacts: RunArtifacts) -> None:
        self._artifacts = artifacts

    def names(self) -> list[str]:
        """Return the paths of all artifacts, sorted."""
        return self._artifacts.paths()

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield the path of a copy of an artifact.

        Raises:
            OSError: It cannot be downloaded.
        """
        with temporary_folder() as out:
            try:
                path = self._artifacts.download(name, str(out))
            except Exception as error:  # each artifact repository raises errors of its own
                if name not in self.names():
                    raise FileNotFoundError(name) from error
                raise OSError(None, f"it cannot be downloaded: {error}") from error
            yield path

    def put(self, name: str, content: bytes) -> None:
        """Upload a file of the ``provenance`` folder."""
        with temporary_folder() as out:
            path = out / Path(name).name
            path.write_bytes(content)
            self._artifacts.put([path])


class SealedRun(NamedTuple):
    """The seal of a run that was made or found.

    Args:
        run_id: The run.
        state: ``"sealed"``, or ``"current"`` if its seal is as it would be made now.
        sha256: Digest of the seal.
        note: What may be wrong with the document that was sealed.
    """

    run_id: str
    state: str
    sha256: str
    note: str


class SealedStore:
    """A tracking store whose runs are sealed or verified.

    Args:
        tracking_uri: The store; by default MLflow's current one.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        capture = process.get()
        self._state = settings.load().directory
        with capture.uncaptured():
            self._store = open_store(tracking_uri or str(mlflow.get_tracking_uri()))
            self.uuid = capture.store_reference(self._store)["uuid"]
        self.chain = SealChain(self._state, self.uuid)

    def runs(self, experiment: str | None = None) -> list[str]:
        """Return the ids of all runs, deleted ones as well, of an experiment or the whole store."""
        with process.get().uncaptured():
            ids = [self.experiment_id(experiment)] if experiment else [*self._experiments()]
            return [run_id for each in ids for run_id in self._runs_of(each)]

    def experiment_id(self, experiment: str) -> str:
        """Return the id of an experiment from its name or id."""
        match = self._store.get_experiment_by_name(experiment)
        if match is None:
            match = self._store.get_experiment(experiment)
        return str(match.experiment_id)

    def _experiments(self) -> Iterator[str]:
        for page in _pages(
            lambda token: self._store.search_experiments(ViewType.ALL, _PAGE, page_token=token)
        ):
            yield from (str(experiment.experiment_id) for experiment in page)

    def _runs_of(self, experiment: str) -> Iterator[str]:
        for page in _pages(
            lambda token: self._store.search_runs(
                [experiment], "", ViewType.ALL, _PAGE, None, token
            )
        ):
            yield from (str(run.info.run_id) for run in page)

    def seal_run(self, run_id: str, key: PrivateKey, *, again: bool = False) -> SealedRun:
        """Seal a run, unless its seal is by this key and nothing has changed.

        Raises:
            RunNotFoundError: The store does not contain the run.
            SealError: The artifacts have a link.
        """
        folders = self._folders(run_id)
        with process.get().uncaptured(), ExitStack() as stack:
            # A document must not be replaced while it is sealed.
            for folder in folders:
                stack.enter_context(locked(folder))
            thing = self._sealable(run_id, folders)
            note = _note(thing, folders)
            if not again:
                result = verify(thing, key.public)
                if not result.differences and run_id in self.chain.latest():
                    return SealedRun(run_id, "current", result.seal, note)
            # The turn lasts until the line is written, or two seals would have one position.
            link = stack.enter_context(self.chain.turn())
            made = seal(thing, key, link)
            self.chain.add(ChainedSeal.of(made.sha256, made.manifest))
        return SealedRun(run_id, "sealed", made.sha256, note)

    def seal_store(self, runs: Sequence[str], key: PrivateKey) -> None:
        """Seal the list of runs, each of which has a seal of its own."""
        # The digest of a seal is enough: each seal is verified with its own run.
        seals = {}
        with process.get().uncaptured():
            for run_id in runs:
                if sha256 := seal_digest(self._sealable(run_id, ())):
                    seals[run_id] = FileDigest(sha256, 0)
        seal_store(self.chain, self.uuid, seals, key)

    def verify_run(self, run_id: str, key: PublicKey) -> Verified:
        """Compare a run with its seal.

        Raises:
            RunNotFoundError: The store does not contain the run.
        """
        with process.get().uncaptured():
            return verify(self._sealable(run_id, self._folders(run_id)), key)

    def check_chain(
        self, verified: Mapping[str, Verified], key: PublicKey, experiment: str | None = None
    ) -> list[Difference]:
        """Compare the runs of the store with the chain, and with the seal of the store."""
        if experiment:
            return [*check_chain(self.chain, verified, self.experiment_id(experiment))]
        store = check_store(self.chain, self.uuid, verified, key)
        return [*check_chain(self.chain, verified), *store]

    def _folders(self, run_id: str) -> list[JournalDirectory]:
        roots = (self._state, self._state / SERVER)
        folders = [JournalDirectory(root, run_id, root=self._state) for root in roots]
        return [folder for folder in folders if folder.exists()]

    def _sealable(self, run_id: str, folders: Sequence[JournalDirectory]) -> Sealable:
        run = get_run(self._store, run_id)
        artifacts = RunArtifacts(self._store, run)
        root = artifacts.local_root()
        tree: FileTree = ArtifactTree(artifacts) if root is None else FolderTree(root)
        journals: dict[str, Sequence[Opener]] | None = None
        for folder in folders:
            journals = {**folder.openers(), **(journals or {})}
        experiment = str(run.info.experiment_id)
        return Sealable(run_id, tree, f"{PROVENANCE}/", journals, experiment)


def _pages(search: Any) -> Iterator[Any]:
    """Yield the pages of a search of a store."""
    token = None
    while True:
        page = search(token)
        yield page
        token = page.token
        if not token:
            return


def _note(thing: Sealable, folders: Sequence[JournalDirectory]) -> str:
    """Return what may be wrong with the document of a run that is sealed."""
    if not any(name.startswith(thing.prefix) for name in thing.tree.names()):
        return "it has no document; `yprov-mlflow convert` makes one of any run"
    if any(folder.delivered() and not folder.is_current() for folder in folders):
        return "its journal is newer than its document; run `yprov-mlflow recover`, and seal again"
    return ""
