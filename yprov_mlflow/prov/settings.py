"""Settings: an argument wins over the environment, the project file, and the default.

The project file is ``yprov-mlflow.toml`` or ``pyproject.toml`` in the working directory. Its table
``[tool.yprov-mlflow]`` has the fields of ``Settings`` as keys, with hyphens or underscores.
An empty environment variable counts as unset.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov import authorship, setting_values
from yprov_mlflow.prov.errors import SettingsError
from yprov_mlflow.prov.layout import INDEX
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.setting_values import DIRECT, OFF, OWN
from yprov_mlflow.prov.uris import DELIVERY_OPTION

FILES = ("yprov-mlflow.toml", "pyproject.toml")
"""Project files; the first one with the table counts."""

TABLE = "yprov-mlflow"


@dataclass(frozen=True)
class Settings:
    """The value of each setting, and its origin.

    ``origin`` maps each field to the source of its value: ``"argument"``,
    ``"environment YPROV_…"``, ``"file …"`` or ``"default"``.
    """

    capture: bool
    directory: Path
    fsync_s: float | None
    delivery: str
    call_limit_s: float
    max_samples: int
    hash_user: bool
    base_uri: str | None
    collectors: tuple[str, ...]
    sinks: tuple[str, ...]
    index: Path | str
    end_wait_s: float
    ranks: str
    interval_s: float
    files_limit: int
    files_exclude: tuple[str, ...]
    system_metrics: bool
    auto_contexts: bool
    country: str | None
    carbon_intensity: float | None
    cpu_tdp_w: float | None
    embodied_g: float | None
    pue: float | None
    energy_price: setting_values.Price | None
    about: Mapping[str, Any]
    origin: Mapping[str, str]

    @property
    def index_folder(self) -> Path:
        """The folder of the index, or that of the documents on their way to a server."""
        return self.index if isinstance(self.index, Path) else self.directory / INDEX

    @property
    def index_server(self) -> str | None:
        """The SPARQL server that is the index."""
        text = str(self.index)
        return text if isinstance(self.index, str) and text not in ("", OFF) else None


class Setting(NamedTuple):
    """One setting: its names, how its value is parsed, and its documentation.

    Args:
        field: Field of ``Settings``, and key in the project file.
        variable: Environment variable.
        parse: Converts a text or a TOML value to the type of the field, or raises ValueError.
        default: The default value, or a function that returns it.
        default_text: The default in the documentation.
        allowed: The allowed values in messages and the documentation.
        meaning: Effect of the setting, for the documentation.
        in_file: Whether a project file may set it.
    """

    field: str
    variable: str
    parse: Callable[[Any], Any]
    default: Any
    default_text: str
    allowed: str
    meaning: str
    in_file: bool = True

    def value(self, name: str, value: object, source: str) -> Any:
        """Return the parsed value; ``name`` and ``source`` are for the message.

        Raises:
            SettingsError: The value is not allowed.
        """
        try:
            return self.parse(value)
        except SettingsError:  # it names the part of a table that is wrong
            raise
        except (ValueError, TypeError) as error:
            raise SettingsError.bad_value(name, value, self.allowed, source) from error


def _switch(
    field: str, variable: str, meaning: str, *, default: bool = False, in_file: bool = True
) -> Setting:
    allowed = "1, true, yes or on; 0, false, no or off"
    return Setting(
        field, variable, setting_values.flag, default, str(int(default)), allowed, meaning, in_file
    )


def default_directory() -> Path:
    """Return the user's state folder according to the XDG base directory specification."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the specification: ignore relative paths
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:  # the user of a container may lack a home
            # Users share the folder for temporary files: each needs a name of their own.
            return Path(tempfile.gettempdir()) / f"yprov-mlflow-{os.getuid()}"
    return state / "yprov-mlflow"


CAPTURE = _switch(
    "capture",
    "YPROV_MLFLOW",
    "Capture every run of the process, at any tracking URI. Use it for scripts and servers "
    "whose code and URI you cannot change; the drop-in import and `yprov+` URIs do not need it. "
    "A project file cannot set it, because plain `import mlflow` must not read files for us.",
    in_file=False,
)
"""The only setting that is read at every import of MLflow."""

