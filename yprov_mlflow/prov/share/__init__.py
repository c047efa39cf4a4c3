"""Documents for others: research objects and cards of runs, and services that keep them."""
