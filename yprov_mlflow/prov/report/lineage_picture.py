"""Lineage as a picture, with the name to ask for behind each node."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lineage_report import RELATIONS, LineageReport
from yprov_mlflow.prov.graph.things import Thing
from yprov_mlflow.prov.report.prov_picture import Arrow, Node, Picture

_MOST_NODES = 150
"""So many things are drawn, the nearest ones: more cannot be read in one picture."""


def picture_of(*reports: LineageReport) -> Picture:
    """Return the picture of lineages of one thing, such as its origins and its products."""
    nodes: dict[str, Node] = {}
    for report in reports:
        # Things come in the order of their distance.
        for name, thing in list(report.lineage.things.items())[:_MOST_NODES]:
            nodes[name] = _node(thing)
    words = {
        (link.before, link.after): RELATIONS[link.relation]
        for report in reports
        for link in report.lineage.links
        if link.before in nodes and link.after in nodes
    }
    return Picture(nodes, [Arrow(*ends, word) for ends, word in words.items()])


def left_out(report: LineageReport) -> int:
    """Return how many things of a lineage its picture leaves out."""
    return max(0, len(report.lineage.things) - _MOST_NODES)


def names_of(report: LineageReport) -> Mapping[str, str]:
    """Return, for each thing that has one, a name that fits nothing else."""
    names = {name: _name(thing) for name, thing in report.lineage.things.items()}
    return {name: target for name, target in names.items() if target}


def _node(thing: Thing) -> Node:
    kind = "activity" if thing.kind in things.ACTIVITIES else "entity"
    return Node(kind, thing.kind, thing.label)


def _name(thing: Thing) -> str:
    details = thing.details
    if thing.kind == things.RUN and details.get("run_id"):
        return f"run:{details['run_id']}"
    if thing.kind == things.VERSION and details.get("name") and details.get("version"):
        return f"models:/{details['name']}/{details['version']}"
    if details.get("model_id"):
        return f"models:/{details['model_id']}"
    if details.get("sha256"):
        return str(details["sha256"])
    return ""
