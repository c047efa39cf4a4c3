"""Media types by file name: a table of our own, so that no machine's settings show."""

from __future__ import annotations

from collections.abc import Mapping

BY_SUFFIX: Mapping[str, str] = {
    "avi": "video/x-msvideo",
    "bin": "application/octet-stream",
    "bmp": "image/bmp",
    "bz2": "application/x-bzip2",
    "cfg": "text/plain",
    "css": "text/css",
    "csv": "text/csv",
    "gif": "image/gif",
    "gz": "application/gzip",
    "h5": "application/x-hdf5",
    "hdf5": "application/x-hdf5",
    "htm": "text/html",
    "html": "text/html",
    "ipynb": "application/x-ipynb+json",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "jsonld": "application/ld+json",
    "log": "text/plain",
    "md": "text/markdown",
    "mlmodel": "application/yaml",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "nc": "application/netcdf",
    "nq": "application/n-quads",
    "nt": "application/n-triples",
    "onnx": "application/onnx",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "provn": "text/provenance-notation",
    "py": "text/x-python",
    "r": "text/x-r",
    "rst": "text/x-rst",
    "sh": "application/x-sh",
    "sql": "application/sql",
    "sqlite": "application/vnd.sqlite3",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "toml": "application/toml",
    "trig": "application/trig",
    "tsv": "text/tab-separated-values",
    "ttl": "text/turtle",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}
"""Media type by the last part of a file's name, in lower case."""


def media_type(path: str) -> str | None:
    """Give the media type of a file by its name, None where that says nothing."""
    name = path.rsplit("/", 1)[-1].lower()
    return BY_SUFFIX.get(name.rsplit(".", 1)[-1])
