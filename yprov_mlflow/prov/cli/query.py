"""``yprov-mlflow query``: SPARQL over many documents, and the shipped questions."""

from __future__ import annotations

import click

from yprov_mlflow.prov.cli import console, graph_options
from yprov_mlflow.prov.errors import UsageError


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, such as a question that does not exist.",
)
@click.argument("query", required=False)
@click.argument("arguments", nargs=-1)
@click.option("--list", "is_list", is_flag=True, help="List the shipped questions.")
@click.option("--explain", is_flag=True, help="Print a shipped question instead of asking it.")
@graph_options.format_option("table", "csv", "json")
@graph_options.source_option
def query(
    query: str | None,
    arguments: tuple[str, ...],
    *,
    is_list: bool,
    explain: bool,
    form: str,
    sources: tuple[str, ...],
) -> None:
    """Ask in SPARQL, or ask the shipped question @NAME.

    Queries may use the prefixes of our documents (prov, mlf, dcterms, schema, mls, qudt, sosa,
    fair4ml, sha256, rdf, rdfs, xsd) without declaring them. ARGUMENTS are the values of a
    question's parameters, in their order.

    \b
    Examples:
      yprov-mlflow query --list
      yprov-mlflow query @runs-with-dataset clean
      yprov-mlflow query 'SELECT ?run ?name { ?run a mlf:Run ; rdfs:label ?name }'
    """
    from yprov_mlflow.prov.graph import questions

    if is_list:
        rows = [
            (f"@{q.name}", " ".join(p.name.upper() for p in q.parameters), q.title)
            for q in questions.all_shipped()
        ]
        graph_options.print_rows(("question", "parameters", "title"), rows)
        return
    if query is None:
        raise UsageError("there is no query", None, "Write SPARQL or @NAME; --list lists names")
    if explain:
        question = questions.shipped(query.removeprefix("@"))
        click.echo(f"{question.title}\n{question.explanation}\n")
        for parameter in question.parameters:
            click.echo(f"{parameter.name.upper()} ({parameter.kind}): {parameter.explanation}")
        click.echo(f"\n{question.sparql}")
        return
    answer = questions.ask(graph_options.graph_to_ask(sources), query, arguments)
    if form == "json":
        console.print_json(answer.to_dict())
    elif form == "csv":
        click.echo(answer.to_csv(), nl=False)
    else:
        graph_options.print_rows(answer.columns, answer.rows)
