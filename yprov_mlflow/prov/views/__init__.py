"""Typed views of a document, such as its energy or its summary."""
