"""Names of all files and folders that this package writes; standard library only."""

from __future__ import annotations

import re

# -- artifacts of a run ----------------------------------------------------------------

PROVENANCE = "provenance"
"""Folder among a run's artifacts that holds its document and metric points."""

DOCUMENT_STEM = "prov"
METRICS_STEM = "metrics"
PROV_JSON = f"{DOCUMENT_STEM}.json"
METRICS_PARQUET = f"{METRICS_STEM}.parquet"

# Documents of other machines are kept beside the current one, under a name with their digest.
OWN_ARTIFACT = re.compile(
    rf"{PROVENANCE}/({DOCUMENT_STEM}(-[0-9a-f]+)?\.json|{METRICS_STEM}(-[0-9a-f]+)?\.parquet)\Z"
)
"""Paths of artifacts that capture writes itself; a run's document does not mention them."""

# -- state folder (YPROV_MLFLOW_DIR) ---------------------------------------------------

JOURNALS = "journal"
"""Folder with one folder of journals for each run."""

JOURNAL_SUFFIX = ".journal"
DELIVERED = "delivered.json"
"""Sizes of the journals that the last document was made from."""

DELIVERY_LOCK = "delivery.lock"
CLAIMS = "claims"
"""Folder of locks: which process of a run measures a node or a device."""

SERVER = "server"
"""Folder with what capture inside ``mlflow server`` writes, laid out like the state folder."""

STORES = "stores"
"""Folder with a document for each store: experiments, registry, and the like."""

# -- output of a conversion ------------------------------------------------------------

STORE_FOLDER = "store"
"""Folder of the document that belongs to no run."""

CONVERSION = ".yprov-convert"
"""Folder in the output for everything that is not output."""

LEDGER = "ledger.jsonl"
CONVERSION_LOCK = "lock"
SCRATCH = "scratch"
"""Folder for files that are not complete yet."""

PARTS = "parts"
"""Folder for documents of runs that become parts of larger ones."""
