"""PROV documents in memory: records, identifiers, literals and vocabulary."""
