"""Local keys in PEM files: making, reading, signing and verifying.

The library cryptography belongs to an extra; only this module imports it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from yprov_mlflow.prov.errors import KeyFileError
from yprov_mlflow.prov.layout import PRIVATE_FILE

_Private: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_Public: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

PUBLIC_SUFFIX = ".pub"

MAKERS: dict[str, Callable[[], _Private]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
}
"""Functions that make a private key, by the name of its kind."""

_CURVE_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


class PublicKey(NamedTuple):
    """A key that verifies signatures."""

    key: _Public

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key's PEM file, by which model-signing names keys as well."""
        return hashlib.sha256(self.pem()).hexdigest()

    def pem(self) -> bytes:
        """Return the content of the key's PEM file."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether this key's private half made a signature of a message."""
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, message)
            else:
                self.key.verify(signature, message, ec.ECDSA(_hash_for(self.key.curve)))
        # A signature of the wrong length is an invalid one, too.
        except InvalidSignature:
            return False
        return True


class PrivateKey(NamedTuple):
    """A key that makes signatures."""

    key: _Private

    @property
    def public(self) -> PublicKey:
        """The key that verifies the signatures."""
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        return self.key.sign(message, ec.ECDSA(_hash_for(self.key.curve)))


def _hash_for(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    return _CURVE_HASHES[curve.name]()


def make(path: Path, kind: str, password: str = "") -> PublicKey:
    """Write a new private key, and the public one beside it with the suffix ``.pub``.

    Args:
        path: The file for the private key, which only its owner can read.
        kind: One of ``MAKERS``.
        password: Encrypts the file unless it is empty.

    Raises:
        KeyFileError: The file exists already, or cannot be written.
    """
    private = PrivateKey(MAKERS[kind]())
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    content = private.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        # Never over a key: what it has signed could be verified, but no longer be continued.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        path.with_name(path.name + PUBLIC_SUFFIX).write_bytes(private.public.pem())
    except OSError as error:
        raise KeyFileError.unwritable(str(path), error) from error
    return private.public


def load_private(path: Path, password: str = "") -> PrivateKey:
    """Read a private key.

    Raises:
        KeyFileError: The file cannot be read, is not a private key of a supported kind, or
            needs another password.
    """
    content = _read(path)
    try:
        key = load_pem_private_key(content, password.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError.unusable(str(path), "a private key", error) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey) and not (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVE_HASHES
    ):
        raise KeyFileError.unsupported(str(path), tuple(MAKERS))
    return PrivateKey(key)


def is_encrypted(path: Path) -> bool:
    """Return whether a private key can only be read with a password.

    Raises:
        KeyFileError: The file cannot be read.
    """
    return b"ENCRYPTED PRIVATE KEY" in _read(path)


def load_public(path: Path) -> PublicKey:
    """Read a public key, which a private key without a password is as well.

    Raises:
        KeyFileError: The file cannot be read, or is not a key of a supported kind.
    """
    content = _read(path)
    # Who seals and verifies on one machine needs one setting for both.
    if b"PRIVATE KEY" in content:
        if not is_encrypted(path):
            return load_private(path).public
        content = _read(path.with_name(path.name + PUBLIC_SUFFIX))
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError.unusable(str(path), "a public key", error) from error
    if not isinstance(key, ed25519.Ed25519PublicKey) and not (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_HASHES
    ):
        raise KeyFileError.unsupported(str(path), tuple(MAKERS))
    return PublicKey(key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError.unreadable(str(path), error) from error
