"""Restore into an MLflow database, which keeps ids, times and the order of points."""
