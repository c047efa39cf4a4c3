"""Documents as bytes, and back: one module for each format, all in one registry."""

from __future__ import annotations

from yprov_mlflow.prov.formats.catalog import FORMATS, Format, open_documents

__all__ = ["FORMATS", "Format", "open_documents"]
