"""Test sessions over Python and MLflow versions: ``nox``, or ``nox -s "tests-3.12(mlflow=X)"``.

Each session installs the package with one MLflow and runs the tests that talk to MLflow. The
command of the README and ``.ci/run`` test Python 3.11 with the newest MLflow completely.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|venv"

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
MLFLOWS = ["2.22", "3.1", "3.6", "3.12", "3.17"]
TOUCHES_MLFLOW = [
    "tests/unit/capture",
    "tests/unit/test_house_rules.py",
    "tests/integration/test_plugin.py",
    "tests/integration/test_dropin.py",
    "tests/integration/test_kill_recovery.py",
    "tests/integration/test_untouched.py",
    "tests/integration/test_restore.py",
]


def requirement(mlflow: str) -> list[str]:
    """Return the requirements that select a minor version of MLflow."""
    major, minor = map(int, mlflow.split("."))
    pins = [f"mlflow=={mlflow}.*"]
    if (major, minor) < (3, 9):
        pins.append("sqlalchemy<2.1")  # these versions import names that 2.1 removed
    return pins


@nox.session(python=PYTHONS)
@nox.parametrize("mlflow", MLFLOWS)
def tests(session: nox.Session, mlflow: str) -> None:
    """Run the tests that depend on MLflow's version."""
    session.install(".[test]", *requirement(mlflow))
    session.run("pytest", "-n", "2", *(session.posargs or TOUCHES_MLFLOW))


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Run all tests, child processes included, and fail below the floor in pyproject.toml."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "--cov", "--cov-report=", *session.posargs)
    session.run("coverage", "report")


@nox.session(python="3.11")
def corpus(session: nox.Session) -> None:
    """Restore every store of the corpus, of which the tests take each third."""
    session.install(".[test]")
    env = {"YPROV_MLFLOW_WHOLE_CORPUS": "1"}
    session.run("pytest", "-n", "2", "tests/integration/test_restored_corpus.py", env=env)


