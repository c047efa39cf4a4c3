"""The settings: argument, else environment, else project file, else default.

The project file is ``yprov-mlflow.toml`` or ``pyproject.toml`` in the working directory, its
table ``[tool.yprov-mlflow]``, its keys those of ``Settings``, with hyphens or underscores.
Each value knows its origin. A variable that is set to nothing counts as not set.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.errors import SettingsError

FILES = ("yprov-mlflow.toml", "pyproject.toml")
"""Project files, the first that has the table wins."""

TABLE = "yprov-mlflow"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_WORD = re.compile(r"-?[a-z0-9][a-z0-9-]*\Z")
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#<>\"{}|\\^`]+\Z")


@dataclass(frozen=True)
class Settings:
    """What governs capture and the documents made from it.

    ``origin`` says for each field where its value came from: ``"argument"``,
    ``"environment YPROV_…"``, ``"file …"`` or ``"default"``.
    """

    capture: bool
    directory: Path
    max_samples: int
    hash_user: bool
    base_uri: str | None
    collectors: tuple[str, ...]
    interval_s: float
    system_metrics: bool
    country: str | None
    carbon_intensity: float | None
    cpu_tdp_w: float | None
    embodied_g: float | None
    origin: Mapping[str, str]


class Setting(NamedTuple):
    """One setting: how it is called, read and explained.

    ``read`` turns a text or TOML value into that of the field, or raises ValueError.
    """

    field: str
    variable: str
    read: Callable[[Any], Any]
    default: Callable[[], Any]
    default_text: str
    allowed: str
    meaning: str
    in_file: bool = True

    def value(self, name: str, given: object, source: str) -> Any:
        """Give the field's value for what was given, by ``source``, under this name.

        Raises:
            SettingsError: The setting cannot have it.
        """
        try:
            return self.read(given)
        except (ValueError, TypeError) as error:
            raise SettingsError.bad_value(name, given, self.allowed, source) from error


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise ValueError(value)


def _count(value: Any) -> int:
    if isinstance(value, (bool, float)):
        raise ValueError(value)
    number = int(value)
    if number < 0:
        raise ValueError(value)
    return number


def _folder(value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)) or "\0" in os.fspath(value):
        raise ValueError(value)
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:  # ~name of nobody
        raise ValueError(value) from error
    if path.exists() and not path.is_dir():
        raise ValueError(value)
    return path.absolute()


def _base(value: Any) -> str:
    if not isinstance(value, str) or not _IRI.match(value):
        raise ValueError(value)
    return value


def _words(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(word, str) and _WORD.match(word.strip()) for word in words):
        raise ValueError(value)
    return tuple(word.strip() for word in words)


def _interval(value: Any) -> float:
    seconds = _amount(value)
    if not 0.05 <= seconds <= 3600:
        raise ValueError(value)
    return seconds


def _amount(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(value)
    return number


def _country(value: Any) -> str:
    code = str(value).strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError(value)
    return code


def default_directory() -> Path:
    """Give the state folder of the user, as the XDG base directory specification has it."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the specification: relative means unset
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:  # a container's user without a home
            return Path(tempfile.gettempdir()) / f"yprov-mlflow-{os.getuid()}"
    return state / "yprov-mlflow"


CAPTURE = Setting(
    "capture",
    "YPROV_MLFLOW",
    _flag,
    lambda: False,
    "0",
    "1, true, yes or on; 0, false, no or off",
    "Capture every run of the process whatever its tracking URI is. It is for scripts and "
    "servers whose code and URI must stay as they are; the import and the `yprov+` URIs "
    "need it not. A project file cannot set it: plain `import mlflow` reads no files for us.",
    in_file=False,
)
"""The one setting that is looked at whenever MLflow is imported."""

