"""A stand-in for Lightning: the order in which its Trainer calls hooks, and nothing else.

Packages of this folder are for child processes that have it on their path. The order is that of
Lightning 2.6; the nox session ``frameworks`` runs the real one.
"""
