"""The time, the ids and the user of the program, so that a rebuild gives the same store.

Imported before MLflow, which asks for them where it needs them. All Pythons from 3.6 on.
"""

import collections
import os
import pwd
import random
import time
import uuid

USER = "ada"

_FIRST_DAY = 1530000000  # June 2018, when MLflow was young
_HALF_DAY = 43200
_TICK_MS = 250


class Clock:
    """Time that passes only when the program says so."""

    def __init__(self, seconds):
        self.ms = seconds * 1000

    def tick(self):
        """Let some time pass; gives the new time in ms since the epoch."""
        self.ms += _TICK_MS
        return self.ms

    @property
    def whole_second_ms(self):
        """The time as versions before 1.0 keep it for metrics: whole seconds, here in ms."""
        return self.ms // 1000 * 1000


def fix(version):
    """Put a clock, a generator of ids and a user in place of the real ones; gives the clock."""
    numbers = [int(part) for part in version.split(".")]
    rank = numbers[0] * 1000 + numbers[1] * 10 + numbers[2]
    clock = Clock(_FIRST_DAY + _HALF_DAY * rank)
    time.time = lambda: clock.ms / 1000
    time.time_ns = lambda: clock.ms * 1000000
    random.seed(rank)
    numbers = random.Random(rank)
    uuid.uuid4 = lambda: uuid.UUID(int=numbers.getrandbits(128), version=4)
    os.environ.update({"LOGNAME": USER, "USER": USER, "LNAME": USER, "USERNAME": USER})
    entry = collections.namedtuple("Entry", "pw_name pw_passwd pw_uid pw_gid pw_gecos pw_dir")
    pwd.getpwuid = lambda uid: entry(USER, "x", uid, uid, "", os.path.expanduser("~"))
    return clock