SETTINGS: tuple[Setting, ...] = (
    CAPTURE,
    Setting(
        "directory",
        "YPROV_MLFLOW_DIR",
        _folder,
        default_directory,
        "$XDG_STATE_HOME/yprov-mlflow, else ~/.local/state/yprov-mlflow",
        "a folder, which need not exist yet",
        "Where the journals of runs lie. They are kept, since a run may be resumed. A run whose "
        "processes work on several machines needs one folder that they share, or each "
        "delivers what it saw.",
    ),
    Setting(
        "max_samples",
        "YPROV_MLFLOW_MAX_SAMPLES",
        _count,
        lambda: 1000,
        "1000",
        "a whole number from 0 on",
        "How many metric points of a run become records of their own. Beyond it the document "
        "has the summary of each series and a Parquet file beside it has every point.",
    ),
    Setting(
        "hash_user",
        "YPROV_MLFLOW_HASH_USER",
        _flag,
        lambda: False,
        "0",
        "1, true, yes or on; 0, false, no or off",
        "Write a hash of login names instead of the names, which are personal data.",
    ),
    Setting(
        "base_uri",
        "YPROV_MLFLOW_BASE_URI",
        _base,
        lambda: None,
        "none: identifiers are urn:uuid:…",
        "an absolute URI without a fragment, such as https://prov.example.org/runs/",
        "Identifiers begin with it instead of `urn:uuid:`, for documents to be published.",
    ),
    Setting(
        "collectors",
        "YPROV_MLFLOW_COLLECTORS",
        _words,
        lambda: ("default",),
        "default",
        "names of collectors with commas between, or none, default or all; a hyphen before a "
        "name takes it away, at the beginning from default",
        "What measures energy and hardware and looks at code and environment. `yprov-mlflow "
        "doctor` lists the collectors and says which of them work here.",
    ),
    Setting(
        "interval_s",
        "YPROV_MLFLOW_INTERVAL",
        _interval,
        lambda: 1.0,
        "1",
        "seconds from 0.05 to 3600",
        "Time between two samples of the collectors. Energy comes from counters where the "
        "hardware has them, and then does not depend on it.",
    ),
    Setting(
        "system_metrics",
        "YPROV_MLFLOW_SYSTEM_METRICS",
        _flag,
        lambda: False,
        "0",
        "1, true, yes or on; 0, false, no or off",
        "Log what the collectors sample as MLflow's system metrics too, which its UI plots; "
        "runs with MLflow's own system metrics on get what these lack in any case. It is off "
        "because a run's metrics are the user's.",
    ),
    Setting(
        "country",
        "YPROV_MLFLOW_COUNTRY",
        _country,
        lambda: None,
        "none: energy without emissions",
        "an ISO 3166 code of three letters, such as ITA",
        "Where the machine is: its mean carbon intensity of electricity, by codecarbon's data, "
        "turns energy into emissions. Nothing guesses it.",
    ),
    Setting(
        "carbon_intensity",
        "YPROV_MLFLOW_CARBON_INTENSITY",
        _amount,
        lambda: None,
        "that of the country, if one is given",
        "a number of grams of CO2 equivalent per kWh",
        "The carbon intensity of the machine's electricity, where it is known better than by "
        "country.",
    ),
    Setting(
        "cpu_tdp_w",
        "YPROV_MLFLOW_CPU_TDP",
        _amount,
        lambda: None,
        "4 W for each logical processor",
        "a number of watts",
        "Thermal design power of all processors together, for the estimate where their energy "
        "cannot be measured.",
    ),
    Setting(
        "embodied_g",
        "YPROV_MLFLOW_EMBODIED",
        _amount,
        lambda: None,
        "none: not known",
        "a number of grams of CO2 equivalent",
        "The run's share of the emissions of making the hardware: M of the Software Carbon "
        "Intensity.",
    ),
)
"""All settings, in the order in which they are documented."""


def load(**overrides: Any) -> Settings:
    """Find the value of every setting; an override that is ``None`` counts as not given.

    Raises:
        SettingsError: A value is not allowed, there is no such setting, or the project file
            is no TOML.
    """
    known = {setting.field for setting in SETTINGS}
    for name in overrides:
        if name not in known:
            raise SettingsError.unknown(name, ", ".join(sorted(known)), "argument")
    file, in_file = _project_file()
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for setting in SETTINGS:
        field, variable = setting.field, setting.variable
        if overrides.get(field) is not None:
            name, given, source = field, overrides[field], "argument"
        elif os.environ.get(variable, "").strip():
            name, given, source = variable, os.environ[variable], f"environment {variable}"
        elif field in in_file:
            name, given, source = field, in_file[field], f"file {file}"
        else:
            values[field], origin[field] = setting.default(), "default"
            continue
        values[field], origin[field] = setting.value(name, given, source), source
    return Settings(**values, origin=origin)


def _project_file() -> tuple[str, Mapping[str, Any]]:
    """Read the table of the first project file that has it; keys as fields are spelt."""
    for file in FILES:
        try:
            content = Path(file).read_bytes()
        except OSError:
            continue
        own = file == FILES[0]
        if not own and TABLE.encode() not in content:  # spares others' broken files an error
            continue
        table = _table(file, content, own)
        if table is None:
            continue
        known = {setting.field for setting in SETTINGS if setting.in_file}
        values = {key.replace("-", "_"): value for key, value in table.items()}
        for key in table:
            if key.replace("-", "_") not in known:
                raise SettingsError.unknown(key, ", ".join(sorted(known)), f"file {file}")
        return file, values
    return "", {}


def _table(file: str, content: bytes, own: bool) -> Mapping[str, Any] | None:
    import tomllib

    try:
        document = tomllib.loads(content.decode())
        table = document.get("tool", {}).get(TABLE)
    except (ValueError, AttributeError) as error:
        raise SettingsError(
            f"the project file is no TOML that can be read: {error}", f"file {file}", "Mend it"
        ) from error
    if isinstance(table, dict) or (table is None and not (own and document)):
        return table
    raise SettingsError(
        f"there is no table [tool.{TABLE}]", f"file {file}", "Write the settings below that heading"
    )
