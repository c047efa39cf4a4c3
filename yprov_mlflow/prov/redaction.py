"""What counts as secret, and how it is replaced; standard library only.

This is the only list of secrets in the package. Every event passes ``redact_event`` before it is
written to a journal or translated, so that live capture and conversion withhold the same.
Equal secrets become equal text, and redacted text stays as it is if it is redacted again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

WITHHELD = "(withheld)"
"""Replaces a secret in events, documents and messages."""

IDENTIFYING_FIELDS = frozenset({"name", "secret_id", "secret_name", "webhook_id"})
"""The only arguments and results that are recorded of a call that manages secrets."""

# Deeper than any real content; no text of a hostile store may exhaust the stack.
_MAX_DEPTH = 100

# -- names -------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_KEY_OWNERS = (
    "api|access|secret|private|account|auth|signing|encryption|shared|storage|subscription|client"
    "|license|deploy|hmac|wandb|openai|anthropic|comet|neptune|kaggle|aws|azure|gcp|hf"
)
# Searched in the words of a name, joined by "_".
_SURE = re.compile(
    r"passw(?:or)?d|passphrase|passcode|secret(?!ar|ed|ion|or|ome)|credential|apikey"
    r"|accesskey|privatekey|(?:\A|_)pwd(?:_|\Z)|authorization|auth_config|(?:\A|_)encrypted_"
    r"|wrapped_[dk]ek"
    rf"|(?:\A|_)(?:(?:{_KEY_OWNERS})_keys?|jwt|bearer)(?:_|\Z)|connection_string|shared_access"
)
_TOKEN = re.compile(r"token(?:_hash|_value)?\Z")
# Tokens of tokenizers, models and result pages.
_NO_SECRET_TOKEN = re.compile(
    r"(?:\A|_)(?:pad|eos|bos|unk|cls|sep|mask|fim|special|extra|image|img|audio|video|speech|word"
    r"|text|chat|system|assistant|think|tool|turn|class|patch|start|end|begin|stop|blank|space"
    r"|first|last|next|prev|page|continuation|prefix|suffix|middle|max|min|num|n|per|new|input"
    r"|output|prompt|context|query|placeholder|initializer|modifier|trigger|separator|delimiter"
    r"|newline|answer|response|pooling|register|eot|sot|boi|eoi)_token(?:_hash|_value)?\Z"
)
# Names that end like this are about secrets, but their values are not secret: secret_id.
_PUBLIC = frozenset(
    "id ids name names version versions count counts file filename path dir folder length len size"
    " strength policy type kind field column accuracy score loss rate precision recall auc min max"
    " required enabled arn env var expiry expires age ttl scope hint manager provider".split()
)
# Values that are not secrets: absent ones, types, variables, and placeholders such as <pad>.
_HARMLESS = re.compile(
    r"|none|null|nil|true|false|yes|no|u?int\d*|integer|float\d*|double|bool(?:ean)?|str(?:ing)?"
    r"|object|long|binary|\*+|\(withheld\)|<[^<>\"]*>|\[[A-Z0-9_]*\]|\$\w+|\$\{[^}]*\}"
    r"|\{\{[^}]*\}\}",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?\d[\d.]*(?:e[-+]?\d+)?", re.IGNORECASE)
# In a URI, the name of a row or file: ?key=iris, ?key=data/train.csv, ?code=49.
_NO_KEY = re.compile(r"\d{1,6}|[a-z_\-]{1,12}|[A-Z]{1,6}|[\w./\-]+\.\w{1,5}")
# Longer values are withheld without a look: a text may have any number of names before them.
_MOST_HARMLESS = 500


def _words(name: str) -> str:
    words = [word.lower() for word in _WORD.findall(name[:128])]
    while words and words[-1].isdigit():  # password2
        words.pop()
    return "_".join(words)


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Return whether a field, option or variable of this name holds a secret."""
    words = _words(name)
    if words.rpartition("_")[2] in _PUBLIC:
        return False
    if _SURE.search(words):
        return True
    return bool(_TOKEN.search(words)) and not _NO_SECRET_TOKEN.search(words)


