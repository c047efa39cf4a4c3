"""Documents for others: research objects and cards of runs."""
