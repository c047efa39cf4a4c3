"""Collectors of GPUs, one module per vendor."""
