"""Readers of documents and stores, independent of the package."""
