"""What the program did, noted as it did it: nothing here reads a store."""

import hashlib
import json
import math
import os


class Diary:
    """Notes of all that was logged to one store, and of what MLflow refused."""

    def __init__(self, version, in_database, clock, client):
        self.version = tuple(int(part) for part in version.split("."))
        self.in_database = in_database
        self.clock = clock
        self.client = client  # None before 0.5
        self.experiments = {}
        self.runs = {}
        self.registered_models = {}
        self.logged_models = {}
        self.prompts = {}
        self.evaluation_data = {}
        self.traces = {}
        self.refused = []

    def has(self, name):
        """Tell whether this version's client has a method."""
        return hasattr(self.client, name)

    def attempt(self, what, call, *arguments, **named):
        """Call; gives whether MLflow took it. Each version refuses something else."""
        try:
            call(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - whatever it is, it was not logged
            reason = " ".join(str(error).split())[:80].replace(os.getcwd(), ".")
            self.refused.append([what, type(error).__name__, reason])
            return False
        return True

    def experiment(self, experiment_id, name, **known):
        """Open the page of an experiment."""
        page = {"name": name, "deleted": False, "tags": {}}
        page.update(known)
        self.experiments[experiment_id] = page
        return page

    def run(self, run_id, **known):
        """Open the page of a run."""
        page = {"status": "RUNNING", "end_time": None, "deleted": False, "parent": None}
        page.update(params={}, tags={}, metrics={}, artifacts={}, inputs=[], outputs=[])
        page.update(known)
        self.runs[run_id] = page
        return page

    def point(self, page, key, value, timestamp_ms, step, model=None, data=None):
        """Note a point of a metric, with the model and the data set that it is about.

        A database keeps equal points once, and the data set only beside a model.
        """
        points = page["metrics"].setdefault(key, [])
        about = data if model or not self.in_database else None
        point = [number(value), timestamp_ms, step, model, about]
        if not (self.in_database and point in points):
            points.append(point)

    def write(self, path):
        """Write all notes as JSON."""
        names = "experiments runs registered_models prompts logged_models evaluation_data traces"
        names = [*names.split(), "refused"]
        with open(path, "w", encoding="utf-8") as file:
            json.dump({name: getattr(self, name) for name in names}, file, sort_keys=True)


def number(value):
    """Give what JSON can hold: it has neither nan nor infinity."""
    return value if math.isfinite(value) else str(value)


def make_file(path, content):
    """Write a file to be logged; gives its size and digest."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return [len(content), hashlib.sha256(content).hexdigest()]