SETTINGS: tuple[Setting, ...] = (
    CAPTURE,
    Setting(
        "directory",
        "YPROV_MLFLOW_DIR",
        setting_values.folder,
        default_directory,
        "$XDG_STATE_HOME/yprov-mlflow, else ~/.local/state/yprov-mlflow",
        "a folder, which need not exist yet",
        "Folder for the journals of runs. Journals are kept, because a run may be resumed. The "
        "processes of a run on several machines must share one folder; otherwise each machine "
        "delivers a document with its own part.",
    ),
    Setting(
        "fsync_s",
        "YPROV_MLFLOW_FSYNC",
        setting_values.fsync,
        None,
        "off",
        "off, each, or seconds, 0.05 to 3600",
        "When journals are synced to the disk, so that they survive a power failure: never, with "
        "each call, or with the first call after so many seconds and when the run ends.",
    ),
    Setting(
        "delivery",
        "YPROV_MLFLOW_DELIVERY",
        setting_values.delivery,
        DIRECT,
        DIRECT,
        "direct, failover or deferred",
        "When a logging call reaches the store. With `direct`, before it returns, as with plain "
        "MLflow. With `failover`, the same, but a store that does not answer in time gets the "
        "calls later, and the program goes on. With `deferred`, always later: a call returns when "
        "it is in the journal. A URI may have its own value, as in "
        "`yprov+sqlite:///mlflow.db?yprov-delivery=deferred`. "
        "[delivery.md](delivery.md) has the details.",
    ),
    Setting(
        "call_limit_s",
        "YPROV_MLFLOW_CALL_LIMIT",
        lambda value: setting_values.amount(value, 0.01, 3600),
        1.0,
        "1",
        "seconds, 0.01 to 3600",
        "How long a logging call waits for a store that is slow or away, with `failover` and "
        "`deferred`.",
    ),
    Setting(
        "max_samples",
        "YPROV_MLFLOW_MAX_SAMPLES",
        setting_values.count,
        100,
        "100",
        "a whole number, 0 or more",
        "Number of metric points of a run that become records of the document. A run with more "
        "points has a summary of each series in the document, and every point in a Parquet file "
        "beside it.",
    ),
    _switch(
        "hash_user",
        "YPROV_MLFLOW_HASH_USER",
        "Write hashes of login names instead of the names, which are personal data.",
    ),
    Setting(
        "base_uri",
        "YPROV_MLFLOW_BASE_URI",
        setting_values.iri,
        None,
        "none: identifiers are urn:uuid:…",
        "an absolute URI without a fragment, such as https://prov.example.org/runs/",
        "Prefix of identifiers instead of `urn:uuid:`, for documents that will be published.",
    ),
    Setting(
        "collectors",
        "YPROV_MLFLOW_COLLECTORS",
        setting_values.names,
        ("default",),
        "default",
        "names of collectors separated by commas, or none, default or all; prefix a name with a "
        "hyphen to exclude it (a list that begins with a hyphen starts from default)",
        "Collectors that measure energy and hardware and describe code and environment. "
        "`yprov-mlflow doctor` lists the collectors and shows which of them work on this machine.",
    ),
    Setting(
        "sinks",
        "YPROV_MLFLOW_SINKS",
        setting_values.sinks,
        ("report",),
        "report",
        "names of sinks separated by commas, or none",
        "What is made of the documents of finished runs: `report` adds a page to look at, `note` a "
        "link to it in the description of the run and its model versions if they have none, "
        "`yprov4ml` the profile for yProv4ML's readers, both beside the document; sinks of other "
        "packages send it elsewhere. "
        "`yprov-mlflow doctor` lists those that are installed.",
    ),
    Setting(
        "index",
        "YPROV_MLFLOW_INDEX",
        setting_values.index,
        "",
        "index in YPROV_MLFLOW_DIR",
        "a folder, the URL of a SPARQL server, or off",
        "The graph that `lineage`, `runs`, `diff` and `query` ask. A run that ends leaves a copy "
        "of its document there, and the next question adds it; with off, only "
        "`yprov-mlflow index` adds documents, to the default folder.",
    ),
    Setting(
        "end_wait_s",
        "YPROV_MLFLOW_END_WAIT",
        lambda value: setting_values.amount(value, 0, 600),
        0.04,
        "0.04; 10 for runs in a folder for temporary files",
        "seconds, 0 to 600",
        "How long the end of a run waits until its document is among its artifacts. The document "
        "follows in any case: reads of the artifacts through MLflow in the same process wait for "
        "it, and so does the exit. Set it to 10 if a program looks for the file itself right after "
        "`end_run`.",
    ),
    Setting(
        "ranks",
        "YPROV_MLFLOW_RANKS",
        setting_values.ranks,
        OWN,
        "own",
        "own or one-run",
        "Whether each rank of a parallel job makes runs of its own, as with MLflow alone, or all "
        "ranks log to one run: the first that any of them makes, and so on. They must share "
        "`YPROV_MLFLOW_DIR`. [Many ranks](ranks.md) says how a job is recognized.",
    ),
    Setting(
        "interval_s",
        "YPROV_MLFLOW_INTERVAL",
        lambda value: setting_values.amount(value, 0.05, 3600),
        1.0,
        "1",
        "seconds, 0.05 to 3600",
        "Time between two samples of the collectors. Energy does not depend on it where the "
        "hardware has energy counters.",
    ),
    Setting(
        "files_limit",
        "YPROV_MLFLOW_FILES_LIMIT",
        setting_values.count,
        4_000_000_000,
        "4000000000",
        "a whole number of bytes, 0 or more; 0 hashes no file",
        "Largest file that the collector `files` hashes; all files of a run together may have 25 "
        "times as much. The document says of larger ones that they have no hash.",
    ),
    Setting(
        "files_exclude",
        "YPROV_MLFLOW_FILES_EXCLUDE",
        setting_values.patterns,
        (),
        "none",
        "patterns separated by commas, such as *.log,scratch/*; an asterisk matches any text",
        "Files that the collector `files` does not record, besides libraries, caches and temporary "
        "files.",
    ),
    _switch(
        "system_metrics",
        "YPROV_MLFLOW_SYSTEM_METRICS",
        "Also log the collectors' samples as MLflow system metrics, which MLflow's UI plots. It "
        "is off by default because a run's metrics belong to the user. Runs with MLflow's own "
        "system metrics always get the ones that MLflow does not measure.",
    ),
    _switch(
        "auto_contexts",
        "YPROV_MLFLOW_AUTO_CONTEXTS",
        "Record contexts and epochs of the trainers of Lightning and Transformers. Our callback is "
        "among the trainer's callbacks while it works, as the first one.",
        default=True,
    ),
    Setting(
        "country",
        "YPROV_MLFLOW_COUNTRY",
        setting_values.country,
        None,
        "none: energy without emissions",
        "an ISO 3166 code of three letters, such as ITA",
        "Country of the machine. Its mean carbon intensity of electricity, from codecarbon's "
        "data, converts energy to emissions. The country is never guessed.",
    ),
    Setting(
        "carbon_intensity",
        "YPROV_MLFLOW_CARBON_INTENSITY",
        setting_values.amount,
        None,
        "that of the country, if set",
        "a number of grams of CO2 equivalent per kWh",
        "Carbon intensity of the machine's electricity, if you know it better than the mean of "
        "the country.",
    ),
    Setting(
        "cpu_tdp_w",
        "YPROV_MLFLOW_CPU_TDP",
        setting_values.amount,
        None,
        "codecarbon's value for the processor's name, else 4 W for each logical processor",
        "a number of watts",
        "Thermal design power of all processors together, for the estimate on machines that "
        "cannot measure the energy of processors.",
    ),
    Setting(
        "embodied_g",
        "YPROV_MLFLOW_EMBODIED",
        setting_values.amount,
        None,
        "none: unknown",
        "a number of grams of CO2 equivalent",
        "The run's share of the emissions from manufacturing the hardware: M in the Software "
        "Carbon Intensity.",
    ),
    Setting(
        "pue",
        "YPROV_MLFLOW_PUE",
        lambda value: setting_values.amount(value, 1, 100),
        None,
        "none",
        "a number from 1 on",
        "Power usage effectiveness of the computing center. `energy` then shows the energy times "
        "this as your assumption, apart from the figures in documents, which it leaves as they "
        "are.",
    ),
    Setting(
        "energy_price",
        "YPROV_MLFLOW_ENERGY_PRICE",
        setting_values.price,
        None,
        "none",
        "a number and the code of a currency, such as 0.30 EUR",
        "Price of a kWh of electricity. `energy` then shows costs as your assumption.",
    ),
    Setting(
        "about",
        "YPROV_MLFLOW_ABOUT",
        authorship.read,
        dict,
        "none: documents name no authors and no license",
        "in the project file, a table with title, description, keywords, license (an SPDX id or "
        "a URL), project (name, url, funding) and authors (name, orcid, affiliation, login); in "
        "the variable, the path of another TOML file with that table",
        "Who did the work and what it is. The record of each run in its document has it, as do "
        "crates and cards; [sharing.md](sharing.md) shows the table. A login is connected to an "
        "author only if the table says so.",
    ),
)
"""All settings, in the order of the documentation."""


