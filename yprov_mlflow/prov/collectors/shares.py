"""A process's share of what the node's processors spend."""

from __future__ import annotations

_SETTLED_S = 1.0
"""CPU seconds of the node after which a share is final: 100 ticks of the system's clocks."""


class Share:
    """Energy in proportion to CPU time, piece by piece.

    The system counts CPU time in hundredths of a second. Between two quick samples that is
    too coarse, so that a piece goes on until the node has been busy for a second.
    """

    def __init__(self) -> None:
        self._value_j = 0.0
        self._settled_j = 0.0
        self._begin = (0.0, 0.0, 0.0)

    def of(self, energy_j: float, busy_s: float, own_s: float) -> float:
        """Give the process's part of the energy, all counted from the same start.

        Args:
            energy_j: What the processors have spent.
            busy_s: For how many CPU seconds the node has been busy.
            own_s: The part of them that was the process's.
        """
        spent_j, busy, own = (
            now - then for now, then in zip((energy_j, busy_s, own_s), self._begin, strict=True)
        )
        piece_j = spent_j * min(own / busy, 1.0) if busy > 0 else 0.0
        self._value_j = max(self._value_j, self._settled_j + piece_j)
        if busy >= _SETTLED_S:
            self._settled_j += piece_j
            self._begin = (energy_j, busy_s, own_s)
        return self._value_j