def _is_harmless(name: str, value: str) -> bool:
    if len(value) > _MOST_HARMLESS:
        return False
    value = value.strip()
    if _HARMLESS.fullmatch(value) or value == name:
        return True
    name = name.lower()
    if name.endswith("pwd"):  # of shells, the working directory
        return value.startswith(("/", "~", "."))
    if name in ("key", "code"):
        return bool(_NO_KEY.fullmatch(value))
    return name.endswith("token") and bool(_NUMBER.fullmatch(value))


def manages_secrets(method: str) -> bool:
    """Return whether a store method creates, reads or changes secrets."""
    # The URL of a webhook may hold a token.
    return is_secret(method) or "webhook" in method or "secret" in method


# -- URIs --------------------------------------------------------------------------------

# A word of text. Quotes end it: a URI in JSON or in an error message is quoted.
_URI_WORD = re.compile(r'[^\s"<>]+')
_USER = re.compile(r"([A-Za-z][\w+.\-]{0,63})://((?:[^\s/?#@]*@)+)")
# Before an @, these have a name and not a user: a container of Azure, a profile of Databricks.
_CONTAINER_SCHEMES = frozenset({"abfs", "abfss", "wasb", "wasbs"})
_DIGESTS = ("sha256:", "sha512:")  # after the name of a container image
_DATABRICKS = re.compile(r"databricks(?![\w.\-])")
# A user whose password has characters that should have been quoted (u:p#w@host); not a port.
_LOOSE_USER = re.compile(r"(?<!file)://(?!\[)(?=[^/:@?#]*:(?!\d+(?:[/?#;,]|\Z)))")
_SPACED_USER = re.compile(r"([A-Za-z][\w+.\-]{0,63}://)[^\s/?#:@]+:(?!\d+[\s,;.:)])[^/?#\n@]*@")

# Names are bounded in length, so that a long text that is not a URI takes linear time.
_PARAMETER = re.compile(r"(?:[?&;#]|\\u0026)(?P<name>[^=&;#?\s/]{1,80})=")
_PARAMETER_VALUE = re.compile(r"(?P<quote>)(?:[^&\s\"<>'\\]|'(?![\s,)\]}:;]|\Z)|\\(?![\\\"u]|\Z))+")
# Secret in a URI only; words without separators, as ``_words`` joins them otherwise.
_PARAMETERS = frozenset(
    "user username pwd pass sig signature hmac auth authkey authtoken accesstoken key code jwt sas"
    " ticket assertion sessionid awsaccesskeyid googleaccessid ossaccesskeyid odbcconnect".split()
)
_PARAMETER_ENDS = frozenset({"signature", "sig", "hmac", "jwt"})
_CLOUDFLARE = re.compile(r"\d{10}-.")
_QUOTED_URI = re.compile("%3A%2F%2F", re.IGNORECASE)


def _withhold(
    text: str,
    heads: re.Pattern[str],
    values: re.Pattern[str],
    has_secret: Callable[[re.Match[str]], bool],
) -> str:
    """Replace the values that follow the names for which ``has_secret`` is true."""
    parts: list[str] = []
    end = 0
    for head in heads.finditer(text):
        # Values inside of one that is withheld are gone already.
        if head.start() < end or not has_secret(head):
            continue
        value = values.match(text, head.end())
        if value is None or _is_harmless(head["name"], value[0].strip("\\\"'")):
            continue
        quote_mark = value["quote"] or head.groupdict().get("named") or ""
        parts += text[end : head.end()], quote_mark, WITHHELD, quote_mark
        end = value.end()
    return "".join((*parts, text[end:])) if parts else text


def _is_secret_parameter(head: re.Match[str]) -> bool:
    name = unquote(head["name"])
    words = _words(name)
    joined = words.replace("_", "")
    if joined == "verify":
        return bool(_CLOUDFLARE.match(head.string, head.end()))
    return joined in _PARAMETERS or words.rpartition("_")[2] in _PARAMETER_ENDS or is_secret(name)


def _without_user(match: re.Match[str]) -> str:
    scheme, user = match[1].lower(), match[2]
    is_container = scheme in _CONTAINER_SCHEMES and ":" not in user
    is_digest = match.string.startswith(_DIGESTS, match.end())
    is_profile = scheme in ("databricks", "dbfs", "models", "runs") and _DATABRICKS.match(
        match.string, match.end()
    )
    return match[0] if is_container or is_digest or is_profile else f"{match[1]}://"


