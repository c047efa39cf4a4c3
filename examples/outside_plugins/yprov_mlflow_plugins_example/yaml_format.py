"""Format: PROV-JSON written as YAML, which people read more easily."""

from __future__ import annotations

from typing import BinaryIO

import yaml

from yprov_mlflow.prov.model.document import Document

suffixes = (".yaml", ".yml")


def write(document: Document, file: BinaryIO) -> None:
    """Write a document; the keys are sorted."""
    # Escapes keep characters that YAML would change, such as those of terminals.
    text = yaml.safe_dump(document.to_json_object(), sort_keys=True, allow_unicode=False)
    file.write(text.encode("ascii"))


def read(file: BinaryIO) -> Document:
    """Return the document in a file."""
    sections = yaml.safe_load(file)
    return Document(sections.pop("prefix"), sections)
