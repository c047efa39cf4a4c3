"""A SPARQL server as the graph: the routes of SPARQL 1.1 Query, Update and Graph Store Protocol.

Documents are named graphs that a PUT replaces, so every request may be repeated. Servers differ in
the paths of the three routes, in how a query sees all named graphs, and in authentication.
"""

from __future__ import annotations

import os
import re
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import pyoxigraph
import requests
from pyoxigraph import BlankNode, Literal, NamedNode, Quad, QueryResultsFormat, RdfFormat
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from yprov_mlflow.prov.errors import GraphError, QueryError
from yprov_mlflow.prov.graph.stores import PREFIXES, Table, Term, Terms, table_of, terms_of
from yprov_mlflow.prov.redaction import WITHHELD, redact

TOKEN = "YPROV_MLFLOW_INDEX_TOKEN"

_TIMEOUT_S = (10.0, 60.0)  # for a connection, and for each part of an answer
_PAUSES_S = (0.5, 1.0, 2.0)  # before each retry
_AWAY = (502, 503, 504)
_MOST_BYTES = 2**28  # of one answer
_BATCH = 300  # terms in one query
_MESSAGE_LENGTH = 300
_BOOLEAN = NamedNode(f"{PREFIXES['xsd']}boolean")
_FORM = re.compile(r"(?:<[^>]*>|#[^\n]*|[^<#])*?\b(SELECT|ASK|CONSTRUCT|DESCRIBE)\b", re.I)


class _Routes(NamedTuple):
    """Paths of a kind of server."""

    query: str
    update: str
    data: str


_OXIGRAPH = _Routes("/query", "/update", "/store")
_VIRTUOSO = _Routes("/sparql", "/sparql-auth", "/sparql-graph-crud-auth")
_FUSEKI = _Routes("/sparql", "/update", "/data")


class _NoRouteError(GraphError):
    """The server lacks this route, or does not answer it in SPARQL."""