def _redact_word(word: str, *, nested: bool = False) -> str:
    if "://" in word and "@" in word:
        word = _USER.sub(_without_user, word)
        at = word.rfind("@")
        user = None if _USER.match(word) else _LOOSE_USER.search(word)
        if user is not None and user.end() <= at and not word.startswith(_DIGESTS, at + 1):
            word = word[: user.end()] + word[at + 1 :]
    if "=" not in word:
        return word
    if not nested and _QUOTED_URI.search(word):
        word = "&".join(map(_redact_quoted, word.split("&")))
    return _withhold(word, _PARAMETER, _PARAMETER_VALUE, _is_secret_parameter)


def _redact_quoted(parameter: str) -> str:
    """Redact a URI that is the value of another URI's parameter."""
    name, equals, value = parameter.partition("=")
    decoded = unquote(value)
    redacted = _redact_word(decoded, nested=True)
    return parameter if redacted == decoded else f"{name}{equals}{quote(redacted, safe='()')}"


def _redact_uris(text: str) -> str:
    if ("@" not in text and "=" not in text) or ("://" not in text and "?" not in text):
        return text
    user = _SPACED_USER.match(text)
    if user is not None and " " in user[0]:
        text = user[1] + text[user.end() :]

    def replace(match: re.Match[str]) -> str:
        word = match[0]
        return _redact_word(word) if "://" in word or "?" in word else word

    return _URI_WORD.sub(replace, text)


# -- text --------------------------------------------------------------------------------

# Tokens that their issuers made recognizable. Hexadecimal digits alone are a digest or a commit.
_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[oprsu]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w\-]{20,}"
    r"|\bhf_[A-Za-z0-9]{34}\b|\bnpm_[A-Za-z0-9]{36}|\bpypi-AgE[\w\-]{20,}"
    r"|(?<![\w\-])sk-(?=[\w\-]*\d)(?:(?:proj|ant|svcacct|admin|or)-[\w\-]{16,}|[A-Za-z0-9]{32,})"
    r"|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|\bxox[abeoprs]-[\w\-]{10,}|\bxapp-[\w\-]{16,}"
    r"|\bAIza[\w\-]{35}|\bya29\.[\w\-]{20,}|\bdapi[0-9a-f]{32}"
    r"|(?<![\w\-])eyJ[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=hooks\.slack\.com/services/)[\w/]+|(?<=/api/webhooks/)\d+/[\w\-]+"
    r"|(?<=api\.telegram\.org/bot)\d+:[\w\-]+"
    r"|(?<=[Bb]earer )(?=[\w.~+/\-]*\d)[\w.~+/\-]{16,}=*"
)
# Each such token, and each name of a secret, has one of these, which are cheaper to search for.
_SHAPE_MARKS = (
    "AKIA ASIA gh glpat- hf_ npm_ pypi- sk- k_live k_test xox xapp- AIza ya29. dapi eyJ PRIVATE"
    " hooks. /webhooks/ telegram earer".split()
)
_NAME_MARKS = (
    "pass pwd secret credential token key auth connection encrypted wrapped jwt bearer"
    " shared".split()
)
_ASSIGNMENT = re.compile(
    r"(?<![\w.\-])-{0,2}(?P<name>[A-Za-z_][\w.\-]{0,63})"
    r"(?P<named>\\*[\"'])?(?P<equals>=(?![=>])|\s{0,3}(?:=>|=(?!=)|:)\s{0,3})"
)
_OPTION = re.compile(r"(?<![\w\-])--?(?P<name>[A-Za-z][\w.\-]{0,63})\s{1,3}(?=[^\s\-])")
_VALUE = re.compile(
    r"(?P<quote>\\*[\"'])(?:(?!(?P=quote))(?:\\[\s\S]|[^\\]|\\\Z))*(?:(?P=quote)|\Z)"
    r"|\(withheld\)|(?:(?:bearer|basic|digest)\s+)?(?![{\[])[^\s\"'&,;<>)\]}]+",
    re.IGNORECASE,
)
# Options without a value that ask for a secret or say where it is: --use-auth-token.
_SWITCH = re.compile(r"(?:no|use|ask|with|prompt|enable|disable|show|save)(?![a-z])", re.IGNORECASE)
_SHORT_OPTIONS = frozenset({"pass", "pw"})


