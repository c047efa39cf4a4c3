"""Files of equal content: which are one thing, and which come from another."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import datetime

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lookup import about, first, iri, pointing, values
from yprov_mlflow.prov.graph.run_parts import MOST_LEVELS, RunParts
from yprov_mlflow.prov.graph.stores import Term
from yprov_mlflow.prov.model.identifiers import parts_of_version

_EMPTY = iri("sha256:") + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_OF_EVERY_MODEL = frozenset(
    "MLmodel conda.yaml python_env.yaml requirements.txt registered_model_meta".split()
)
"""Files that MLflow writes into the folder of every model: equal ones say nothing about data."""

_FIRST, _LAST = -math.inf, math.inf  # before and after all times


class EqualContent(RunParts):
    """The things of a graph: records that stand for one are joined, if their content is equal."""

    def nodes(self, records: Iterable[str]) -> list[str]:
        """Return the things that records are shown as: a file of a model is the model.

        Other records, such as params, are left out.
        """
        records = self._numbered(records)
        pending = [name for name in records if name not in self._nodes]
        kinds = self._kind_of(pending)
        wholes = about(
            self._graph,
            [n for n in pending if kinds[n] in (things.FILE, things.FOLDER)],
            "dcterms:isPartOf",
        )
        owners = {
            name: owner
            for name, statements in wholes.items()
            for owner in values(statements.get("dcterms:isPartOf", ()))
        }
        kinds_of_owners = self._kind_of(owners.values())
        for name in pending:
            owner = owners.get(name)
            is_part = owner is not None and kinds_of_owners[owner] in (things.MODEL, things.TRACE)
            self._nodes[name] = owner if is_part else name if kinds[name] is not None else None
        self._join_equal_files(name for name in pending if self._nodes[name] == name)
        return list(dict.fromkeys(n for r in records if (n := self._nodes[r]) is not None))

    def _numbered(self, records: Iterable[str]) -> list[str]:
        """Return records, and for artifacts that readers name by content the version of its run."""
        records = list(dict.fromkeys(records))
        named = {name: parts for name in records if (parts := parts_of_version(name))}
        contents = {iri("sha256:") + sha256 for _, sha256 in named.values()}
        copies = pointing(self._graph, contents, "prov:specializationOf")
        for name, (first_version, sha256) in named.items():
            for copy in copies[iri("sha256:") + sha256]:
                if parts_of_version(copy) is None and _is_version(copy, first_version):
                    self._aliases.setdefault(name, copy)
        return list(dict.fromkeys(self._aliases.get(name, name) for name in records))

    def _named_by_readers(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return for artifacts the records by which readers name them."""
        contents = self._contents(names)
        copies = pointing(self._graph, set(contents.values()), "prov:specializationOf")
        return {
            name: [
                copy
                for copy in copies[content]
                if (parts := parts_of_version(copy)) and _is_version(name, parts[0])
            ]
            for name, content in contents.items()
        }

    def without_copies(self, names: list[str]) -> list[str]:
        """Return the things of a file without the copies that runs logged after they had read it.

        They follow from the file, and are not its origins.
        """
        if things.CONTENT not in self._kind_of(names).values():
            return names
        makers = self._makers_of(names)
        written = set(self._written(name for name in names if makers[name]))
        return [name for name in names if not makers[name] or name in written]

    def _originals(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return for files that no run wrote those of equal content that one wrote before."""
        contents = self._contents(name for name in names if not self._makers_of([name])[name])
        copies = pointing(self._graph, set(contents.values()), "prov:specializationOf")
        originals = {}
        for name, content in contents.items():
            read = self._read_time(name)
            originals[name] = [
                node
                for node in self._written(copies[content])
                if node != name and self._written_time(node) < read
            ]
        return originals

    def _readers_of_content(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return for files that a run wrote those of equal content that were read later."""
        makers = self._makers_of(names)
        contents = self._contents(name for name in names if makers[name] and self._is_data(name))
        copies = pointing(self._graph, set(contents.values()), "prov:specializationOf")
        readers = {}
        for name, content in contents.items():
            if name not in self._written(copies[content]):
                continue
            written = self._written_time(name)
            others = self.nodes(copies[content])
            if self._leads_on(content):
                others.append(content)
            of_others = self._makers_of(others)
            readers[name] = [
                node
                for node in dict.fromkeys(others)
                if not of_others[node] and written < self._read_time(node)
            ]
        return readers

    def _join_equal_files(self, names: Iterable[str]) -> None:
        """Make files that no run wrote, and that have the same content and origins, one thing."""
        files = [name for name in names if self._kinds[name] == things.FILE]
        makers = self._makers_of(files)
        for name, content in self._contents(n for n in files if not makers[n]).items():
            copies = pointing(self._graph, [content], "prov:specializationOf")[content]
            read = self._read_time(name)
            if all(self._written_time(node) < read for node in self._written(copies)):
                self._nodes[name] = content
                self._joined.setdefault(content, []).append(name)

    def _written(self, records: Iterable[str]) -> list[str]:
        """Return the files with a new content: the run that wrote it had not read it before."""
        files = [name for name in records if self._is_data(name)]
        makers = self._makers_of(files)
        written = []
        for name in files:
            content = set(values(self._of(name, "prov:specializationOf")))
            when = min(self._generation_times(name), default=_LAST)
            if makers[name] and not any(
                read < when
                for run in makers[name]
                for same, read in self._contents_read(run).items()
                if same in content
            ):
                written.append(name)
        return self.nodes(written)

    def _contents_read(self, run: str) -> dict[str, float]:
        """Return the contents that a run read, with the time when it first did."""
        if run not in self._reads:
            activities = self._inside([run])[run]
            usages = [
                usage
                for of_one in about(self._graph, activities, "prov:qualifiedUsage").values()
                for usage in values(of_one.get("prov:qualifiedUsage", ()))
            ]
            times = dict.fromkeys(self._used([run])[run], _LAST)
            for of_usage in about(self._graph, usages, "prov:entity", "prov:atTime").values():
                entity = first(of_usage, "prov:entity")
                if entity in times:
                    read = min(_instants(of_usage), default=_FIRST)
                    times[entity] = min(times[entity], read)
            reads = dict(times)
            level = list(times)
            predicates = "prov:specializationOf", "prov:wasDerivedFrom", "prov:hadMember"
            for _ in range(MOST_LEVELS):
                reached = {
                    (other, reads[entity])
                    for entity, of_one in about(self._graph, level, *predicates).items()
                    for predicate in predicates
                    for other in values(of_one.get(predicate, ()))
                }
                level = [other for other, _ in reached if other not in reads]
                for other, time in reached:
                    reads[other] = min(reads.get(other, _LAST), time)
                if not level:
                    break
            self._reads[run] = reads
        return self._reads[run]

    def _contents(self, names: Iterable[str]) -> dict[str, str]:
        """Return the contents of files; not that of empty ones, which says nothing."""
        files = [n for n in names if self._kinds.get(n) in (things.FILE, things.CONTENT)]
        statements = about(self._graph, files, "prov:specializationOf")
        contents = {n: n for n in files if self._kinds.get(n) == things.CONTENT}
        for name, about_name in statements.items():
            for content in values(about_name.get("prov:specializationOf", ())):
                if content.startswith(iri("sha256:")):
                    contents[name] = content
        return {name: content for name, content in contents.items() if content != _EMPTY}

    def _is_data(self, name: str) -> bool:
        path = next(iter(values(self._of(name, "mlf:path"))), "")
        return path.rpartition("/")[2] not in _OF_EVERY_MODEL

    def _generation_times(self, name: str) -> list[float]:
        generations = values(self._of(name, "prov:qualifiedGeneration"))
        of_all = about(self._graph, generations, "prov:atTime")
        return [time for statements in of_all.values() for time in _instants(statements)]

    def _written_time(self, name: str) -> float:
        written = self._generation_times(name)
        if not written:
            runs = about(self._graph, self._makers_of([name])[name], "prov:startedAtTime")
            written = [time for s in runs.values() for time in _instants(s, "prov:startedAtTime")]
        return min(written, default=_FIRST)

    def _read_time(self, name: str) -> float:
        """Return when a file was last read: itself, or as the source of a dataset."""
        records = [name, *pointing(self._graph, [name], "prov:wasDerivedFrom")[name]]
        records += self._joined.get(name, [])
        of_records = pointing(self._graph, records, "prov:entity").values()
        usages = [usage for group in of_records for usage in group]
        of_all = about(self._graph, usages, "prov:atTime").values()
        # Without a time, it may have been read after everything else.
        return max((time for s in of_all for time in _instants(s)), default=_LAST)

    def _leads_on(self, record: str) -> bool:
        """Return whether a content or folder, or a folder around it, was used or derived from."""
        for _ in range(MOST_LEVELS):
            for predicate in ("prov:used", "prov:wasDerivedFrom"):
                if pointing(self._graph, [record], predicate)[record]:
                    return True
            outer = pointing(self._graph, [record], "prov:hadMember")[record]
            if not outer:
                break
            record = outer[0]
        return False


def _is_version(record: str, first_version: str) -> bool:
    """Return whether a record is this artifact or a later version of it, of any rank."""
    number = record.removeprefix(first_version).partition("@")[0].removeprefix("/")
    return record.startswith(first_version) and (not number or number.isdigit())


def _instants(statements: dict[str, list[Term]], predicate: str = "prov:atTime") -> list[float]:
    """Return times as seconds; texts of equal times differ in their digits."""
    times = []
    for time in values(statements.get(predicate, ())):
        try:
            times.append(datetime.fromisoformat(time).timestamp())
        except ValueError:  # of another program
            continue
    return times
