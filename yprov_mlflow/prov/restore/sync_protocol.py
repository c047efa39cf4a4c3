"""Routes, header and limits between ``yprov-mlflow sync`` and the app ``yprov`` of a server."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

PROTOCOL = 1

ROUTE = "/yprov/sync"
"""GET answers with the protocol; the other routes are below it."""

RUNS = f"{ROUTE}/runs"
"""POST writes a run; GET with its id asks whether the server has it."""

STORE = f"{ROUTE}/store"
"""POST writes records that belong to no single run."""

ARTIFACTS = f"{ROUTE}/artifacts"
"""With kind and id of the owner: POST asks which files are missing, PUT with a path writes one."""

TOKEN_VARIABLE = "YPROV_MLFLOW_SYNC_TOKEN"
"""Environment variable of the server and of the command that has the secret they share."""

TOKEN_HEADER = "X-Yprov-Token"
DIGEST_HEADER = "X-Yprov-Sha256"

MAX_BODY_BYTES = 2**30
"""Size of a record as JSON that a server reads, before compression."""

MAX_FILE_BYTES = 2**26
"""Size of a file that a server takes here; larger ones go by MLflow's own way for artifacts."""


_LEVEL = 5  # of gzip, between speed and size


def pack(content: Any) -> bytes:
    """Return a body: JSON, compressed."""
    return gzip.compress(
        json.dumps(content, separators=(",", ":")).encode("utf-8", "surrogatepass"), _LEVEL
    )


def unpack(body: bytes) -> Any:
    """Return the content of a body.

    Raises:
        OverflowError: It is larger than allowed.
        ValueError: It is not compressed JSON.
    """
    decompressor = zlib.decompressobj(wbits=31)
    try:
        data = decompressor.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise ValueError(f"the body is not compressed with gzip: {error}") from error
    if decompressor.unconsumed_tail:
        raise OverflowError(f"the record has more than {MAX_BODY_BYTES} bytes")
    if not decompressor.eof:
        raise ValueError("the body is incomplete")
    return json.loads(data.decode("utf-8", "surrogatepass"))
