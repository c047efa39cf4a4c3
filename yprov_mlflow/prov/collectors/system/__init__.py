"""Readers of the operating system's data about the node and its processes."""
