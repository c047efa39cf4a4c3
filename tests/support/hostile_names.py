"""Fifty names that try to become markup, scripts, other text or other lines, and a run of each."""

from __future__ import annotations

from support.builders.run_log import START_S, STORE, A
from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    Event,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    SessionStarted,
    StoreCalled,
    TagsSet,
)

CANARY = "document.title='canary'"
_IFRAME = f"<iframe srcdoc='<script>parent.{CANARY}</script>'>"

NAMES = (
    # scripts in elements
    f"<script>{CANARY}</script>",
    f"<SCRIPT>{CANARY}</SCRIPT >",
    f"<script type=module>{CANARY}</script>",
    f"</style><script>{CANARY}</script>",
    f"</title><script>{CANARY}</script>",
    f"</textarea><script>{CANARY}</script>",
    f"</svg><script>{CANARY}</script>",
    f"</bdi></td></table><script>{CANARY}</script>",
    f"<!-- --><script>{CANARY}</script>",
    f"--><script>{CANARY}</script>",
    f"]]><script>{CANARY}</script>",
    f"<svg><script>{CANARY}</script></svg>",
    f"<scr<script>ipt>{CANARY}</script>",
    f"<script/src='data:text/javascript,{CANARY}'></script>",
    _IFRAME,
    # scripts in attributes
    f'<img src=x onerror="{CANARY}">',
    f"<img/src/onerror={CANARY}>",
    f'"><svg onload="{CANARY}">',
    f"'><svg onload={CANARY}>",
    f'" autofocus onfocus="{CANARY}" x="',
    f"' onmouseover='{CANARY}' x='",
    f'<details open ontoggle="{CANARY}">',
    f'<body onload="{CANARY}">',
    f'<input autofocus onfocus="{CANARY}">',
    f'<video><source onerror="{CANARY}"></video>',
    f'<svg><animate onbegin="{CANARY}" attributeName=x dur=1s></svg>',
    # scripts in addresses, and other documents
    f"javascript:{CANARY}",
    f"data:text/html,<script>{CANARY}</script>",
    f'<a href="javascript:{CANARY}">x</a>',
    f'<object data="javascript:{CANARY}">',
    f'<embed src="javascript:{CANARY}">',
    f'<meta http-equiv="refresh" content="0;url=javascript:{CANARY}">',
    "<base href='http://127.0.0.1:1/'>",
    "<link rel=stylesheet href='http://127.0.0.1:1/x.css'>",
    "<style>@import 'http://127.0.0.1:1/'; * { display: none }</style>",
    "<form action='http://127.0.0.1:1/'><button>x",
    # templates, Markdown, and text that is escaped already
    "{{ 7 * 7 }}",
    "{% include 'x' %}",
    "&lt;script&gt;canary()",
    f"[x](javascript:{CANARY})",
    "| --- | `rm -rf`",
    '"; } digraph { x -> y',
    # characters that control direction, terminals and lines
    "\u202egnp.exe",
    "\u2066\u2067x",
    "\x00\x07\x1b[31mred",
    "a\r\nb\tc",
    "\ufffd\u200b\ufeff",
    "שלום",
    "\U0001d54f" * 400,
    "w" * 3000,
)


def run_of(number: int, name: str) -> list[Event]:
    """Return the events of a run that has the name wherever users name something."""
    run_id = f"{number:032x}"
    model = f"m-{number:032x}"
    at = (START_S + number) * 1000
    dataset = {"name": name, "digest": f"d{number}", "source_type": name, "source": name}
    version = {"name": name, "source": name, "version": "1", "description": name}
    tags = {"mlflow.runName": name, name: name}
    contents: list[tuple[type[Event], tuple[object, ...]]] = [
        (SessionStarted, ({"pid": 1, "host": name, "user": name},)),
        (RunCreated, ("1", name, name, name, at, "file:///a", tags, STORE)),
        (FactsCollected, ("git", {"commit": "1" * 40, "dirty": True, "entry_point": name})),
        (FactsCollected, ("environment", {"python": name, "packages": {name: name}})),
        (ParamsLogged, ({name: name},)),
        (TagsSet, ({f"{name} 2": name},)),
        (InputsLogged, ([dataset | {"schema": name, "tags": {"mlflow.data.context": name}}],)),
        (ArtifactsLogged, ([{"path": f"{name}.txt", "sha256": "a" * 64, "size": 1}],)),
        (ModelLogged, (model, name, None, "READY", "1", "file:///m", 1)),
        (StoreCalled, ("create_model_version", {"model": name, "version": "1"}, version, version)),
        (MetricsLogged, ([name], [1.0], [at], [0], [(name,)])),
        (MetricsLogged, ([name], [2.0], [at], [1], [(name,)])),
        (RunUpdated, ("FINISHED", at, name)),
    ]
    return [
        kind(run_id, A, seq, (at + seq) * 10**6, *fields)
        for seq, (kind, fields) in enumerate(contents)
    ]
