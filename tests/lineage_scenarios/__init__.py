"""Random pipelines of runs whose lineage a generator knows, and what the package says."""
