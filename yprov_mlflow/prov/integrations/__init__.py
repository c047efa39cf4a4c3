"""Contexts and epochs without user code: callbacks for Lightning and Transformers."""
