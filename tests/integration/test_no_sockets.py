"""Collectors never open a network socket: they work in a process that forbids it."""

import os
import subprocess
import sys
import textwrap

PROGRAM = """
    import socket, sys

    import urllib3  # tries a local socket on import; MLflow has imported it before any collector

    from yprov_mlflow.prov.collectors import catalog
    from yprov_mlflow.prov.collectors.base import Available, CollectorContext

    events = []

    def forbid(event, arguments):
        internet = event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)
        if internet or event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            events.append(event)
            raise PermissionError(event)

    sys.addaudithook(forbid)

    class NoSocket(socket.socket):
        def __init__(self, family=socket.AF_INET, *args, **kwargs):
            if family in (-1, socket.AF_INET, socket.AF_INET6):
                events.append("socket")
                raise PermissionError("no sockets here")
            super().__init__(family, *args, **kwargs)

    socket.socket = NoSocket
    names = sys.argv[1:]
    measured = 0
    for name in catalog.BUILT_IN:
        try:
            cls = catalog.load(name)
        except (ImportError, AttributeError):
            print("cannot be imported:", name)
            continue
        collector = cls(CollectorContext(country="ITA"))
        result = collector.probe()
        print(name, type(result).__name__)
        if isinstance(result, Available):
            collector.start()
            values = collector.sample()
            collector.stop()
            assert len(values) == len(result.quantities), name
            measured += bool(values)
    assert not events, events
    assert measured, "nothing was measured"
    try:
        socket.create_connection(("127.0.0.1", 9))
    except PermissionError:
        assert events
    else:
        raise AssertionError("sockets are not blocked")
"""


def test_collectors_open_no_sockets(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "codecarbon Available" in done.stdout
