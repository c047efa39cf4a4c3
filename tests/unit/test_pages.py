"""The blocks of all pages: commands have these options, programs and tables these forms."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pyoxigraph
import pytest

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.model.vocabulary import PREFIXES

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "migration/**/*.md", "examples/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ENDS_OF_COMMANDS = {"|", "||", "&&", ";", ">", ">>", "&"}


def sparql(text: str) -> None:
    """Parse a query; the prefixes of documents need no declaration."""
    pyoxigraph.Store().query(text, prefixes=PREFIXES)


FORMS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "python": lambda text: compile(text, "page", "exec"),
    "sparql": sparql,
    "toml": tomllib.loads,
}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each ``yprov-mlflow`` command of a shell script."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # output of a command
            continue
        if "yprov-mlflow" not in words:
            continue
        last = len(words) - 1 - words[::-1].index("yprov-mlflow")
        for start in [i for i, word in enumerate(words) if word == "yprov-mlflow" and i <= last]:
            end = next(
                (i for i in range(start, len(words)) if words[i] in ENDS_OF_COMMANDS), len(words)
            )
            yield words[start + 1 : end]


def parse(command: click.Command, words: list[str]) -> None:
    """Parse the options of a command; raise ``click.UsageError`` for one that does not exist."""
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        return parse(command.commands[words[0]], words[1:])
    context = click.Context(command, help_option_names=["-h", "--help"])
    _, extra, _ = command.make_parser(context).parse_args(list(words))
    assert not extra or command.allow_extra_args or isinstance(command, click.Group), extra
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_have_the_form_of_their_language(page: Path) -> None:
    for language, text in BLOCK.findall(page.read_text("utf-8")):
        if language in FORMS:
            FORMS[language](text)
        if language in ("console", "bash"):
            for words in commands(text):
                parse(main, words)
