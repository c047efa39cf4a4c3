from pathlib import Path

import pytest

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.errors import SettingsError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for setting in settings.SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def test_defaults(tmp_path):
    found = settings.load()
    assert found.capture is False
    assert found.directory == tmp_path / "state" / "yprov-mlflow"
    assert found.max_samples == 1000
    assert found.hash_user is False
    assert found.base_uri is None
    assert set(found.origin.values()) == {"default"}
    assert set(found.origin) == {setting.field for setting in settings.SETTINGS}


def test_argument_beats_environment_beats_file_beats_default(monkeypatch, nothing_set):
    (nothing_set / "pyproject.toml").write_text(
        "[tool.yprov-mlflow]\nmax-samples = 7\nhash_user = true\ndirectory = 'journals'\n"
    )
    monkeypatch.setenv("YPROV_MLFLOW_MAX_SAMPLES", "8")
    monkeypatch.setenv("YPROV_MLFLOW_HASH_USER", "no")
    found = settings.load(max_samples=9)
    assert (found.max_samples, found.origin["max_samples"]) == (9, "argument")
    found = settings.load(max_samples=None)
    assert found.max_samples == 8
    assert found.origin["max_samples"] == "environment YPROV_MLFLOW_MAX_SAMPLES"
    assert found.hash_user is False
    assert found.directory == nothing_set / "journals"
    assert found.origin["directory"] == "file pyproject.toml"
    assert found.origin["base_uri"] == "default"


def test_an_argument_of_0_is_given(monkeypatch):
    monkeypatch.setenv("YPROV_MLFLOW", "1")
    found = settings.load(max_samples=0, capture=False)
    assert (found.max_samples, found.capture) == (0, False)


def test_the_own_project_file_beats_pyproject(nothing_set):
    (nothing_set / "pyproject.toml").write_text("[tool.yprov-mlflow]\nmax-samples = 7\n")
    (nothing_set / "yprov-mlflow.toml").write_text("[tool.yprov-mlflow]\nmax-samples = 6\n")
    found = settings.load()
    assert (found.max_samples, found.origin["max_samples"]) == (6, "file yprov-mlflow.toml")


@pytest.mark.parametrize("text", ["", "  "])
def test_a_variable_set_to_nothing_is_not_set(monkeypatch, text):
    monkeypatch.setenv("YPROV_MLFLOW_MAX_SAMPLES", text)
    assert settings.load().origin["max_samples"] == "default"


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("On", True), ("YES", True), ("0", False), ("false", False)]
)
def test_switches(monkeypatch, text, value):
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
        ("YPROV_MLFLOW_DIR", "~nobody-of-this-name/x"),
    ],
)
def test_a_bad_value_names_variable_value_and_what_is_allowed(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    (setting,) = [s for s in settings.SETTINGS if s.variable == variable]
    for part in (variable, repr(text), setting.allowed, f"environment {variable}"):
        assert part in str(caught.value)


def test_a_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="a folder"):
        settings.load(directory=tmp_path / "file")


def test_true_is_no_count(nothing_set):
    (nothing_set / "pyproject.toml").write_text("[tool.yprov-mlflow]\nmax-samples = true\n")
    with pytest.raises(SettingsError, match=r"max_samples cannot be True \(file pyproject.toml\)"):
        settings.load()


def test_unknown_settings_are_refused(nothing_set):
    with pytest.raises(SettingsError, match="no setting 'colour'"):
        settings.load(colour="red")
    (nothing_set / "pyproject.toml").write_text("[tool.yprov-mlflow]\nmax-sample = 7\n")
    with pytest.raises(SettingsError, match=r"no setting 'max-sample' \(file pyproject.toml\)"):
        settings.load()


def test_a_project_file_cannot_switch_capture_on(nothing_set):
    (nothing_set / "pyproject.toml").write_text("[tool.yprov-mlflow]\ncapture = true\n")
    with pytest.raises(SettingsError, match="no setting 'capture'"):
        settings.load()


def test_files_of_others_are_none_of_our_business(nothing_set):
    (nothing_set / "pyproject.toml").write_text("[tool.other\nbroken")
    assert settings.load().max_samples == 1000
    (nothing_set / "pyproject.toml").write_text("[project]\ndependencies = ['yprov-mlflow']\n")
    assert settings.load().max_samples == 1000


@pytest.mark.parametrize(
    "text", ["[tool.yprov-mlflow", "max-samples = 7\n", "tool = 3\n", "[tool]\nyprov-mlflow = 3\n"]
)
def test_a_project_file_that_says_nothing_is_refused(nothing_set, text):
    (nothing_set / "yprov-mlflow.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"file yprov-mlflow\.toml"):
        settings.load()


def test_an_empty_project_file_is_fine(nothing_set):
    (nothing_set / "yprov-mlflow.toml").write_text("# nothing yet\n")
    assert settings.load().max_samples == 1000


def test_directory_of_a_user_without_home_or_with_a_relative_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.default_directory() == tmp_path / ".local/state/yprov-mlflow"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert settings.default_directory().name.startswith("yprov-mlflow-")


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.load(directory="~/prov").directory == tmp_path / "prov"
