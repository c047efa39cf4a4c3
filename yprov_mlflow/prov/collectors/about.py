"""Authors, license and subject of the work, as the project file states them."""

from __future__ import annotations

from yprov_mlflow.prov.collectors.base import Available, Collector, Unavailable


class About(Collector):
    """Facts of the table ``[tool.yprov-mlflow.about]``; none without it."""

    name = "about"

    def probe(self) -> Available:
        """Return the facts; values that look wrong are missing parts."""
        facts = dict(self.context.about)
        problems = facts.pop("problems", ())
        return Available(facts, missing=[Unavailable(text, what="about") for text in problems])
