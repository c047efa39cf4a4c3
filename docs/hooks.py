"""Hooks of MkDocs: pages that stand outside of ``docs``, and the links to and from them.

Pages link to files of the repository, as they do where the repository is browsed. Here the files
become pages of the site, and the links point to these pages.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages in the root of the repository, and their names on the site."""

FOLDERS = ("examples", "migration/*.md", "migration/guides")
"""What the site has under the same path as the repository."""

LOG = logging.getLogger("mkdocs.hooks")
_LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]* src=\W?https?:|<link[^>]* rel=.?style[^>]*https?:"
)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and examples that stand outside of ``docs``."""
    names = dict(OUTSIDE)
    for pattern in FOLDERS:
        paths = [ROOT / pattern, *(ROOT / pattern).rglob("*")]
        for path in ROOT.glob(pattern) if "*" in pattern else paths:
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                names[name] = name
    for name, uri in names.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with links to pages of the site instead of the repository."""
    source = Path(str(page.file.abs_src_path)).relative_to(ROOT).as_posix()

    def site_link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        uri = OUTSIDE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")

    # The highlighter takes lines of "console" without a prompt for output, and prints them gray.
    return _LINK.sub(site_link, markdown.replace("```console\n", "```bash\n"))


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Warn of a page that loads something from elsewhere; readers may lack a network."""
    if _LOADED.search(output):
        LOG.warning("%s loads something from another host", page.file.src_uri)
    return output
