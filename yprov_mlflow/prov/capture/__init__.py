"""The MLflow plugin: the only place that touches MLflow.

Importing this package, or ``entry``, imports and activates nothing.
"""
