"""Documents as bytes, and back: one module for each format."""

from __future__ import annotations
