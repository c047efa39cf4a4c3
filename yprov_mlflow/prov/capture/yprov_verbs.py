"""Verbs of yProv4ML that MLflow lacks: sources of metrics, command, source code, functions.

Each is a call of MLflow, so that plain MLflow shows it, and conversion and restoring keep it.
"""

from __future__ import annotations

import functools
import inspect
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import mlflow

from yprov_mlflow.prov.collectors.git import collect
from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.layout import SOURCE_CODE
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.redaction import redact, redact_arguments
from yprov_mlflow.prov.tags import COMMAND_TAG, SOURCE_PREFIX

_Function = TypeVar("_Function", bound=Callable[..., Any])

_MAX_KEY = 250  # of a tag in MLflow
_MAX_FILE_BYTES = 1_000_000  # larger files are not source code
_SKIPPED = ("__pycache__", "node_modules")  # and hidden files and folders

_logged_sources: set[tuple[str, str, str]] = set()  # run, metric, source


def log_metric(key: str, value: float, step: int | None = None, *, source: str) -> None:
    """Log a metric and who or what measured it, such as ``"psutil"``.

    The document attributes the metric to the source. MLflow has it in the tag
    ``yprov.source.<metric>``, a list, as several sources may measure one metric.

    Args:
        key: Name of the metric.
        value: Its value.
        step: The step; MLflow's default is 0.
        source: Name of the source.

    Raises:
        UsageError: The source is empty, or the name of the metric is too long for the tag.
    """
    tag = f"{SOURCE_PREFIX}{key}"
    if not isinstance(source, str) or not source.strip():
        raise UsageError(f"the source of metric {key!r} must be a name, not {source!r}")
    if len(tag) > _MAX_KEY:
        limit = _MAX_KEY - len(SOURCE_PREFIX)
        raise UsageError(f"a metric with a source has a name of at most {limit} characters", key)
    mlflow.log_metric(key, value, step=step)
    run = mlflow.active_run()  # log_metric has started one if there was none
    if run is None or (run.info.run_id, key, source) in _logged_sources:
        return
    tags = mlflow.MlflowClient().get_run(run.info.run_id).data.tags
    sources = [*dict.fromkeys((*_names(tags.get(tag)), source))]
    mlflow.set_tag(tag, literals.canonical(sources))
    _logged_sources.add((run.info.run_id, key, source))


def _names(text: str | None) -> list[str]:
    value = literals.value(text) if text else []
    return value if isinstance(value, list) else [str(value)]


def log_execution_command(command: str | Sequence[str] | None = None) -> str:
    """Log the command that runs this program, as the tag ``yprov.execution_command``.

    Args:
        command: The command; by default the one of this process. Values of options that are
            named like secrets are withheld.

    Returns:
        The command as it was logged.
    """
    words = sys.orig_argv if command is None else command
    words = shlex.split(words) if isinstance(words, str) else list(words)
    text = shlex.join(map(str, redact_arguments(words)))
    mlflow.set_tag(COMMAND_TAG, text)
    return text


def log_source_code(path: str | Path | None = None) -> dict[str, str]:
    """Log the source code: the commit, or files as artifacts.

    Args:
        path: A file or folder, which becomes artifacts below ``source_code``: text files of up
            to 1 MB, without hidden ones. By default the git commit of the program becomes MLflow's
            tags ``mlflow.source.git.*``; without git, the program itself is logged.

    Returns:
        The tags that were set, or the artifact path of each file.

    Raises:
        UsageError: The path does not exist, or contains no source code.
    """
    if path is None:
        facts = collect(sys.argv, Path.cwd())
        if facts.get("commit"):
            names = {"commit": "commit", "branch": "branch", "remote": "repoURL", "dirty": "dirty"}
            tags = {
                f"mlflow.source.git.{name}": redact(str(facts[fact]))
                for fact, name in names.items()
                if facts.get(fact) is not None
            }
            mlflow.set_tags(tags)
            return tags
        path = sys.argv[0]
    return _log_files(Path(path))


def _log_files(root: Path) -> dict[str, str]:
    if not root.exists():
        raise UsageError("there is no source code", str(root), "Pass a file or folder that exists")
    files = [root] if root.is_file() else sorted(filter(_is_source, root.rglob("*")))
    base = root.parent if root.is_file() else root
    files = [file for file in files if not _is_skipped(file.relative_to(base))]
    if not files:
        raise UsageError("the folder has no source code", str(root), "Pass a folder of text files")
    logged = {}
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        for file in files:
            name = file.relative_to(base)
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            logged[str(file)] = f"{SOURCE_CODE}/{name.as_posix()}"
        mlflow.log_artifacts(folder, SOURCE_CODE)
    return logged


def _is_skipped(name: Path) -> bool:
    return any(part.startswith(".") or part in _SKIPPED for part in name.parts)


def _is_source(file: Path) -> bool:
    if not file.is_file() or file.is_symlink() or file.stat().st_size > _MAX_FILE_BYTES:
        return False
    try:
        file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return True


def tracked(function: _Function | None = None, *, outputs: Sequence[str] = ("result",)) -> Any:
    """Record each call of a function: its times, and names and kinds of inputs and outputs.

    ``@prov.tracked`` or ``@prov.tracked(outputs=("model", "score"))``. Each call is a span of
    MLflow's tracing, in the document an activity. Numbers are recorded with their value, anything
    else by type, shape and length. It is not meant for functions that run thousands of times.

    Args:
        function: The function, which may be a coroutine function.
        outputs: Names of the outputs; with several, the function returns as many values.

    Returns:
        The function, with the same results.
    """
    if function is None:
        return functools.partial(tracked, outputs=outputs)
    signature = inspect.signature(function)
    name = getattr(function, "__qualname__", repr(function))

    def describe_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # a wrong call, of which the function itself raises
            return {}
        bound.apply_defaults()
        return {key: describe(value) for key, value in bound.arguments.items()}

    def describe_outputs(result: Any) -> dict[str, Any]:
        values = result if len(outputs) > 1 and isinstance(result, tuple) else (result,)
        return {key: describe(value) for key, value in zip(outputs, values, strict=False)}

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with mlflow.start_span(name) as span:
                span.set_inputs(describe_inputs(args, kwargs))
                result = await function(*args, **kwargs)
                span.set_outputs(describe_outputs(result))
                return result

        return cast(_Function, call_async)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with mlflow.start_span(name) as span:
            span.set_inputs(describe_inputs(args, kwargs))
            result = function(*args, **kwargs)
            span.set_outputs(describe_outputs(result))
            return result

    return cast(_Function, call)


def describe(value: Any) -> dict[str, Any]:
    """Return kind, shape and length of a value, and the value itself if it is a number."""
    if value is None or isinstance(value, bool | int | float):
        return {"type": type(value).__name__, "value": value}
    description: dict[str, Any] = {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
    description["type"] = description["type"].removeprefix("builtins.")
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        description["shape"] = [int(size) for size in shape]
    elif isinstance(value, Sequence | Mapping | set | frozenset):
        description["length"] = len(value)
    if dtype is not None:
        description["dtype"] = str(dtype)
    return description
