"""Collectors: facts and measurements that a process gathers about itself for its runs."""
