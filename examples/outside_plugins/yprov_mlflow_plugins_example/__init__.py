"""Plugins for yprov-mlflow in a package of its own: a collector, a format, a sink, a source."""
