"""What is wrong with documents: the errors that readers and writers of formats raise."""

from __future__ import annotations

from yprov_mlflow.prov.errors import DocumentError, UsageError


def malformed(format_name: str, reason: object, where: str | None = None) -> DocumentError:
    """Say why bytes are none of a format."""
    shown = str(reason).strip().rstrip(".") or type(reason).__name__
    return DocumentError(
        f"this is no {format_name} document: {shown}",
        where,
        "Check that the file is whole, and that its name ends as files of its format do",
    )


def unwritable(format_name: str, reason: object, where: str | None = None) -> DocumentError:
    """Say why a format cannot hold a document."""
    shown = str(reason).strip().rstrip(".") or type(reason).__name__
    return DocumentError(
        f"the document cannot be written as {format_name}: {shown}",
        where,
        "Change what it names, or write it as PROV-JSON, which holds everything",
    )


def packed() -> DocumentError:
    """Say that a file is compressed."""
    return DocumentError(
        "this file is compressed", None, "Unpack it first, for instance with gunzip or unzip"
    )


def no_format(where: str | None, known: str) -> DocumentError:
    """Say that a file is none of the known formats."""
    return DocumentError(
        "neither the file's name nor its start tells its format",
        where,
        f"Name it for its format; there are {known}",
    )


def not_one(format_name: str, count: str) -> UsageError:
    """Say that there is not exactly one document where there has to be."""
    return UsageError(
        f"a flat {format_name} file holds one document, not {count}",
        None,
        "Write each to a file of its own, or choose a format and layout for several",
    )
