"""Formats of other packages, in the entry-point group ``yprov_mlflow.prov.formats``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import single_document
from yprov_mlflow.prov.model.document import Document

_SUFFIX = re.compile(r"(\.[A-Za-z0-9_-]+)+\Z")


class FormatPlugin(Protocol):
    """The contract: a module or object with these names.

    ``suffixes`` are the extensions of its files, with the dot; the first is that of files to
    write. One file holds one document. ``write`` and ``read`` leave the file open, and may raise
    any exception for a document or file that does not fit.
    """

    suffixes: Sequence[str]

    def write(self, document: Document, file: BinaryIO) -> None:
        """Write a document; equal documents give equal bytes."""

    def read(self, file: BinaryIO) -> Document:
        """Return the document in a file, equal to the one that was written."""


class PluginCodec:
    """A format of another package with the functions that our own formats have."""

    def __init__(self, name: str, plugin: FormatPlugin) -> None:
        self.name = name
        self.suffixes = tuple(plugin.suffixes)
        self._plugin = plugin

    def dump(
        self, documents: Iterable[Document], stream: BinaryIO, *, single: bool = False
    ) -> None:
        """Write the only document."""
        document = single_document(documents, self.name)
        try:
            self._plugin.write(document, stream)
        except Exception as error:  # other people's code can raise anything
            raise DocumentError.unwritable(self.name, error) from error

    def load(self, stream: BinaryIO) -> Iterator[Document]:
        """Yield the only document."""
        try:
            document: Any = self._plugin.read(stream)
        except Exception as error:  # other people's code can raise anything
            raise DocumentError.unreadable(self.name, error) from error
        if not isinstance(document, Document):
            reason = f"its reader returned {type(document).__name__}, not a Document"
            raise DocumentError.unreadable(self.name, reason)
        yield document


@functools.cache
def codec(name: str) -> PluginCodec | None:
    """Return the format of a name; None if no package has it.

    Raises:
        PluginError: It cannot be imported, or violates its contract.
    """
    plugin = plugins.load(plugins.FORMATS, name, check)
    return None if plugin is None else PluginCodec(name, plugin)


def check(plugin: Any) -> str:
    """Return a violation of the contract as a clause, or an empty text."""
    if reason := plugins.has_functions("write", "read")(plugin):
        return reason
    suffixes = getattr(plugin, "suffixes", ())
    texts = [s for s in suffixes if isinstance(s, str) and _SUFFIX.match(s)]
    is_list = isinstance(suffixes, list | tuple) and 0 < len(texts) == len(suffixes)
    return "" if is_list else f"suffixes is {suffixes!r}, not a list of extensions such as .toy"
