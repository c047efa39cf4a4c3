"""A headless Chromium that opens pages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from support.servers import skip_or_fail

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)
_CONSOLE = re.compile(r"CONSOLE[^\"]*\"(.*)\", source")


class Opened(NamedTuple):
    """The page after its scripts have run, and what stands in the console."""

    dom: str
    console: list[str]


def open_page(path: Path, folder: Path) -> Opened:
    """Open a file, and return the page as the browser has it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        skip_or_fail("Chromium is not installed")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *_OPTIONS, profile, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Opened(done.stdout, _CONSOLE.findall(done.stderr))
