"""Many documents as one graph: an index on disk or a SPARQL server, and questions to it."""
