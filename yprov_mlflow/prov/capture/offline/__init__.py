"""Offline stores, ``yprov:DIR``: runs are journals and artifacts in a folder, without a backend.

What a process reads back comes from a view: MLflow's own SQL store on a database in a temporary
folder of this machine. The view holds nothing of its own; other processes' runs are fed to it from
their journals.
"""
