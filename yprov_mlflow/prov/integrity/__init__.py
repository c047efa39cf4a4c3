"""Seals: signed lists of the files, records and events of a run, and differences from them.

The statements follow in-toto and the signatures DSSE, in the bundles of Sigstore that OpenSSF's
model-signing reads. ``docs/integrity.md`` explains what a seal proves, and its limits.
"""
