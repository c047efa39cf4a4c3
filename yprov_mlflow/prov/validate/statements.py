"""Statements as a validator sees them: ids and times, whatever format they came from."""

from __future__ import annotations

from typing import NamedTuple


class Statement(NamedTuple):
    """One statement.

    Args:
        kind: One of ``KINDS``.
        identifier: Its id; None if it has none, or a blank one (``_:…``).
        terms: The ids in its formal positions, in the order of PROV-DM; None: not said.
        times: Its time, or start and end of an activity, as text; None: not said.
        types: Its ``prov:type`` values; read for entities only.
        described: Whether it has attributes besides.
        because: What it follows from, where no file says it but an inference.
    """

    kind: str
    identifier: str | None
    terms: tuple[str | None, ...] = ()
    times: tuple[str | None, ...] = ()
    types: tuple[str, ...] = ()
    described: bool = False
    because: str = ""

    def __str__(self) -> str:
        """Write it as PROV-N does, as far as it is known, and where it follows from."""
        parts = [part or "-" for part in (*self.terms, *self.times)]
        while parts and parts[-1] == "-":
            parts.pop()
        inside = ", ".join(parts)
        if self.identifier is not None:
            if not self.terms:
                inside = f"{self.identifier}, {inside}" if inside else self.identifier
            else:
                inside = f"{self.identifier}; {inside}"
        text = f"{self.kind}({inside})"
        return f"{text}, which follows from {self.because}" if self.because else text