def delivery(value: object, source: str) -> str:
    """Return a value of the setting ``delivery`` from another source, such as a URI.

    Raises:
        SettingsError: The value is not allowed.
    """
    setting = next(setting for setting in SETTINGS if setting.field == "delivery")
    return str(setting.value(DELIVERY_OPTION, value, redact(source)))


def load(**overrides: Any) -> Settings:
    """Return the value of every setting.

    Args:
        overrides: Values by field; None counts as unset.

    Raises:
        SettingsError: A value is not allowed, a setting is unknown, or the project file is not
            valid TOML.
    """
    fields = {setting.field for setting in SETTINGS}
    for name in overrides:
        if name not in fields:
            raise SettingsError.unknown(name, fields, "argument")
    file, table = _project_file()
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for setting in SETTINGS:
        field, variable = setting.field, setting.variable
        if overrides.get(field) is not None:
            name, value, source = field, overrides[field], "argument"
        elif os.environ.get(variable, "").strip():
            name, value, source = variable, os.environ[variable], f"environment {variable}"
        elif field in table:
            name, value, source = field, table[field], f"file {file}"
        else:
            default = setting.default() if callable(setting.default) else setting.default
            values[field], origin[field] = default, "default"
            continue
        values[field], origin[field] = setting.value(name, value, source), source
    return Settings(**values, origin=origin)


