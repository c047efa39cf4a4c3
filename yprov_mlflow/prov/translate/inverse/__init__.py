"""Translate a document back into the events of a store that holds its content."""

from yprov_mlflow.prov.translate.inverse.event_stream import events_of, side_files

__all__ = ["events_of", "side_files"]
