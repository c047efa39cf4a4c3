"""Builders of stores, events and documents."""
