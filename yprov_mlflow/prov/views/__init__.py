"""Typed views of a PROV document: the energy report and the summary of its run."""
