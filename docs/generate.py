"""Write the pages of the documentation that follow from the code.

``python docs/generate.py`` writes them, ``--check`` only says whether they are current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from yprov_mlflow import settings

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
        FOLDER / "environment-variables.md": environment_variables(),
        FOLDER.parent / "README.md": readme(),
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