class SparqlServer:
    """A server; the first request finds out its kind.

    Args:
        url: The base of its routes, or its query route. A user and password in it are used for
            authentication; without them ``YPROV_MLFLOW_INDEX_TOKEN``, then ``~/.netrc``.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        user, password = parts.username, parts.password
        host = parts.netloc.rpartition("@")[2]
        path = re.sub(r"/(sparql|query)\Z", "", parts.path.rstrip("/"))
        self.base = f"{parts.scheme}://{host}{path}"
        self._token = os.environ.get(TOKEN) if user is None else None
        self._login: tuple[str, str] | None = None
        if user is not None:
            self._login = (urllib.parse.unquote(user), urllib.parse.unquote(password or ""))
        elif not self._token:
            self._login = requests.utils.get_netrc_auth(self.base)
        self._kinds = (_FUSEKI, _OXIGRAPH) if path else (_OXIGRAPH, _VIRTUOSO)
        self._kind: _Routes | None = None
        self._http = requests.Session()
        self._http.auth = self._authentication()

    def put(self, graph: str, n_triples: bytes) -> None:
        """Replace a named graph, or add it.

        Raises:
            GraphError: The server is away or rejects the graph.
        """
        headers = {"Content-Type": "application/n-triples"}
        url = self.base + self._routes().data
        self._request("PUT", url, params={"graph": graph}, headers=headers, data=n_triples)

    def delete(self, graph: str) -> None:
        """Delete a named graph, if it exists.

        Raises:
            GraphError: The server is away or rejects the request.
        """
        url = self.base + self._routes().data
        self._request("DELETE", url, accepted=(404,), params={"graph": graph})

    def graphs(self) -> set[str]:
        """Return the IRIs of all named graphs, also those of the server itself.

        Raises:
            GraphError: The server is away or rejects the request.
        """
        rows = self.query("SELECT DISTINCT ?g { GRAPH ?g { ?s ?p ?o } }").rows
        return {term.value for (term,) in rows if isinstance(term, NamedNode)}

    def query(self, text: str) -> Table:
        """Return the answer to a query.

        Raises:
            QueryError: The server rejects the query.
            GraphError: The server is away, or its answer is not valid.
        """
        return self._ask(self.base + self._routes().query, text)

    def update(self, text: str) -> None:
        """Run a SPARQL Update whose repetition changes nothing more: it may be sent twice.

        Raises:
            QueryError: The server rejects the update.
            GraphError: The server is away.
        """
        routes = self._routes()
        field = "query" if routes is _VIRTUOSO else "update"
        self._request("POST", self.base + routes.update, data={field: text})

    # -- requests ----------------------------------------------------------------------------

    def _routes(self) -> _Routes:
        """Return the routes of the first kind of server that answers a query as such."""
        if self._kind is None:
            problem: _NoRouteError | None = None
            for kind in self._kinds:
                try:
                    self._ask(self.base + kind.query, "ASK {}")
                except _NoRouteError as error:
                    problem = error
                else:
                    self._kind = kind
                    self._http.auth = self._authentication()
                    return kind
            assert problem is not None
            raise problem
        return self._kind

    def _authentication(self) -> Any:
        if self._login is not None:
            return (HTTPDigestAuth if self._kind is _VIRTUOSO else HTTPBasicAuth)(*self._login)

        # Without a function, requests would read ~/.netrc again.
        def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if self._token:
                request.headers["Authorization"] = f"Bearer {self._token}"
            return request

        return bearer

    def _ask(self, url: str, text: str) -> Table:
        form = match[1].upper() if (match := _FORM.match(text)) else "SELECT"
        is_graph = form in ("CONSTRUCT", "DESCRIBE")
        accept = "application/n-triples" if is_graph else "application/sparql-results+json"
        # Oxigraph's way to let a query see all named graphs; other servers ignore the field.
        fields = {"query": text, "union-default-graph": ""}
        body = self._request("POST", url, data=fields, headers={"Accept": accept})
        rows: list[tuple[Term | None, ...]]
        try:
            if is_graph:
                triples = pyoxigraph.parse(body, RdfFormat.N_TRIPLES)
                rows = [(t.subject, t.predicate, t.object) for t in triples]
                return Table(["subject", "predicate", "object"], rows)
            table = table_of(pyoxigraph.parse_query_results(body, QueryResultsFormat.JSON))
        except (SyntaxError, ValueError) as error:
            cure = "Check that the URL is that of a SPARQL server"
            raise _NoRouteError("the answer is not one of SPARQL", url, cure) from error
        rows = [tuple(map(_standard, row)) for row in table.rows]
        if form == "ASK":
            # Virtuoso answers with a table: 1 in its only row, or no row.
            is_true = any(term in (Literal(True), Literal(1)) for row in rows for term in row)
            return Table(["answer"], [(Literal(is_true),)])
        return Table(table.columns, rows)

    def _request(
        self, method: str, url: str, *, accepted: Sequence[int] = (), **options: Any
    ) -> bytes:
        """Return the body of an answer; a server that is away is tried again."""
        for pause_s in (*_PAUSES_S, None):
            try:
                with self._http.request(
                    method, url, timeout=_TIMEOUT_S, allow_redirects=False, stream=True, **options
                ) as response:
                    if pause_s is None or response.status_code not in _AWAY:
                        body = _body(response, url)
                        status = response.status_code
                        if 200 <= status < 300 or status in accepted:
                            return body
                        raise self._rejected(response, body, url)
            except requests.Timeout as error:
                cure = "Try again later, or ask for less"
                raise GraphError("the SPARQL server does not answer in time", url, cure) from error
            except requests.RequestException as error:
                # The text of the error may have the password in it.
                lost = isinstance(error, requests.ConnectionError)
                if pause_s is None or not lost:
                    what = f"the SPARQL server cannot be reached: {type(error).__name__}"
                    cure = "Check YPROV_MLFLOW_INDEX, and that the server runs"
                    raise GraphError(what, url, cure) from error
            time.sleep(pause_s or 0.0)
        raise AssertionError("unreachable")

    def _rejected(self, response: requests.Response, body: bytes, url: str) -> GraphError:
        status = response.status_code
        message = " ".join(body.decode("utf-8", "replace").split())[:_MESSAGE_LENGTH]
        for secret in (self._token, self._login and self._login[1]):
            message = message.replace(secret, WITHHELD) if secret else message
        message = redact(message)
        if status == 400 and response.request.method == "POST":
            return QueryError.rejected(message or "HTTP 400")
        what = f"the SPARQL server rejects the request (HTTP {status}: {message or '-'})"
        cure = "Ask those who run the server; its log says more"
        if status in (401, 403):
            what = f"the SPARQL server requires a user who may do this (HTTP {status})"
            cure = f"Set {TOKEN}, or the user and password in YPROV_MLFLOW_INDEX or ~/.netrc"
        elif status in (404, 405) or 300 <= status < 400:
            what = f"there is no SPARQL server at this address (HTTP {status})"
            cure = "Set YPROV_MLFLOW_INDEX to the base of its routes, such as http://host:7878"
            return _NoRouteError(what, url, cure)
        elif status == 413:
            cure = "Raise the server's limit for the size of a request"
        elif status in _AWAY:
            what = f"the SPARQL server is busy or away (HTTP {status})"
            cure = "Try again later"
        return GraphError(what, url, cure)


class ServerGraph:
    """The documents on a server as a graph.

    Args:
        server: The server.
    """

    def __init__(self, server: SparqlServer) -> None:
        self.server = server

    def select(self, sparql: str) -> Table:
        """Return the answer to a query; see ``Graph``."""
        declared = {name.lower() for name in re.findall(r"\bPREFIX\s+([\w.-]*):", sparql, re.I)}
        prologue = "".join(
            f"PREFIX {name}: <{iri}>\n"
            for name, iri in PREFIXES.items()
            if name.lower() not in declared and f"{name}:" in sparql
        )
        return self.server.query(prologue + sparql)

    def quads(
        self, subject: Terms = None, predicate: Terms = None, object: Terms = None
    ) -> Iterator[Quad]:
        """Yield statements; see ``Graph``. Blank nodes of a server cannot be asked for."""
        for combination in product(*map(_batches, (subject, predicate, object))):
            values = " ".join(
                f"VALUES ?{name} {{ {' '.join(map(str, terms))} }}"
                for name, terms in zip("spo", combination, strict=True)
                if terms is not None
            )
            text = f"SELECT ?g ?s ?p ?o {{ {values} GRAPH ?g {{ ?s ?p ?o }} }}"
            rows: Iterable[Any] = self.server.query(text).rows
            for g, s, p, o in rows:
                yield Quad(s, p, o, g)


def _batches(terms: Terms) -> list[list[Any] | None]:
    """Return the terms of a position in parts for one query each; ``[None]`` for any term."""
    several = terms_of(terms)
    if several is None:
        return [None]
    named = [term for term in several if not isinstance(term, BlankNode)]
    return [named[start : start + _BATCH] for start in range(0, len(named), _BATCH)]


def _body(response: requests.Response, url: str) -> bytes:
    parts, size = [], 0
    for part in response.iter_content(2**16):
        size += len(part)
        if size > _MOST_BYTES:
            what = f"the answer has more than {_MOST_BYTES >> 20} MiB"
            raise GraphError(what, url, "Ask for less, for instance with LIMIT")
        parts.append(part)
    return b"".join(parts)


def _standard(term: Any) -> Any:
    """Return a term with truth values as documents write them; Virtuoso has 1 and 0."""
    if isinstance(term, Literal) and term.datatype == _BOOLEAN and term.value in "10":
        return Literal(term.value == "1")
    return term
