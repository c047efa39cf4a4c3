"""Runs scripts in new processes that have MLflow imported already, which takes longer than most.

One process imports MLflow and forks a child for each script. To the script it is as if it began
with ``import mlflow``: nothing is captured yet, and folder, arguments, environment and output are
its own. Scripts that test the import itself, or the command line of their process, need
``subprocess``.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_server: subprocess.Popen[bytes] | None = None


def run(
    script: Path, *args: str, cwd: Path, env: Mapping[str, str], timeout_s: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, and return its exit code and output.

    Raises:
        subprocess.TimeoutExpired: It takes longer; it is killed then, as are its children.
    """
    own = {**os.environ, "YPROV_MLFLOW": None}
    early = [
        name
        for name, value in env.items()
        if (name.startswith("PYTHON") or name == "YPROV_MLFLOW") and value != own.get(name)
    ]
    assert not early, f"{early} must be there before the imports: start a new interpreter"
    command = [str(script), *args]
    with tempfile.TemporaryDirectory(prefix="yprov-test-") as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        request = {"argv": command, "cwd": str(cwd), "env": dict(env), "out": [*map(str, outputs)]}
        code = _ask(request, timeout_s)
        texts = [output.read_text("utf-8", "replace") for output in outputs]
    return subprocess.CompletedProcess(command, code, *texts)


def _ask(request: Mapping[str, Any], timeout_s: float) -> int:
    server = _running()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(request).encode() + b"\n")
    server.stdin.flush()
    if not select.select([server.stdout], [], [], timeout_s)[0]:
        stop()
        raise subprocess.TimeoutExpired(request["argv"], timeout_s)
    return os.waitstatus_to_exitcode(int(server.stdout.readline()))


def _running() -> subprocess.Popen[bytes]:
    global _server
    if _server is None:
        settings = ("MLFLOW_", "YPROV_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(settings)}
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        _server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**inherited, **single, "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
        atexit.register(stop)
    return _server


def stop() -> None:
    """Stop the process that imports MLflow, and the scripts that it runs."""
    global _server
    if _server is not None:
        os.killpg(_server.pid, signal.SIGKILL)
        _server.communicate()
        _server = None


def _serve() -> None:
    """Fork a child for each request; return only in children, when their script has ended."""
    import mlflow
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    gc.freeze()  # the pages of what is imported stay shared
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            _run_script(json.loads(line))
            return
        os.write(1, b"%d\n" % os.waitpid(child, 0)[1])


def _run_script(request: Mapping[str, Any]) -> None:
    for number, path in enumerate((os.devnull, *request["out"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
