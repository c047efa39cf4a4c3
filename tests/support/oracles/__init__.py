"""Oracles: independent checks of documents and stores."""
