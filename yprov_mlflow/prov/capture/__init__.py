"""Capture of MLflow calls while they happen: the plugin, the drop-in, and delivery of documents.

``patches`` replaces names of MLflow and ``mlflow_private`` has all private names of it that are
used. Importing this package, ``entry`` or ``patches`` activates nothing.
"""
