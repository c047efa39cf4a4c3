from pathlib import Path

import pytest

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.errors import SettingsError


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path):
    for setting in settings.SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_defaults(tmp_path):
    loaded = settings.load()
    assert loaded.capture is False
    assert loaded.directory == tmp_path / "state" / "yprov-mlflow"
    assert loaded.max_samples == 100
    assert loaded.hash_user is False
    assert loaded.base_uri is None
    assert set(loaded.origin.values()) == {"default"}
    assert set(loaded.origin) == {setting.field for setting in settings.SETTINGS}


def test_argument_overrides_environment_file_and_default(monkeypatch, project):
    (project / "pyproject.toml").write_text(
        "[tool.yprov-mlflow]\nmax-samples = 7\nhash_user = true\ndirectory = 'journals'\n"
    )
    monkeypatch.setenv("YPROV_MLFLOW_MAX_SAMPLES", "8")
    monkeypatch.setenv("YPROV_MLFLOW_HASH_USER", "no")
    loaded = settings.load(max_samples=9)
    assert (loaded.max_samples, loaded.origin["max_samples"]) == (9, "argument")
    loaded = settings.load(max_samples=None)
    assert loaded.max_samples == 8
    assert loaded.origin["max_samples"] == "environment YPROV_MLFLOW_MAX_SAMPLES"
    assert loaded.hash_user is False
    assert loaded.directory == project / "journals"
    assert loaded.origin["directory"] == "file pyproject.toml"
    assert loaded.origin["base_uri"] == "default"


def test_falsy_arguments_count(monkeypatch):
    monkeypatch.setenv("YPROV_MLFLOW", "1")
    loaded = settings.load(max_samples=0, capture=False)
    assert (loaded.max_samples, loaded.capture) == (0, False)


def test_own_project_file_overrides_pyproject(project):
    (project / "pyproject.toml").write_text("[tool.yprov-mlflow]\nmax-samples = 7\n")
    (project / "yprov-mlflow.toml").write_text("[tool.yprov-mlflow]\nmax-samples = 6\n")
    loaded = settings.load()
    assert (loaded.max_samples, loaded.origin["max_samples"]) == (6, "file yprov-mlflow.toml")


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_variable_counts_as_unset(monkeypatch, text):
    monkeypatch.setenv("YPROV_MLFLOW_MAX_SAMPLES", text)
    assert settings.load().origin["max_samples"] == "default"


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("On", True), ("YES", True), ("0", False), ("false", False)]
)
def test_boolean_values(monkeypatch, text, value):
    monkeypatch.setenv("YPROV_MLFLOW", text)
    assert settings.load().capture is value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("YPROV_MLFLOW", "maybe"),
        ("YPROV_MLFLOW_MAX_SAMPLES", "-1"),
        ("YPROV_MLFLOW_MAX_SAMPLES", "1.5"),
        ("YPROV_MLFLOW_MAX_SAMPLES", "many"),
        ("YPROV_MLFLOW_HASH_USER", "2"),
        ("YPROV_MLFLOW_BASE_URI", "prov.example.org/runs"),
        ("YPROV_MLFLOW_BASE_URI", "https://prov.example.org/a b"),
        ("YPROV_MLFLOW_BASE_URI", "https://prov.example.org/#runs"),
        ("YPROV_MLFLOW_DIR", "~unknown-user-name/x"),
    ],
)
def test_bad_value_error_names_variable_value_and_allowed_values(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    (setting,) = [s for s in settings.SETTINGS if s.variable == variable]
    for part in (variable, repr(text), setting.allowed, f"environment {variable}"):
        assert part in str(caught.value)


def test_directory_must_not_be_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="a folder"):
        settings.load(directory=tmp_path / "file")


def test_true_is_not_a_number(project):
    (project / "pyproject.toml").write_text("[tool.yprov-mlflow]\nmax-samples = true\n")
    with pytest.raises(SettingsError, match=r"max_samples cannot be True \(file pyproject.toml\)"):
        settings.load()


def test_unknown_settings_raise(project):
    with pytest.raises(SettingsError, match="unknown setting 'color'"):
        settings.load(color="red")
    (project / "pyproject.toml").write_text("[tool.yprov-mlflow]\nmax-sample = 7\n")
    with pytest.raises(SettingsError, match=r"setting 'max-sample' \(file pyproject.toml\)"):
        settings.load()


def test_project_file_cannot_enable_capture(project):
    (project / "pyproject.toml").write_text("[tool.yprov-mlflow]\ncapture = true\n")
    with pytest.raises(SettingsError, match="unknown setting 'capture'"):
        settings.load()


def test_pyproject_without_our_table_is_ignored_even_if_broken(project):
    (project / "pyproject.toml").write_text("[tool.other\nbroken")
    assert settings.load().max_samples == 100
    (project / "pyproject.toml").write_text("[project]\ndependencies = ['yprov-mlflow']\n")
    assert settings.load().max_samples == 100


@pytest.mark.parametrize(
    "text", ["[tool.yprov-mlflow", "max-samples = 7\n", "tool = 3\n", "[tool]\nyprov-mlflow = 3\n"]
)
def test_own_project_file_without_a_valid_table_raises(project, text):
    (project / "yprov-mlflow.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"file yprov-mlflow\.toml"):
        settings.load()


def test_empty_project_file_is_allowed(project):
    (project / "yprov-mlflow.toml").write_text("# nothing yet\n")
    assert settings.load().max_samples == 100


def test_default_directory_without_home_or_with_relative_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.default_directory() == tmp_path / ".local/state/yprov-mlflow"

    def raise_no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", raise_no_home)
    assert settings.default_directory().name.startswith("yprov-mlflow-")


def test_tilde_in_directory_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.load(directory="~/prov").directory == tmp_path / "prov"
