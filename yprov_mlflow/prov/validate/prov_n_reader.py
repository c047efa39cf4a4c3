"""PROV-N as statements (W3C Recommendation, 30 April 2013), with the line of what is wrong.

More than the grammar is read: statements after bundles, and some of the optional arguments
without the others, as the Recommendations' own examples have them; that is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from yprov_mlflow.prov.validate import rules, xsd_datetime
from yprov_mlflow.prov.validate.findings import Finding, warning
from yprov_mlflow.prov.validate.judgement import Instance
from yprov_mlflow.prov.validate.kinds import ELEMENTS, KINDS
from yprov_mlflow.prov.validate.names import PROV, Names
from yprov_mlflow.prov.validate.statements import Statement

_BASE = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d"
    "\u2070-\u218f\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_INSIDE = _BASE + "_0-9\u00b7\u0300-\u036f\u203f\u2040\\-"
_OTHERS = "/@~&+*?#$!"
_ESCAPED = r"%[0-9A-Fa-f]{2}|\\[=',\-:;\[\]().]"
_LOCAL = (
    rf"(?:[{_BASE}_0-9{_OTHERS}]|{_ESCAPED})"
    rf"(?:[{_INSIDE}.{_OTHERS}]|{_ESCAPED})*+(?<![^\\]\.)"
)
_NAME = re.compile(rf"(?:[{_BASE}](?:[{_INSIDE}.]*[{_INSIDE}])?:(?:{_LOCAL})?|{_LOCAL})")
_PREFIX = re.compile(rf"[{_BASE}](?:[{_INSIDE}.]*[{_INSIDE}])?")
_ESCAPE = re.compile(r"\\(.)")

_SKIP = r"(?:[ \t\r\n]++|//[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+"
_WORD = r"(?:[^\s\x00-\x20\"'<>(),;\[\]=%\\{}|^`]|%[0-9A-Fa-f]{2}|\\[=',\-:;\[\]().])++"
_TEXT = r"\"\"\"(?:[^\"\\]++|\\.|\"(?!\"\"))*+\"\"\"|\"(?:[^\"\\\r\n]++|\\.)*+\""
_IRI = r"<([^<>\"{}|^`\\\x00-\x20]++)>"

_BLANK = re.compile(_SKIP, re.DOTALL)
_WORD_HERE = re.compile(rf"{_SKIP}({_WORD})", re.DOTALL)
_DECLARATION = re.compile(rf"{_SKIP}(?:prefix{_SKIP}({_WORD})|default){_SKIP}{_IRI}", re.DOTALL)
_HEAD = re.compile(rf"{_SKIP}({_WORD}){_SKIP}\(", re.DOTALL)
_ARGUMENT = re.compile(rf"{_SKIP}({_WORD}){_SKIP}([,;)])", re.DOTALL)
_OPEN = re.compile(rf"{_SKIP}\[", re.DOTALL)
_SHUT = re.compile(rf"{_SKIP}\]", re.DOTALL)
_ATTRIBUTE = re.compile(
    rf"{_SKIP}({_WORD}){_SKIP}={_SKIP}"
    rf"(?:({_TEXT})(?:@[A-Za-z]++(?:-[A-Za-z0-9]++)*+|{_SKIP}%%{_SKIP}({_WORD}))?"
    rf"|'((?:[^'\\\r\n]++|\\.)*+)'|-?[0-9]++){_SKIP}([,\]])",
    re.DOTALL,
)
_CLOSE = re.compile(rf"{_SKIP}\)", re.DOTALL)
_EXTENSION = re.compile(rf"{_TEXT}|'(?:[^'\\\r\n]++|\\.)*+'|<[^>\r\n]*+>|[()]", re.DOTALL)


class Malformed(ValueError):
    """The text is no PROV-N."""


class _Parts(NamedTuple):
    """What was read of a statement; ``types`` is None where it has no list of attributes."""

    keyword: str
    identifier: str | None
    words: list[str]
    types: tuple[str, ...] | None
    begin: int


class _Scope(NamedTuple):
    """Where statements go."""

    names: Names
    statements: list[Statement]
    findings: list[Finding]
    checked: dict[str, str]
    """Names as they are written, with what they resolve to."""


def instances(text: str) -> Iterator[Instance]:
    """Give each bundle as it ends, and at last what lies outside bundles.

    Raises:
        Malformed: The text is no PROV-N; the message says where.
    """
    return _Parser(text).instances()


class _Parser:
    """Reads on from a place; each construct is one regular expression that matches there."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 1 if text.startswith("\ufeff") else 0

    def instances(self) -> Iterator[Instance]:
        """Give each bundle as it ends, and at last what lies outside bundles."""
        found = _WORD_HERE.match(self._text, self._place)
        if found is None or found[1] != "document":
            self._fail("'document' has to come first")
        self._word()
        top = _scope(self._declarations({}))
        while (keyword := self._peek()) != "endDocument":
            if keyword == "bundle":
                yield self._bundle(top.names.prefixes)
            else:
                self._statement(top)
        self._word()
        end = _BLANK.match(self._text, self._place)
        if end is not None and end.end() != len(self._text):
            self._fail("there is more after 'endDocument'")
        yield Instance(top.statements, top.names, None, top.findings)

    def _bundle(self, outer: dict[str, str]) -> Instance:
        self._word()
        found = self._match(_WORD_HERE, "an id")
        scope = _scope(self._declarations(outer))
        identifier = self._name(found[1], scope, found.start(1))
        while (keyword := self._peek()) != "endBundle":
            if keyword == "bundle":
                self._fail("a bundle cannot contain a bundle")
            self._statement(scope)
        self._word()
        return Instance(scope.statements, scope.names, identifier, scope.findings)

    # -- parts -----------------------------------------------------------------------------

    def _declarations(self, outer: dict[str, str]) -> dict[str, str]:
        declared: dict[str, str] = {}
        while found := _DECLARATION.match(self._text, self._place):
            prefix, namespace = found[1] or "default", found[2]
            if prefix in declared:
                self._fail(f"{prefix!r} is declared twice")
            if found[1] and not _PREFIX.fullmatch(prefix):
                self._fail(f"{prefix!r} is no prefix")
            declared[prefix] = namespace
            self._place = found.end()
        return {**outer, **declared}

    def _statement(self, scope: _Scope) -> None:
        head = self._match(_HEAD, "a statement")
        keyword, begin = head[1], head.start(1)
        if keyword == "prov:mentionOf":  # as PROV-LINKS spells it
            keyword = "mentionOf"
        if keyword not in KINDS:
            self._extension(keyword, begin, scope)
            return
        identifier, words, listed = self._arguments()
        types = self._attributes(scope) if listed else None
        self._add(_Parts(keyword, identifier, words, types, begin), scope)

    def _arguments(self) -> tuple[str | None, list[str], bool]:
        """Read what is in the parentheses, up to attributes, if there are any."""
        identifier: str | None = None
        words: list[str] = []
        mark = ","
        while mark != ")":
            opening = _OPEN.match(self._text, self._place) if words else None
            if opening is not None:
                self._place = opening.end()
                return identifier, words, True
            found = self._match(_ARGUMENT, "an id, '-' or a time, and then ',', ';' or ')'")
            word, mark = found[1], found[2]
            if mark != ";":
                words.append(word)
            elif words or identifier is not None:
                self._fail("';' cannot come here", found.start(2))
            else:
                identifier = word
        return identifier, words, False

    def _attributes(self, scope: _Scope) -> tuple[str, ...]:
        """Read attributes and what closes the statement; give the types among them."""
        types: list[str] = []
        mark = ","
        empty = _SHUT.match(self._text, self._place)
        if empty is not None:
            self._place, mark = empty.end(), "]"
        while mark != "]":
            found = self._match(_ATTRIBUTE, "an attribute, and then ',' or ']'")
            name, text, datatype, quoted, mark = found.groups()
            self._name(name, scope, found.start(1))
            if datatype is not None:
                self._name(datatype, scope, found.start(3))
            if quoted is not None:
                self._name(quoted, scope, found.start(4))
            if scope.names.expand(name) == f"{PROV}type":
                types.append(_ESCAPE.sub(r"\1", quoted) if quoted else (text or "").strip('"'))
        self._match(_CLOSE, "')'")
        return tuple(types)

    def _add(self, parts: _Parts, scope: _Scope) -> None:
        """Put a statement together, by what its kind has at which place."""
        keyword, identifier, words, types, begin = parts
        kind = KINDS[keyword]
        if keyword in ELEMENTS:
            if identifier is not None:
                self._fail("';' cannot come here", begin)
            identifier, *words = words
        elif not kind.named and (identifier is not None or types is not None):
            self._fail(f"{keyword} has neither an id nor attributes", begin)
        places = len(kind.formals)
        wanted, least = places + len(kind.times), sum(kind.required)
        if not least <= len(words) <= wanted:
            self._fail(f"{keyword} takes {wanted} arguments, and not {len(words)}", begin)
        said = [None if word == "-" else word for word in words]
        said += [None] * (wanted - len(said))
        statement = Statement(
            keyword,
            None if identifier in (None, "-") else self._name(str(identifier), scope, begin),
            tuple([None if w is None else self._name(w, scope, begin) for w in said[:places]]),
            tuple(said[places:]),
            types or (),
            types is not None,
        )
        for time in statement.times:
            if time is not None and xsd_datetime.read(time) is None:
                self._fail(f"{time!r} is no time", begin)
        if len(words) not in (least, wanted):
            message = "PROV-N has all of the optional arguments or none ('-' for what is not said)"
            scope.findings.append(warning(rules.SYNTAX, str(statement), message))
        scope.statements.append(statement)

    def _extension(self, keyword: str, begin: int, scope: _Scope) -> None:
        """Pass over a statement of some other vocabulary."""
        if ":" not in keyword:
            self._fail(f"there is no statement {keyword!r}", begin)
        self._name(keyword, scope, begin)
        depth = 1
        for token in _EXTENSION.finditer(self._text, self._place):
            depth += (token[0] == "(") - (token[0] == ")")
            if not depth:
                self._place = token.end()
                message = "this statement is none of PROV's, and is not judged"
                scope.findings.append(warning(rules.SYNTAX, keyword, message))
                return
        self._fail("this statement does not end", begin)

    # -- words -----------------------------------------------------------------------------

    def _name(self, written: str, scope: _Scope, place: int) -> str:
        known = scope.checked.get(written)
        if known is None:
            if not _NAME.fullmatch(written):
                self._fail(f"{written!r} is no name", place)
            name = _ESCAPE.sub(r"\1", written) if "\\" in written else written
            known = scope.checked[written] = scope.names.resolve(name)
        return known

    def _peek(self) -> str:
        return self._match(_WORD_HERE, "a statement or an end", move=False)[1]

    def _word(self) -> None:
        self._match(_WORD_HERE, "a word")

    def _match(self, pattern: re.Pattern[str], what: str, *, move: bool = True) -> re.Match[str]:
        found = pattern.match(self._text, self._place)
        if found is None:
            self._fail(f"{what} has to come here")
        if move:
            self._place = found.end()
        return found

    def _fail(self, reason: str, place: int | None = None) -> NoReturn:
        if place is None:
            blank = _BLANK.match(self._text, self._place)
            place = self._place if blank is None else blank.end()
        line = self._text.count("\n", 0, place) + 1
        column = place - self._text.rfind("\n", 0, place)
        raise Malformed(f"{reason} (line {line}, column {column})")


def _scope(prefixes: dict[str, str]) -> _Scope:
    return _Scope(Names(prefixes), [], [], {})
