"""Decoding of text files that may be damaged, and the reasons that problems give.

Old stores have been copied between systems, kept in version control and cut off by full disks.
Every reader of the file store describes the damage in the words of this module.
"""

from __future__ import annotations

from yprov_mlflow.prov.redaction import redact

LFS = b"version https://git-lfs.github.com/spec/"
"""Start of the pointers that Git LFS leaves in place of large files."""

BOM = b"\xef\xbb\xbf"
UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")

NO_META = "has no meta.yaml"
IS_EMPTY = "is empty"
IS_LFS_POINTER = "is a Git LFS pointer, not the file itself"
IS_UTF_16 = "is UTF-16 instead of UTF-8, and was read as such"
IS_LATIN_1 = "is not UTF-8, and was read as Latin-1"
HAS_BOM = "starts with a byte order mark"
HAS_CRLF = "has CRLF line endings"
HAS_CONFLICT = "has merge-conflict markers; all sides are kept"
HAS_CONFLICT_META = "has merge-conflict markers; only the first side is read"
UNKNOWN_FILE = "is not a file that MLflow writes"
UNKNOWN_FOLDER = "is not a folder that MLflow writes"

CONTENT = "its content"
THE_FILE = "the file"
THE_FOLDER = "the folder"
"""Losses due to a problem."""

_EXCERPT = 60


def decode_text(data: bytes) -> tuple[str, str | None]:
    """Return the text of a file, and the reason why it is not plain UTF-8, if it is not.

    Every file can be decoded: in Latin-1 each byte is a character, so that nothing is lost. A byte
    order mark of UTF-8 remains in the text.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        pass
    else:
        return text, HAS_BOM if text.startswith("\ufeff") else None
    if data.startswith(UTF_16_BOMS) and len(data) % 2 == 0:
        try:
            return data.decode("utf-16"), IS_UTF_16
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1"), IS_LATIN_1


def has_conflict(data: bytes) -> bool:
    """Return whether a file has markers of a merge conflict."""
    return data.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in data


def os_reason(error: OSError) -> str:
    """Return the operating system's message for an error."""
    return error.strerror or type(error).__name__


def printable(text: str) -> str:
    """Return text that every encoding can represent: lone surrogates become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def excerpt(data: bytes | str) -> str:
    """Return the start of damaged content, quoted, for a problem."""
    if isinstance(data, str):  # before the cut, as a password without its @ is not recognized
        data = redact(data)
    start = data[:_EXCERPT]
    text = start if isinstance(start, str) else start.decode("utf-8", "backslashreplace")
    return ascii(text) + ("..." if len(data) > _EXCERPT else "")
