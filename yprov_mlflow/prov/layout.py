"""Names of all files and folders that this package writes, and who may read them.

Standard library only. The state folder is for its owner alone. The output of a conversion is for
sharing: the user's umask decides its modes.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# -- artifacts of a run ----------------------------------------------------------------

PROVENANCE = "provenance"
"""Folder among a run's artifacts that holds its document and metric points."""

DOCUMENT_STEM = "prov"
METRICS_STEM = "metrics"
PROV_JSON = f"{DOCUMENT_STEM}.json"
METRICS_PARQUET = f"{METRICS_STEM}.parquet"

SOURCE_CODE = "source_code"
"""Folder among a run's artifacts for files that ``log_source_code`` logs."""

KEPT_CODE = "code"
"""Folder in the folder of the document for the code of the run, in a folder by its digest."""

KEPT_PATCH = "changes.patch"
KEPT_FILES = "files"
KEPT_SCRIPT = "script"
"""Folder for a script that is outside the repository of its working directory."""

KEPT_CELLS = "notebook.ipy"

REPORT = "report.html"
"""File beside the document that shows the run to people."""

PROFILE = "yprov4ml"
"""Folder in the folder of the document for the profile of a captured run; its name as well."""

SEAL = "seal.json"
"""Signed list of the files of a run or folder, beside the document."""

SEAL_DIGESTS = "seal-digests.parquet"
"""A digest of each record, point and event that the seal covers, to name those that changed."""

# Documents of other machines are kept beside the current one, under a name with their digest.
OWN_ARTIFACT = re.compile(
    rf"{PROVENANCE}/({DOCUMENT_STEM}(-[0-9a-f]+)?\.json|{METRICS_STEM}(-[0-9a-f]+)?\.parquet"
    rf"|{re.escape(REPORT)}|{re.escape(SEAL)}|{re.escape(SEAL_DIGESTS)}"
    rf"|({PROFILE}|{KEPT_CODE})/.*)\Z",
    re.DOTALL,
)
"""Paths of artifacts that capture writes itself; a run's document does not mention them."""

# -- state folder (YPROV_MLFLOW_DIR) ---------------------------------------------------

JOURNALS = "journal"
"""Folder with one folder of journals for each run."""

JOURNAL_SUFFIX = ".journal"
DELIVERED = "delivered.json"
"""Sizes of the journals that the last document was made from."""

SENT = "sent.json"
"""By sink, the sizes of the journals that the last document sent to it was made from."""

DELIVERY_LOCK = "delivery.lock"
DELIVERY_REQUEST = "delivery.requested"
"""Mark by a process that has ended a run while another one writes the run's document."""

RANKS = "ranks"
"""Folder with an empty file for each rank that has joined a run; see ``capture.rendezvous``."""

BY_CLIENT = "delivered-by-client"
"""Mark in a server's journals of a run: its client delivers the document itself."""

PACKS = "packs"
"""Folder with the journals of finished runs, many in one file (see ``journal/packs.py``)."""

PACK_SUFFIX = ".zip"
PACK_LOCK = "lock"

CLAIMS = "claims"
"""Folder of locks: which process of a run measures a node or a device."""

PEERS = "measuring"
"""Folder with a folder for each machine, and in it a file for each process that measures runs."""

RENDEZVOUS = "rendezvous"
"""Folder with a record for each run that the ranks of a job agreed on."""

SYNC = "sync"
"""Folder of synchronization: its lock, and the ledger of the journals that stores have."""

SYNC_LOCK = "lock"

ALIVE = "alive"
"""Folder with a heartbeat: a file of each process with open runs, until it exits in order."""

KEPT = "kept"
"""Folder with the code of runs, each content under its SHA-256, until it is among artifacts."""

SERVER = "server"
"""Folder with what capture inside ``mlflow server`` writes, laid out like the state folder."""

STORES = "stores"
"""Folder with a document for each store: experiments, registry, and the like."""

SEALS = "seals"
"""Folder with a folder for each store whose runs were sealed here, with their chain."""

SEAL_CHAIN = "chain.jsonl"
STORE_SEAL = "store-seal.json"

STAGING = "staging"
"""Folder with a copy of each remote output of a conversion."""

INDEX = "index"
"""Folder with the graph of all documents that questions are put to."""

GRAPH = "graph"
"""Folder in the index: the store of pyoxigraph."""

INDEX_LOCK = "index.lock"
"""File in the index that a process locks while it writes to the graph."""

INCOMING = "incoming"
"""Folder in the index for documents that are not in the graph yet, one file for each run."""

TAKEN = "taken"
"""Folder in the index for those that a process is about to add."""

OFFLINE = "offline"
"""Folder in an offline store for files about the store itself.

It is not among the folders of the state folder: a folder that has it may be shared with others, and
keeps its modes.
"""

OFFLINE_STORE = "store.json"
OFFLINE_ARTIFACTS = "artifacts"

PRIVATE_FILE = 0o600
_OTHERS = 0o077  # the rights of group and others
_STATE_FOLDERS = frozenset(
    {ALIVE, INDEX, JOURNALS, KEPT, PACKS, PEERS, RENDEZVOUS, SEALS, SERVER, STORES, STAGING, SYNC}
)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new temporary folder, for work that a thread may do while the process exits."""
    # Not a TemporaryDirectory: an exit removes those that are in use.
    folder = tempfile.mkdtemp(prefix="yprov-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def private_folder(folder: Path, root: Path) -> None:
    """Create a folder in the state folder ``root`` that only its owner can read.

    Group and others also lose their rights to existing folders if these belong to this user. A
    folder with files of other programs keeps its modes, and only ``folder`` and the folders above
    it are private in it.

    Raises:
        OSError: The folder cannot be created.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    parts = folder.relative_to(root).parts
    for path in (root.joinpath(*parts[:count]) for count in range(len(parts) + 1)):
        try:
            path.mkdir(0o700)
        except FileExistsError:
            with suppress(OSError):
                if path not in (root, root / SERVER):
                    _withdraw(path)
                elif _STATE_FOLDERS.issuperset(os.listdir(path)) and _withdraw(path.resolve()):
                    for inside in path.rglob("*"):
                        _withdraw(inside)


def _withdraw(path: Path) -> bool:
    """Take the rights of group and others to a folder or file away; return whether they had any."""
    status = path.lstat()
    if status.st_uid != os.geteuid() or not status.st_mode & _OTHERS:
        return False
    is_plain = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    # The sticky bit is for folders with temporary files of all users, as /tmp is.
    if not is_plain or status.st_mode & stat.S_ISVTX:
        return False
    path.chmod(status.st_mode & 0o7700)
    return True


# -- output of a conversion ------------------------------------------------------------

STORE_FOLDER = "store"
"""Folder of the document that belongs to no run."""

CONVERSION = ".yprov-convert"
"""Folder in the output for everything that is not output."""

LEDGER = "ledger.jsonl"
CONVERSION_LOCK = "lock"
SCRATCH = "scratch"
"""Folder for files that are not complete yet."""

INDEX_CSV = "index.csv"
README = "README.md"
"""Files at the top of the output: its runs as a table, and a description."""

PARTS = "parts"
"""Folder for documents of runs that become parts of larger ones."""