def _project_file() -> tuple[str, Mapping[str, Any]]:
    """Return the name and the table of the first project file that has it; keys are fields."""
    for file in FILES:
        try:
            content = Path(file).read_bytes()
        except OSError:
            continue
        own = file == FILES[0]
        # A broken pyproject.toml is an error only if it is about this package.
        if not own and TABLE.encode() not in content:
            continue
        table = _table(file, content, own)
        if table is None:
            continue
        fields = {setting.field for setting in SETTINGS if setting.in_file}
        for key in table:
            if key.replace("-", "_") not in fields:
                raise SettingsError.unknown(key, fields, f"file {file}")
        return file, {key.replace("-", "_"): value for key, value in table.items()}
    return "", {}


def _table(file: str, content: bytes, own: bool) -> Mapping[str, Any] | None:
    import tomllib  # most projects lack the table: they need no parser at the start of a script

    try:
        document = tomllib.loads(content.decode())
        table = document.get("tool", {}).get(TABLE)
    except (ValueError, AttributeError) as error:
        what = f"the project file is not valid TOML: {error}"
        raise SettingsError(what, f"file {file}", "Correct the file") from error
    if isinstance(table, dict) or (table is None and not (own and document)):
        return table
    what = f"the table [tool.{TABLE}] is missing"
    raise SettingsError(what, f"file {file}", "Put the settings below that heading")
