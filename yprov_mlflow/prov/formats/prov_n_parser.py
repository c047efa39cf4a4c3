"""Parse PROV-N (W3C Recommendation, 30 April 2013) into statements, with the line of errors.

The parser accepts slightly more than the grammar, as the Recommendations' own examples need it:
statements after bundles, and some of the optional arguments without the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from yprov_mlflow.prov.formats.parsed import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.model.literals import Value, integer
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS

QUALIFIED_NAME = "prov:QUALIFIED_NAME"
"""The type of values that PROV-N writes in single quotes."""

# Character classes of the grammar's names, after those of SPARQL. All quantifiers over a whole
# construct are possessive, so that a hostile file cannot make a match quadratic.
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
_NAME_ESCAPE = re.compile(r"\\(.)")
_TIME = re.compile(
    r"-?[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)

_SKIP = r"(?:[ \t\r\n]++|//[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+"
_WORD = r"(?:[^\s\x00-\x20\"'<>(),;\[\]=%\\{}|^`]|%[0-9A-Fa-f]{2}|\\[=',\-:;\[\]().])++"
_STRING = r"\"\"\"(?:[^\"\\]++|\\.|\"(?!\"\"))*+\"\"\"|\"(?:[^\"\\\r\n]++|\\.)*+\""
_STRING_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPES = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_IRI = r"<([^<>\"{}|^`\\\x00-\x20]++)>"

_BLANK = re.compile(_SKIP, re.DOTALL)
_NEXT_WORD = re.compile(rf"{_SKIP}({_WORD})", re.DOTALL)
_DECLARATION = re.compile(rf"{_SKIP}(?:prefix{_SKIP}({_WORD})|default){_SKIP}{_IRI}", re.DOTALL)
_HEAD = re.compile(rf"{_SKIP}({_WORD}){_SKIP}\(", re.DOTALL)
_ARGUMENT = re.compile(rf"{_SKIP}({_WORD}){_SKIP}([,;)])", re.DOTALL)
_OPEN = re.compile(rf"{_SKIP}\[", re.DOTALL)
_CLOSE_EMPTY = re.compile(rf"{_SKIP}\]", re.DOTALL)
_ATTRIBUTE = re.compile(
    rf"{_SKIP}({_WORD}){_SKIP}={_SKIP}"
    rf"(?:({_STRING})(?:@([A-Za-z]++(?:-[A-Za-z0-9]++)*+)|{_SKIP}%%{_SKIP}({_WORD}))?"
    rf"|'((?:[^'\\\r\n]++|\\.)*+)'|(-?[0-9]++)){_SKIP}([,\]])",
    re.DOTALL,
)
_CLOSE = re.compile(rf"{_SKIP}\)", re.DOTALL)
_EXTENSION = re.compile(rf"{_STRING}|'(?:[^'\\\r\n]++|\\.)*+'|<[^>\r\n]*+>|[()]", re.DOTALL)


class ProvNSyntaxError(ValueError):
    """The text is not PROV-N; the message has line and column."""


def is_time(text: str) -> bool:
    """Return whether text has the form of an ``xsd:dateTime``."""
    return _TIME.fullmatch(text) is not None


def parse(text: str, is_time: Callable[[str], bool] = is_time) -> Iterator[ParsedBundle]:
    """Yield each bundle, and last everything outside bundles.

    Args:
        text: A PROV-N document.
        is_time: Returns whether an argument is a valid time.

    Raises:
        ProvNSyntaxError: The text is not PROV-N.
    """
    return _Parser(text, is_time).bundles()


class _Parser:
    """Parses from a position onwards; each construct is one regular expression."""

    def __init__(self, text: str, is_time: Callable[[str], bool]) -> None:
        self._text = text
        self._position = 1 if text.startswith("\ufeff") else 0
        self._is_time = is_time
        # Most names occur many times: each spelling is checked and unescaped once.
        self._names: dict[str, str] = {}

    def bundles(self) -> Iterator[ParsedBundle]:
        """Yield each bundle, and last everything outside bundles."""
        match = _NEXT_WORD.match(self._text, self._position)
        if match is None or match[1] != "document":
            self._fail("a document starts with 'document'")
        self._position = match.end()
        declared = self._declarations()
        statements: list[ParsedStatement] = []
        while (keyword := self._peek()) != "endDocument":
            if keyword == "bundle":
                yield self._bundle(declared)
            else:
                statements.append(self._statement())
        self._word()
        end = _BLANK.match(self._text, self._position)
        if end is not None and end.end() != len(self._text):
            self._fail("unexpected content after 'endDocument'")
        yield ParsedBundle(None, declared, {}, statements)

    def _bundle(self, outer: dict[str, str]) -> ParsedBundle:
        self._word()
        match = self._match(_NEXT_WORD, "an id")
        declared = self._declarations()
        identifier = self._name(match[1], match.start(1))
        statements: list[ParsedStatement] = []
        while (keyword := self._peek()) != "endBundle":
            if keyword == "bundle":
                self._fail("a bundle cannot contain a bundle")
            statements.append(self._statement())
        self._word()
        return ParsedBundle(identifier, declared, outer, statements)

    # -- statements ------------------------------------------------------------------------

    def _declarations(self) -> dict[str, str]:
        declared: dict[str, str] = {}
        while match := _DECLARATION.match(self._text, self._position):
            prefix, namespace = match[1] or "default", match[2]
            if prefix in declared:
                self._fail(f"{prefix!r} is declared twice")
            if match[1] and not _PREFIX.fullmatch(prefix):
                self._fail(f"{prefix!r} is not a prefix")
            declared[prefix] = namespace
            self._position = match.end()
        return declared

    def _statement(self) -> ParsedStatement:
        head = self._match(_HEAD, "a statement")
        keyword, start = head[1], head.start(1)
        if keyword == "prov:mentionOf":  # so written by PROV-LINKS, which defines it
            keyword = "mentionOf"
        kind = KINDS.get(keyword)
        if kind is None:
            return self._extension(keyword, start)
        identifier, words, listed = self._arguments()
        attributes = self._attributes() if listed else None
        if keyword in ELEMENTS:
            if identifier is not None:
                self._fail("unexpected ';'", start)
            identifier, *words = words
        elif not kind.named and (identifier is not None or attributes is not None):
            self._fail(f"{keyword} has neither an id nor attributes", start)
        count = len(kind.formals)
        most, least = count + len(kind.times), sum(kind.required)
        if not least <= len(words) <= most:
            self._fail(f"{keyword} takes {most} arguments, not {len(words)}", start)
        # Omitted arguments at the end count as "-": each has the position that its kind gives it.
        arguments = [None if word == "-" else word for word in words]
        arguments += [None] * (most - len(arguments))
        times = tuple(arguments[count:])
        for time in times:
            if time is not None and not self._is_time(time):
                self._fail(f"{time!r} is not a time", start)
        return ParsedStatement(
            keyword,
            None if identifier in (None, "-") else self._name(str(identifier), start),
            tuple([None if w is None else self._name(w, start) for w in arguments[:count]]),
            times,
            attributes,
            len(words) in (least, most),
        )

    def _arguments(self) -> tuple[str | None, list[str], bool]:
        """Return the id before a semicolon, the arguments, and whether attributes follow."""
        identifier: str | None = None
        words: list[str] = []
        mark = ","
        while mark != ")":
            opening = _OPEN.match(self._text, self._position) if words else None
            if opening is not None:
                self._position = opening.end()
                return identifier, words, True
            match = self._match(_ARGUMENT, "an id, '-' or a time, and then ',', ';' or ')'")
            word, mark = match[1], match[2]
            if mark != ";":
                words.append(word)
            elif words or identifier is not None:
                self._fail("unexpected ';'", match.start(2))
            else:
                identifier = word
        return identifier, words, False

    def _attributes(self) -> list[tuple[str, Value]]:
        attributes: list[tuple[str, Value]] = []
        mark = ","
        empty = _CLOSE_EMPTY.match(self._text, self._position)
        if empty is not None:
            self._position, mark = empty.end(), "]"
        while mark != "]":
            match = self._match(_ATTRIBUTE, "an attribute, and then ',' or ']'")
            mark = match[7]
            attributes.append((self._name(match[1], match.start(1)), self._value(match)))
        self._match(_CLOSE, "')'")
        return attributes

    def _value(self, match: re.Match[str]) -> Value:
        _, string, language, datatype, quoted, number, _ = match.groups()
        if quoted is not None:
            return {"$": self._name(quoted, match.start(5)), "type": QUALIFIED_NAME}
        if number is not None:
            try:
                return integer(int(number))
            except ValueError:  # Python refuses integers of more than 4,300 digits
                self._fail("the number is too long", match.start(6))
        text = self._unescaped(string, match.start(2))
        if language is not None:
            return {"$": text, "lang": language}
        if datatype is not None:
            return {"$": text, "type": self._name(datatype, match.start(4))}
        return text

    def _unescaped(self, string: str, position: int) -> str:
        quotes = 3 if string.startswith('"""') else 1
        text = string[quotes:-quotes]
        if "\\" not in text:
            return text

        def character(match: re.Match[str]) -> str:
            four, eight, letter = match.groups()
            code = int(four or eight or "0", 16)
            escape = _ESCAPES.get(letter)
            # Surrogates are halves of characters, which a text cannot contain.
            if letter is None and (code < 0xD800 or 0xDFFF < code <= 0x10FFFF):
                escape = chr(code)
            if escape is None:
                self._fail(f"unknown escape {match[0]!r}", position + quotes + match.start())
            return escape

        return _STRING_ESCAPE.sub(character, text)

    def _extension(self, keyword: str, start: int) -> ParsedStatement:
        """Skip a statement of another vocabulary."""
        if ":" not in keyword:
            self._fail(f"unknown statement {keyword!r}", start)
        name = self._name(keyword, start)
        depth = 1
        for token in _EXTENSION.finditer(self._text, self._position):
            depth += (token[0] == "(") - (token[0] == ")")
            if not depth:
                self._position = token.end()
                return ParsedStatement(name)
        self._fail("this statement does not end", start)

    # -- words -----------------------------------------------------------------------------

    def _name(self, word: str, position: int) -> str:
        name = self._names.get(word)
        if name is None:
            if not _NAME.fullmatch(word):
                self._fail(f"{word!r} is not a name", position)
            name = _NAME_ESCAPE.sub(r"\1", word) if "\\" in word else word
            self._names[word] = name
        return name

    def _peek(self) -> str:
        return self._match(_NEXT_WORD, "a statement or an end", move=False)[1]

    def _word(self) -> None:
        self._match(_NEXT_WORD, "a word")

    def _match(self, pattern: re.Pattern[str], what: str, *, move: bool = True) -> re.Match[str]:
        match = pattern.match(self._text, self._position)
        if match is None:
            self._fail(f"expected {what}")
        if move:
            self._position = match.end()
        return match

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        if position is None:
            blank = _BLANK.match(self._text, self._position)
            position = self._position if blank is None else blank.end()
        line = self._text.count("\n", 0, position) + 1
        column = position - self._text.rfind("\n", 0, position)
        raise ProvNSyntaxError(f"{reason} (line {line}, column {column})")
