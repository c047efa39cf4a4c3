"""DSSE envelopes of in-toto statements, in a bundle of Sigstore as a JSON file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov.errors import SealError

if TYPE_CHECKING:
    from yprov_mlflow.prov.integrity.signing_keys import PrivateKey, PublicKey

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"


def signed(statement: Mapping[str, Any], key: PrivateKey) -> bytes:
    """Return the bundle with a statement and its signature.

    The order of the keys is kept: some programs hash the payload as it is.
    """
    payload = json.dumps(statement, ensure_ascii=True, separators=(",", ":")).encode()
    signature = key.sign(_pre_authentication(_PAYLOAD, payload))
    envelope = {
        "payload": _text(payload),
        "payloadType": _PAYLOAD,
        "signatures": [{"sig": _text(signature), "keyid": ""}],
    }
    material = {"publicKey": {"hint": key.public.fingerprint}, "tlogEntries": []}
    bundle = {"mediaType": _BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}
    # No timestamp of a log: nothing is sent anywhere, and the key is local.
    return json.dumps(bundle, indent=2).encode() + b"\n"


def opened(content: bytes, where: str, key: PublicKey) -> dict[str, Any]:
    """Return the statement in a bundle.

    Raises:
        SealError: The content is not such a bundle, or ``key`` has not signed it.
    """
    payload, payload_type, signatures = _parts(content, where)
    message = _pre_authentication(payload_type, payload)
    # Before anything in it is read: until then, the payload may be of anyone.
    if not any(key.verifies(signature, message) for signature in signatures):
        raise SealError.not_signed(where, key.fingerprint, hint(content))
    try:
        statement = json.loads(payload)
    except ValueError as error:
        raise SealError.unreadable(where, str(error)) from error
    if payload_type != _PAYLOAD or not isinstance(statement, dict):
        raise SealError.unreadable(where, f"it is {payload_type}, not an in-toto statement")
    return statement


def hint(content: bytes) -> str:
    """Return the fingerprint of the key that a bundle says it was signed with; it may be wrong."""
    try:
        return str(json.loads(content)["verificationMaterial"]["publicKey"]["hint"])
    except (ValueError, KeyError, TypeError):
        return ""


def _parts(content: bytes, where: str) -> tuple[bytes, str, list[bytes]]:
    try:
        envelope = json.loads(content)["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [
            base64.b64decode(signature["sig"], validate=True)
            for signature in envelope["signatures"]
        ]
        return payload, str(envelope["payloadType"]), signatures
    except (ValueError, KeyError, TypeError) as error:
        raise SealError.unreadable(where, f"{type(error).__name__}: {error}") from error


def _pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a signature is over, by DSSE version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
