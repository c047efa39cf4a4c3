"""Fakes of what tests cannot have, such as GPUs."""
