"""Open files of the state folder without trusting what lies there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def reason_to_refuse(status: os.stat_result, folder: Path) -> str | None:
    """Return why a file in ``folder`` is not read; None if it is a regular file of the owner."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file, and is not read"
    # On some network drives all files belong to another user: then the folder does, too.
    if status.st_uid != os.geteuid() and status.st_uid != os.stat(folder).st_uid:
        return "it belongs to another user, and is not read"
    return None


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file of the owner; never wait for a pipe, and never follow a link.

    Raises:
        OSError: The file cannot be opened, or is refused.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags)
    try:
        reason = reason_to_refuse(os.fstat(fd), path.parent)
        if reason is not None:
            raise PermissionError(None, reason)
        return os.fdopen(fd, "rb")
    except OSError:
        os.close(fd)
        raise
