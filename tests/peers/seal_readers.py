"""Have others verify our seals: OpenSSF's model-signing, securesystemslib and in-toto.

``python seal_readers.py seal FOLDER`` seals two folders there, with a key of each kind.
``python seal_readers.py verify FOLDER`` verifies them with the libraries of the others, and checks
that these notice each change; run it in an environment with model-signing, securesystemslib and
in-toto-attestation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

KINDS = ("ed25519", "ecdsa-p256")
FILES = {
    "provenance/prov.json": '{"prefix":{"ex":"https://example.org/"},"entity":{"ex:e":{}}}\n',
    "model/weights.bin": "0123456789" * 1000,
    "ünïcode name.txt": "text",
}


def make(folder: Path) -> None:
    """Seal a folder with each kind of key."""
    from yprov_mlflow.prov.integrity import signing_keys
    from yprov_mlflow.prov.integrity.file_tree import FolderTree
    from yprov_mlflow.prov.integrity.sealing import Sealable, seal

    for kind in KINDS:
        tree = folder / kind / "artifacts"
        for name, content in FILES.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content)
        key = folder / kind / "key.pem"
        signing_keys.make(key, kind)
        thing = Sealable("run", FolderTree(tree), "provenance/")
        seal(thing, signing_keys.load_private(key))


def read_envelope(seal: Path, key: Path) -> None:
    """Verify the signature with securesystemslib, and the statement with in-toto."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    envelope = Envelope.from_dict(json.loads(seal.read_bytes())["dsseEnvelope"])
    public = SSlibKey.from_crypto(load_pem_public_key(key.read_bytes()))
    public.keyid = ""  # the library only tries keys with the id in the signature
    envelope.verify([public], 1)
    message = ParseDict(json.loads(envelope.payload), statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()


def model_signing(seal: Path, key: Path) -> None:
    """Verify signature and files with the command of model-signing."""
    command = [Path(sys.executable).with_name("model_signing"), "verify", "key"]
    options = [seal.parents[1], "--signature", seal, "--public_key", key]
    done = subprocess.run([*map(str, command + options)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stdout + done.stderr)


def rejects(check: Callable[[Path, Path], None], seal: Path, key: Path) -> bool:
    """Return whether a library rejects a seal."""
    try:
        check(seal, key)
    except Exception as error:  # noqa: BLE001 - each library has its own errors
        print(f"  rejected, as it should be: {str(error).splitlines()[0][:100]}")
        return True
    return False


def verify(folder: Path) -> None:
    """Verify the seals, and that changed ones are rejected."""
    for kind in KINDS:
        seal = folder / kind / "artifacts" / "provenance" / "seal.json"
        key = folder / kind / "key.pem.pub"
        # Of local keys, model-signing knows those of elliptic curves in ECDSA only.
        checks = [read_envelope, *([model_signing] if kind != "ed25519" else [])]
        for check in checks:
            check(seal, key)
            print(f"{kind}: verified by {check.__name__}")
            content = json.loads(seal.read_bytes())
            payload = content["dsseEnvelope"]["payload"]
            original = seal.read_bytes()
            content["dsseEnvelope"]["payload"] = payload[:100] + "AAAA" + payload[104:]
            seal.write_text(json.dumps(content))
            assert rejects(check, seal, key)
            seal.write_bytes(original)
        if model_signing in checks:
            weights = seal.parents[1] / "model" / "weights.bin"
            original = weights.read_bytes()
            for change in (original + b"x", b"", None):
                if change is None:
                    (weights.parent / "other.bin").write_bytes(b"")
                else:
                    weights.write_bytes(change)
                assert rejects(model_signing, seal, key)
                weights.write_bytes(original)


if __name__ == "__main__":
    {"seal": make, "verify": verify}[sys.argv[1]](Path(sys.argv[2]))
