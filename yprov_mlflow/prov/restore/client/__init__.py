"""Restore through MLflow's client into servers and folders, which assign new ids."""