def _is_secret_assignment(head: re.Match[str]) -> bool:
    name, equals = head["name"], head["equals"]
    if not is_secret(name):
        return False
    if ":" in equals and not head["named"]:  # prose, unless it is a header of HTTP
        return "-" in name or name.lower() == "authorization"
    is_quoted = head.string.startswith(("'", '"', "\\"), head.end())
    return bool(head["named"]) or is_quoted or equals == "=" or ":" in equals


def _takes_secret(option: str) -> bool:
    """Return whether the argument after a command line option is a secret."""
    if _SWITCH.match(option):
        return False
    return is_secret(option) or option.lower() in _SHORT_OPTIONS


def redact(text: str) -> str:
    """Return a text, or a URI, without secrets.

    These are users and passwords of URIs, their secret parameters, tokens of a known shape, and
    values after a secret name: ``password=x``, ``"api_key": "x"``, ``--token x``.
    """
    if len(text) < 16 and not (":" in text or "=" in text or "--" in text):
        return text
    text = redact_content(text)
    if not ("=" in text or ":" in text or "-" in text):
        return text
    lower = text.lower()
    if any(mark in lower for mark in _NAME_MARKS):
        text = _withhold(text, _ASSIGNMENT, _VALUE, _is_secret_assignment)
        if "-" in text:
            text = _withhold(text, _OPTION, _VALUE, lambda head: _takes_secret(head["name"]))
    return text


def redact_content(text: str) -> str:
    """Return a text that users or models wrote without the secrets of URIs and known tokens."""
    text = _redact_uris(text)
    return _SHAPES.sub(WITHHELD, text) if any(mark in text for mark in _SHAPE_MARKS) else text


