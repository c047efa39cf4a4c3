"""Restoring into a database of MLflow's: ids, times and order are kept."""

from __future__ import annotations
