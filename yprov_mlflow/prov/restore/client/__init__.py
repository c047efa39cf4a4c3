"""Restoring through MLflow's client: into servers and folders, which make up their own ids."""

from __future__ import annotations
