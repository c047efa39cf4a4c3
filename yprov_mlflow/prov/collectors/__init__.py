"""Collectors: what a process finds out about itself, once, for the runs that it writes to.

A collector is a module with a function ``collect`` that gives a mapping of JSON values. It
asks this machine only, changes nothing, takes milliseconds (``code``: up to some git calls)
and says ``{"unavailable": reason}`` rather than raise for what is not there.
"""
