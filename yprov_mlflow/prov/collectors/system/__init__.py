"""Readers of what the operating system reports about node and process."""
