"""Tags of runs that this package sets; documents and restoring keep them like any tag."""

SOURCE_PREFIX = "yprov.source."
"""Start of the tag with the sources of a metric, whose name follows: a JSON list of names."""

COMMAND_TAG = "yprov.execution_command"
"""The command that ran the program."""

PID_TAG = "yprov.pid"
"""Persistent identifier that a service gave the run's document."""

PID_DETAILS_TAG = "yprov.pid.details"
"""Service, version and SHA-256 of the document that has the identifier, as JSON."""
