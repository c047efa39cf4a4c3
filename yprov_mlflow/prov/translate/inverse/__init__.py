"""The way back: a document gives the events of a store that holds what it tells."""

from yprov_mlflow.prov.translate.inverse.event_stream import events_of, side_files

__all__ = ["events_of", "side_files"]
