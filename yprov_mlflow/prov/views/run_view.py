"""The run that a document describes, as all views show it."""

from __future__ import annotations

from collections.abc import Iterator

from yprov_mlflow.prov.views.view import Table, View, term


class Run(View):
    """The run itself; times are ISO 8601 in UTC, as in the document."""

    id: str | None = term("mlf:runId")
    status: str | None = term("mlf:status")
    name: str | None = term("prov:label")
    start: str | None
    end: str | None

    def tables(self) -> Iterator[Table]:
        """Yield the attributes that the document has."""
        keys = ("name", "id", "status", "start", "end", "experiment", "user")
        rows = ((key, getattr(self, key, None)) for key in keys)
        yield Table("Run", (), [row for row in rows if row[1] is not None])