@nox.session(python="3.11", default=False)
def file_adapters(session: nox.Session) -> None:
    """Test the collector of files with packages that open files past Python; several GB."""
    session.install(".[test]", "h5py", "netCDF4", "safetensors", "zarr", "fsspec", "torch")
    session.run("pytest", "tests/unit/sampling/test_opened_files.py")


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Run all static checks."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
    session.run("python", "docs/generate.py", "--check")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the documentation site in build/site; a warning fails."""
    session.install("mkdocs-material>=9.6")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python="3.11")
def dist(session: nox.Session) -> None:
    """Build sdist and wheel, check them, and run the quickstart with the wheel alone.

    ``-- FOLDER`` keeps the files there.
    """
    scratch = Path(session.create_tmp()).resolve()
    folder = Path(*session.posargs or [scratch / "dist"]).resolve()
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(folder))
    files = [str(path) for path in folder.glob("yprov_mlflow-*")]
    session.run("twine", "check", "--strict", *files)
    session.install(*(path for path in files if path.endswith(".whl")))
    quickstart = Path("examples/quickstart.py").resolve()
    session.chdir(scratch)
    session.run("python", str(quickstart), env={"YPROV_MLFLOW_DIR": str(scratch / "state")})


@nox.session(python="3.12", default=False)
def yprov4ml(session: nox.Session) -> None:
    """Let yProv4ML read our profile, read its own folders, and compare both with MLflow.

    yProv4ML needs Python 3.12, torch and an older zarr: it gets an environment of its own.
    """
    session.install(".[netcdf,zarr]")
    folder = session.create_tmp()
    session.run("python", "-m", "venv", "--clear", f"{folder}/yprov4ml")
    theirs = f"{folder}/yprov4ml/bin/python"
    # It imports xarray without requiring it; this is the last series that knows zarr 2.
    requirements = ["yprov4ml==3.2.8", "xarray<2025"]
    session.run(theirs, "-m", "pip", "install", "-q", *requirements, external=True)
    program = "tests/peers/yprov4ml_readers.py"
    session.run("python", program, "capture", f"{folder}/readers")
    session.run(theirs, program, "read", f"{folder}/readers", external=True)
    program = "tests/peers/yprov4ml_folders.py"
    session.run(theirs, program, "log", f"{folder}/folders", external=True)
    session.run("python", program, "compare", f"{folder}/folders")


@nox.session(python="3.11", default=False)
def seals(session: nox.Session) -> None:
    """Have model-signing, securesystemslib and in-toto verify our seals."""
    session.install(".[seal]")
    folder = session.create_tmp()
    program = "tests/peers/seal_readers.py"
    session.run("python", "-m", "venv", "--clear", f"{folder}/theirs")
    theirs = f"{folder}/theirs/bin/python"
    libraries = ["model-signing", "securesystemslib[crypto]", "in-toto-attestation", "pyopenssl"]
    session.run(theirs, "-m", "pip", "install", "-q", *libraries, external=True)
    session.run("python", program, "seal", f"{folder}/sealed")
    session.run(theirs, program, "verify", f"{folder}/sealed", external=True)


FRAMEWORKS = [
    *("scikit-learn", "xgboost", "lightgbm", "optuna", "matplotlib", "langchain", "openai"),
    *("torch", "lightning", "transformers", "accelerate", "tensorflow-cpu", "tensorboard"),
]


@nox.session(python="3.11", default=False)
def frameworks(session: nox.Session) -> None:
    """Train with each framework, plain and captured, and compare MLflow with the documents.

    Takes half an hour and several GB; ``-- --only sklearn_models`` runs one script.
    """
    session.install("-e", ".", "jsonschema", *FRAMEWORKS)
    session.run("python", "tests/frameworks/compare.py", *session.posargs)


@nox.session(python="3.11", default=False)
@nox.parametrize("engine", ["snakemake", "airflow"])
def workflows(session: nox.Session, engine: str) -> None:
    """Run a pipeline of training tasks in an engine, and a query over tasks and runs."""
    session.install(".", f"./examples/{engine}_plugin", engine_requirement(engine))
    session.install("pytest", "hypothesis", "scikit-learn", "pandas")
    # Without the options for pytest-xdist, which is not needed here.
    options = ["-o", "addopts=--import-mode=importlib", "-k", engine]
    session.run("pytest", *options, "tests/workflows")


def engine_requirement(engine: str) -> str:
    """Return the requirement that installs a workflow engine."""
    return {"snakemake": "snakemake>=9", "airflow": "apache-airflow>=3"}[engine]


@nox.session(python="3.11", default=False)
def standards(session: nox.Session) -> None:
    """Check documents of all stores with the schemas, parsers and validators of others.

    Takes an hour; ``-- --most 3`` takes three runs of each store.
    """
    session.install("-e", ".[crate]", "prov[xml]", "jsonschema", "jsonschema-rs", "roc-validator")
    session.run("python", "tests/standards/check.py", *session.posargs)


@nox.session(python="3.11")
def long(session: nox.Session) -> None:
    """Run the tests that the usual run leaves out because they take too long."""
    session.install(".[test]")
    session.run("pytest", "-n", "2", "-m", "long", *session.posargs)


SKINNY = """
import yprov_mlflow as mlflow

with mlflow.start_run() as run, mlflow.prov.context("training"):
    mlflow.log_metric("loss", 0.5)
assert mlflow.prov.summary(run.info.run_id).metrics
"""


@nox.session(python="3.11")
def skinny(session: nox.Session) -> None:
    """Capture with MLflow's skinny client, installed as docs/compatibility.md says."""
    session.install("mlflow-skinny>=2.22,<4", "prov", "orjson", "pyarrow", "pyoxigraph")
    session.install("psutil", "pyyaml", "click", "rich", "filelock", "rdflib", "nvidia-ml-py")
    session.install("--no-deps", ".")
    folder = session.create_tmp()
    env = {"MLFLOW_TRACKING_URI": f"file:{folder}/mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
    session.run("python", "-c", SKINNY, env={**env, "YPROV_MLFLOW_DIR": folder})
