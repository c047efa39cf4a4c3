"""Read and write documents: one module per format, all listed in one registry."""

from __future__ import annotations

from yprov_mlflow.prov.formats.file_formats import FORMATS, Format, open_documents

__all__ = ["FORMATS", "Format", "open_documents"]