def redact_arguments(arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments of a command line without secrets.

    Options of one letter mean something else in each program; their values are recorded.
    """
    redacted: list[Any] = []
    secret_option = ""
    for argument in arguments:
        text = str(argument)
        option, equals, value = text.partition("=")
        name = option.lstrip("-+")
        is_name = text.startswith("-") and not equals
        if secret_option and not text.startswith("-"):
            redacted.append(text if _is_harmless(secret_option, text) else WITHHELD)
        elif equals and _takes_secret(name) and not _is_harmless(name, value.strip("\"'")):
            redacted.append(f"{option}={WITHHELD}")
        else:
            redacted.append(redact(text))
        secret_option = name if is_name and _takes_secret(name) else ""
    return redacted


# -- source code -------------------------------------------------------------------------

# A string literal after a secret name: of a variable, an attribute, a key or an argument.
_LITERAL = re.compile(
    r"(?<![\w\-])(?P<name>[A-Za-z_][\w.\-]{0,63})(?:[\"']?\]|[\"'])?"
    r"(?:\s{0,3}:\s{0,3}[A-Za-z][\w\[\]., |]{0,40}?)?\s{0,3}(?:=(?!=)|:)\s{0,3}\(?[rbuRBU]{0,2}"
    r"(?=[\"'])"
)
_SET_VARIABLE = re.compile(
    r"(?:setdefault|setenv|putenv|getenv|get)\(\s{0,3}[\"'](?P<name>[A-Za-z_]\w{0,63})[\"']\s{0,3},"
    r"\s{0,3}(?=[\"'])"
)
# Literals that Python joins are one value, as are the quotes of a longer literal.
_LITERALS = re.compile(
    r"(?P<quote>[\"'])(?:(?!(?P=quote))(?:\\[\s\S]|[^\\]))*(?P=quote)"
    r"(?:[\s\\]{0,99}[rbuRBU]{0,2}([\"'])(?:(?!\2)(?:\\[\s\S]|[^\\]))*\2)*"
)
_ENTRY = re.compile(
    r"^[ \t\-]{0,99}(?:export )?(?P<name>[A-Za-z_][\w.\-]{0,63})[ \t]{0,3}[:=][ \t]{0,9}(?=\S)",
    re.MULTILINE,
)
_ENTRY_VALUE = re.compile(r"(?P<quote>)[^\n#]+")
_CODE_SUFFIXES = frozenset(
    ".py .pyi .pyx .ipy .ipynb .r .jl .c .h .cc .cpp .cu .java .js .ts .rs .go .scala".split()
)
_SECRET_FILE = re.compile(
    r"\.env(?:\..*|rc)?|.*\.(?:env|pem|key|p12|pfx|jks|keystore|kdbx|ppk|gpg|pgp|asc|ovpn|tfstate)"
    r"|id_(?:rsa|dsa|ecdsa|ed25519).*|[._]netrc|\.pgpass|\.npmrc|\.pypirc|\.htpasswd|\.git-credentials"
    r"|\.databrickscfg|\.boto|\.s3cfg|kubeconfig|kaggle\.json|(?:\.|client_)?secrets?(?:\.[^.]*)?"
    r"|(?:.*[._-])?credentials?(?:\..*)?|.*service[_-]?account.*\.json",
    re.IGNORECASE,
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".azure", ".kube", ".docker"})
_PRIVATE_KEY = "PRIVATE KEY-----"


def _has_secret_name(head: re.Match[str]) -> bool:
    return is_secret(head["name"])


def is_secret_file(path: str) -> bool:
    """Return whether a file of this name holds secrets as a whole: ``.env``, ``server.pem``."""
    *folders, file = path.split("/")
    return bool(_SECRET_FILE.fullmatch(file)) or not _SECRET_FOLDERS.isdisjoint(folders)


def redact_source(text: str, path: str) -> str | None:
    """Return the content of a source file without secrets, with the same number of lines.

    In code, only literals after secret names are secrets: ``token = get_token()`` stays.

    Args:
        text: The content.
        path: Name of the file, which tells code from configuration.

    Returns:
        None if what is secret cannot be separated from other text, as in a private key.
    """
    if _PRIVATE_KEY in text:
        return None
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    if suffix in _CODE_SUFFIXES:
        redacted = redact_content(text)
        lower = redacted.lower()
        if any(mark in lower for mark in _NAME_MARKS):
            for heads in (_LITERAL, _SET_VARIABLE):
                redacted = _withhold(redacted, heads, _LITERALS, _has_secret_name)
    else:
        redacted = _withhold(redact(text), _ENTRY, _ENTRY_VALUE, _has_secret_name)
    return redacted if redacted.count("\n") == text.count("\n") else None


# -- values ------------------------------------------------------------------------------

# Fields whose content users or models wrote; names in it mean nothing.
_CONTENT = frozenset(
    "spans records assessment assessments request_preview response_preview trace_metadata".split()
)
_CONTENT_METHODS = frozenset(
    "log_spans start_trace create_assessment update_assessment upsert_dataset_records".split()
)
# Mappings whose keys are not names of fields.
_KEYED_BY_DATA = frozenset({"packages"})
# Numbers, and names by which other events and stores find files, points and models.
_PLAIN_EVENTS = frozenset(
    "metrics sample artifacts outputs context_enter context_leave tag_delete".split()
)


def redact_event(kind: str, fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the fields of an event of this kind, after its header, without secrets."""
    if kind in _PLAIN_EVENTS:
        return fields
    if kind == "files":  # there may be thousands, and only their paths are texts of users
        files = [{**file, "path": redact(str(file["path"]))} for file in fields[0]]
        return (files, *fields[1:])
    content = kind == "call" and fields[0] in _CONTENT_METHODS
    return tuple(redact_field("", field, content=content) for field in fields)


def redact_field(name: str, value: Any, *, content: bool = False, depth: int = 0) -> Any:
    """Return a JSON value of this name without secrets, also inside of it.

    Args:
        name: Name of the field; "" without one.
        value: The value.
        content: Whether users or models wrote it, so that names in it mean nothing.
        depth: Depth of the value inside the outermost one.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else None
    if not content and is_secret(name) and value not in ("", [], {}):
        return value if text is not None and _is_harmless(name, text) else WITHHELD
    if text is not None:
        return redact_content(text) if content else redact(text)
    if depth > _MAX_DEPTH:
        return WITHHELD
    content = content or name in _CONTENT
    if isinstance(value, Mapping):
        # A tag of MLflow is an object with a key and a value.
        names = {"value": str(value["key"])} if value.keys() >= {"key", "value"} else {}
        keyed = name in _KEYED_BY_DATA
        return {
            key: redact_field(
                "" if keyed else names.get(key, str(key)), item, content=content, depth=depth + 1
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        if name == "argv":
            return redact_arguments(value)
        return [redact_field("", item, content=content, depth=depth + 1) for item in value]
    return value
