"""Lineage as a picture, with the name to ask for behind each node."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lineage_report import RELATIONS, LineageReport
from yprov_mlflow.prov.graph.things import Thing
from yprov_mlflow.prov.report.prov_picture import Arrow, Node, Picture


def picture_of(report: LineageReport) -> tuple[Picture, Mapping[str, str]]:
    """Return the picture, and for each node that has one a name that fits nothing else."""
    nodes = {name: _node(thing) for name, thing in report.lineage.things.items()}
    arrows = [
        Arrow(link.before, link.after, RELATIONS[link.relation]) for link in report.lineage.links
    ]
    names = {name: _name(thing) for name, thing in report.lineage.things.items()}
    return Picture(nodes, arrows), {name: target for name, target in names.items() if target}


def _node(thing: Thing) -> Node:
    kind = "activity" if thing.kind in things.ACTIVITIES else "entity"
    return Node(kind, thing.kind, thing.label)


def _name(thing: Thing) -> str:
    details = thing.details
    if thing.kind == things.RUN and details.get("run_id"):
        return f"run:{details['run_id']}"
    if details.get("model_id"):
        return f"models:/{details['model_id']}"
    if details.get("sha256"):
        return str(details["sha256"])
    return ""
