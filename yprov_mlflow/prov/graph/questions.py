"""Questions in SPARQL: those that people write, and those that are shipped, with parameters."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from pyoxigraph import Literal, NamedNode

from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.graph.lookup import text
from yprov_mlflow.prov.graph.run_filter import number_of
from yprov_mlflow.prov.graph.stores import PREFIXES, Graph, Table, Term
from yprov_mlflow.prov.graph.thing_names import resolve

_HEADER = re.compile(r"# (title|explanation|parameter (\w+) \((\w+)\)): (.*)")
_NUMERIC = {"integer", "int", "long", "decimal", "double", "float", "short", "byte"}


class Parameter(NamedTuple):
    """A parameter of a shipped question: a thing, a text or a number."""

    name: str
    kind: str
    explanation: str


class ShippedQuestion(NamedTuple):
    """A question that comes with this package; its file has title, explanation and parameters."""

    name: str
    title: str
    explanation: str
    parameters: tuple[Parameter, ...]
    sparql: str


class Answer:
    """The answer to a question.

    Attributes:
        table: Columns, and rows of terms of RDF.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    @property
    def columns(self) -> list[str]:
        """The names of the variables."""
        return self.table.columns

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as Python values: text, numbers, truth values, or None."""
        return [tuple(map(_value, row)) for row in self.table.rows]

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the rows as JSON objects; numbers that JSON lacks become text."""
        return [
            {c: v if v == v and v not in _INFINITE else str(v) for c, v in pairs}
            for row in self.rows
            for pairs in [zip(self.columns, row, strict=True)]
        ]

    def to_csv(self) -> str:
        """Return the rows as CSV, with a header."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return stream.getvalue()

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``."""
        import pandas  # type: ignore[import-untyped] # MLflow's; it takes a second to load

        return pandas.DataFrame(self.rows, columns=self.columns)

    def to_rdflib(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples of ``rdflib`` terms."""
        import rdflib  # it takes as long to load as all of ours

        def term(value: Term | None) -> Any:
            if value is None:
                return None
            if isinstance(value, NamedNode):
                return rdflib.URIRef(value.value)
            if isinstance(value, Literal):
                language = value.language
                kind = None if language else rdflib.URIRef(value.datatype.value)
                return rdflib.Literal(value.value, lang=language, datatype=kind)
            return rdflib.BNode(text(value))

        return [tuple(map(term, row)) for row in self.table.rows]


_INFINITE = (float("inf"), float("-inf"))


def ask(graph: Graph, query: str, parameters: Mapping[str, str] | Sequence[str] = ()) -> Answer:
    """Return the answer to a query, or to the shipped question ``@NAME``.

    Args:
        graph: The documents.
        query: SPARQL, or ``@`` and the name of a shipped question.
        parameters: Of a shipped question, by name or in their order.

    Raises:
        UsageError: The question does not exist, or has other parameters.
        QueryError: The query is not valid.
        ThingError: A parameter names nothing in the graph.
    """
    if not query.startswith("@"):
        if parameters:
            raise UsageError(
                "only shipped questions (@NAME) have parameters", None, "Leave them out"
            )
        return Answer(graph.select(query))
    return Answer(graph.select(filled_in(graph, shipped(query[1:]), parameters)))


def filled_in(
    graph: Graph, question: ShippedQuestion, arguments: Mapping[str, str] | Sequence[str]
) -> str:
    """Return the query of a shipped question with its parameters put in."""
    names = [parameter.name for parameter in question.parameters]
    if not isinstance(arguments, Mapping):
        if len(arguments) > len(names):
            raise _parameters(question, f"{len(arguments)} values for {len(names)} parameters")
        arguments = dict(zip(names, arguments, strict=False))
    if missing := [name for name in names if name not in arguments]:
        raise _parameters(question, f"the parameter {missing[0]!r} is missing")
    if unknown := [name for name in arguments if name not in names]:
        raise _parameters(question, f"there is no parameter {unknown[0]!r}")
    sparql = question.sparql
    for parameter in question.parameters:
        term = _term(graph, parameter, arguments[parameter.name])
        sparql = re.sub(rf"\${parameter.name}\b", lambda _, term=term: term, sparql)  # type: ignore[misc] # a string
    return sparql


def _term(graph: Graph, parameter: Parameter, argument: str) -> str:
    """Return an argument as SPARQL; text cannot become anything but a literal."""
    if parameter.kind == "text":
        return str(Literal(argument))
    if parameter.kind == "number":
        number = number_of(argument)
        if number is None:
            raise UsageError(f"{argument!r} is not a number", parameter.name, "Write it as 0.3")
        return str(Literal(number))
    is_uri = parameter.kind == "thing" or ":/" in argument
    name = argument if is_uri else f"{parameter.kind}:{argument}"
    if parameter.kind == "run":
        name = "run:" + argument.removeprefix("runs:/").removeprefix("run:")
    return " ".join(str(NamedNode(record)) for record in resolve(graph, name).records)


def _parameters(question: ShippedQuestion, what: str) -> UsageError:
    words = " ".join(parameter.name.upper() for parameter in question.parameters)
    return UsageError(what, f"@{question.name}", f"Write: @{question.name} {words}".rstrip())


@functools.cache
def all_shipped() -> tuple[ShippedQuestion, ...]:
    """Return the shipped questions in the order of their names."""
    files = resources.files("yprov_mlflow.prov.graph") / "shipped"
    names = sorted(f.name for f in files.iterdir() if f.name.endswith(".rq"))
    return tuple(_parsed(name[:-3], (files / name).read_text("utf-8")) for name in names)


def shipped(name: str) -> ShippedQuestion:
    """Return a shipped question.

    Raises:
        UsageError: The question does not exist.
    """
    for question in all_shipped():
        if question.name == name:
            return question
    raise UsageError(f"there is no question {name!r}", None, "List them: yprov-mlflow query --list")


def _parsed(name: str, content: str) -> ShippedQuestion:
    header: dict[str, str] = {}
    parameters = []
    lines = content.splitlines()
    while lines and (match := _HEADER.match(lines[0])):
        if match[2]:
            parameters.append(Parameter(match[2], match[3], match[4]))
        else:
            header[match[1]] = f"{header.get(match[1], '')} {match[4]}".strip()
        lines.pop(0)
    return ShippedQuestion(
        name, header["title"], header["explanation"], tuple(parameters), "\n".join(lines).strip()
    )


def _value(term: Term | None) -> Any:
    if not isinstance(term, Literal):
        return None if term is None else text(term)
    kind = term.datatype.value.removeprefix(PREFIXES["xsd"])
    if kind == "boolean":
        return term.value in ("true", "1")
    if kind in _NUMERIC:
        number = float(term.value.replace("INF", "inf"))
        return int(number) if kind not in ("double", "float", "decimal") else number
    return term.value
