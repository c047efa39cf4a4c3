"""The local view in the browser: runs, their reports, comparisons, lineage and questions."""
