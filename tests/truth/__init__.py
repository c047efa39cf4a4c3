"""The truth oracle: random programs, what is true of them, and what their documents say."""
