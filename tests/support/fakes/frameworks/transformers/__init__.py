"""A stand-in for Transformers: the order in which its Trainer calls hooks, and nothing else.

It is the order of Transformers 5; the nox session ``frameworks`` runs the real one.
"""

from transformers.trainer import Trainer, TrainerCallback

__all__ = ["Trainer", "TrainerCallback"]
