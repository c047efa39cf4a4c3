"""Settings of all tests."""

from hypothesis import settings

# Machines are shared: how long one example takes says nothing.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")
