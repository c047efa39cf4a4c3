"""Write the pages of the documentation that follow from the code.

``python docs/generate.py`` writes them, ``--check`` only says whether they are current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import artifacts, handlers
from yprov_mlflow.prov.model.vocabulary import BORROWED, NAMESPACE, PREFIXES, TERMS
from yprov_mlflow.prov.translate import RECORDS

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def environment_variables() -> str:
    """Give the page on settings."""
    lines = [
        "# Environment variables and settings",
        "",
        "<!-- Made by docs/generate.py from yprov_mlflow/settings.py: change it there. -->",
        "",
        "Each setting has a variable and a key in the table `[tool.yprov-mlflow]` of",
        "`yprov-mlflow.toml` or `pyproject.toml` in the working directory. The variable wins; a",
        "variable that is set to nothing counts as not set. `yprov-mlflow doctor` shows each",
        "value and where it came from.",
    ]
    for setting in settings.SETTINGS:
        key = f"`{setting.field.replace('_', '-')}`" if setting.in_file else "none"
        lines += [
            "",
            f"## `{setting.variable}`",
            "",
            setting.meaning,
            "",
            f"- Allowed: {setting.allowed}.",
            f"- Default: {setting.default_text}.",
            f"- Key in the project file: {key}.",
        ]
    return "\n".join(lines) + "\n"


SPELT = {
    "create_run": "`start_run`, `MlflowClient.create_run`",
    "update_run_info": "`end_run`, `set_terminated`, `update_run`, a resumed `start_run`",
    "log_metric": "`log_metric`",
    "log_param": "`log_param`",
    "log_batch": "`log_metrics`, `log_params`, `set_tags`, `log_batch`, autologging",
    "log_metric_async": "`log_metric(…, synchronous=False)`",
    "log_batch_async": "`log_metrics(…, synchronous=False)`, `log_params(…, synchronous=False)`",
    "log_inputs": "`log_input`, `log_inputs`",
    "create_logged_model": "`initialize_logged_model`, `create_external_model`, `log_model`",
    "log_logged_model_params": "`log_model_params`",
    "log_artifact": "`log_artifact`, `log_text`, `log_dict`, `log_figure`, `log_image`, "
    "`log_table`, `log_stream`",
    "log_artifacts": "`log_artifacts`, `log_model`",
    "log_artifact_from_stream": "uploads through a server (Flask)",
    "log_artifact_from_async_stream": "uploads through a server",
    "delete_artifacts": "`mlflow gc`, `delete_artifacts`",
    "_hard_delete_run": "`mlflow gc`",
    "_hard_delete_logged_model": "`mlflow gc`",
}
"""What users write for a call of the store, where its own name does not say it."""


def call_table() -> str:
    """Give the page on what each call becomes."""
    events = {name: kinds for name, (_, kinds) in handlers.HANDLERS.items() if kinds}
    written = {name: "`artifacts`" for name in artifacts.OBSERVERS}
    written |= {
        name: ", ".join(f"`{kind.kind}`" for kind in kinds) for name, kinds in events.items()
    }
    queued = {
        name: "none: the context is noted, the event comes when the queue writes"
        for name, (_, kinds) in handlers.HANDLERS.items()
        if not kinds and name.endswith("_async")
    }
    verbs = ", ".join(f"`{verb}_…`" for verb in sorted(handlers.WRITES))
    return "\n".join(
        [
            "# From call to records",
            "",
            "<!-- Made by docs/generate.py from yprov_mlflow/{plugin,translate}. -->",
            "",
            "Calls are seen where all of MLflow's ways in meet: at the methods of its stores and",
            "artifact repositories. A call that fails makes no event.",
            "",
            "| Method | Called by | Events |",
            "|---|---|---|",
            *(
                f"| `{name}` | {SPELT.get(name, f'`{name}`')} | {kinds} |"
                for name, kinds in sorted((written | queued).items())
            ),
            "| `prov.context`, `prov.epoch` | | `context_enter`, `context_leave` |",
            "| first write of a process to a run | | `session`, `facts` |",
            "| `start_run`, each second from then on, `end_run` | | `collector`, `sample`, "
            "`collector_stop` |",
            f"| any other method of a store named {verbs} | experiments, model registry, traces, "
            "assessments, prompts, data sets for evaluation, scorers, … | `call` |",
            "",
            "Each kind of event becomes records of PROV (names are in the run's name space):",
            "",
            "| Event | Records |",
            "|---|---|",
            *(f"| `{kind}` | {text.replace('|', '/')} |" for kind, text in RECORDS.items()),
            "",
        ]
    )


STORED = {
    "run": ("`meta.yaml` of a run", "`runs`"),
    "run_update": ("`status`, `end_time`, `lifecycle_stage` of the same", "`runs`"),
    "params": ("`params/`, a file each", "`params`"),
    "tags": ("`tags/`, a file each; before 0.8 in `meta.yaml`", "`tags`"),
    "metrics": ("`metrics/`, a file each and a line a point", "`metrics`, `logged_model_metrics`"),
    "inputs": (
        "`inputs/`, and `datasets/` of the experiment",
        "`inputs`, `input_tags`, `datasets`",
    ),
    "outputs": ("`outputs/`", "`inputs`"),
    "artifacts": ("`artifacts/`; elsewhere if the run says so", "files where the run says"),
    "model": ("`models/m-…` of the experiment", "`logged_models`, `…_params`, `…_tags`"),
    "call": (
        "`meta.yaml` and `tags/` of experiments, `.trash`, `models/` of the root, `traces/`",
        "`experiments`, `registered_models`, `model_versions`, `trace_info`, `spans`, "
        "`assessments`, their tags and aliases, and all other tables",
    ),
}
"""Where old stores keep what becomes each kind of event: in a tree, in a database."""


def mapping() -> str:
    """Give the page on what becomes of what an old store has."""
    rows = [
        f"| {tree} | {tables} | `{kind}` | {RECORDS[kind].replace('|', '/')} |"
        for kind, (tree, tables) in STORED.items()
    ]
    terms = [
        f"| `mlf:{name}` | {term.kind} | {term.comment} |" for name, term in sorted(TERMS.items())
    ]
    borrowed = [
        f"| `{prefix}` | <{PREFIXES[prefix]}> | {', '.join(f'`{one}`' for one in sorted(names))} |"
        for prefix, names in sorted(BORROWED.items())
    ]
    return "\n".join(
        [
            "# From an old store to PROV",
            "",
            "<!-- Made by docs/generate.py from yprov_mlflow/translate: change it there. -->",
            "",
            "What a store has becomes events, the same as those of a run that is captured live,",
            "and each kind of event becomes records. A server gives what its interface tells of",
            "its database. A store keeps no time for params and tags, no author of most changes",
            "and no history of tags: what it does not have, a document does not invent.",
            "",
            "| In a tree | In a database | Event | Records |",
            "|---|---|---|---|",
            *rows,
            "",
            "What of a store's own words has no term below is kept as JSON in `mlf:fields`, and a",
            "text that XML, RDF or JSON cannot hold as it is in `mlf:exact`, so that `yprov-mlflow",
            "restore` gives back what was there.",
            "",
            "## Terms of ours",
            "",
            f"`mlf:` is <{NAMESPACE}>.",
            "",
            "| Term | Kind | Meaning |",
            "|---|---|---|",
            *terms,
            "",
            "## Terms of others",
            "",
            "PROV's own terms are those of <http://www.w3.org/ns/prov#>.",
            "",
            "| Prefix | Vocabulary | Terms |",
            "|---|---|---|",
            *borrowed,
            "",
        ]
    )


def settings_table() -> str:
    """Give the table of settings for the README."""
    rows = ["| variable | key | default | what for |", "|---|---|---|---|"]
    for setting in settings.SETTINGS:
        key = f"`{setting.field.replace('_', '-')}`" if setting.in_file else ""
        first_sentence = setting.meaning.partition(". ")[0].rstrip(".")
        cells = (f"`{setting.variable}`", key, setting.default_text, first_sentence)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def readme() -> str:
    """Give the README with the table of settings in its place."""
    text = (FOLDER.parent / "README.md").read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def pages() -> dict[Path, str]:
    """Give all pages that are made, by path."""
    return {
        FOLDER / "calls.md": call_table(),
        FOLDER / "environment-variables.md": environment_variables(),
        FOLDER.parent / "README.md": readme(),
        FOLDER.parent / "migration" / "mapping.md": mapping(),
    }


def main() -> int:
    """Write the pages, or compare them; the exit code says whether they were current."""
    stale = [
        path
        for path, text in pages().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    for path in stale:
        print(f"{path.relative_to(FOLDER.parent)} is not current")
        if "--check" not in sys.argv:
            path.write_text(pages()[path], "utf-8")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
