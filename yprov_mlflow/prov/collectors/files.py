"""Data files that a run reads and writes; ``sampling.opened_files`` watches them."""

from __future__ import annotations

from yprov_mlflow.prov.collectors.base import Available, Collector


class Files(Collector):
    """Says in the document that files were watched, and within which limits."""

    name = "files"

    def probe(self) -> Available:
        """Return the limits."""
        context = self.context
        excluded = list(context.files_exclude)
        return Available({"limit_bytes": context.files_limit, "excluded": excluded})
