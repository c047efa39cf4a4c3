"""Convert old runs to PROV, and query them with SPARQL for the best loss of runs with lr=0.1.

It needs no network. The runs, in the file format of MLflow 1.0 and later, and their documents are
in a temporary folder, which it deletes.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from yprov_mlflow.prov.convert import Conversion, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor
from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.formats.rdf import to_dataset

START_MS = 1_600_000_000_000
RUNS = {  # name: learning rate and losses
    "careful": ("0.01", (0.9, 0.7, 0.6)),
    "fast": ("0.1", (0.9, 0.4, 0.5)),
    "fast and wide": ("0.1", (0.8, 0.3, 0.2)),
}
QUERY = """
PREFIX mlf: <https://w3id.org/yprov/mlflow#>
PREFIX mls: <http://www.w3.org/ns/mls#>
PREFIX prov: <http://www.w3.org/ns/prov#>
PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
PREFIX schema: <https://schema.org/>

SELECT ?name ?id ?best WHERE {
  GRAPH ?document {
    ?run a mlf:Run ; rdfs:label ?name ; mlf:runId ?id ; prov:used ?param .
    ?param a mlf:Param ; schema:name "lr" ; mls:hasValue ?lr .
    ?series a mlf:MetricSeries ; schema:name "loss" ; prov:wasGeneratedBy ?run ; mlf:min ?best .
  }
  FILTER (?lr = 1e-1)  # an xsd:double, like the param; 0.1 would be an xsd:decimal
}
ORDER BY ?best
"""


def make_tree(mlruns: Path) -> None:
    """Write an experiment with a few runs in the format of MLflow's file store."""
    write(
        mlruns / "0" / "meta.yaml",
        f"artifact_location: {(mlruns / '0').as_uri()}\nexperiment_id: '0'\n"
        "lifecycle_stage: active\nname: Default\n",
    )
    for number, (name, (lr, losses)) in enumerate(RUNS.items(), start=1):
        run_id, start = f"ab{number:030x}", START_MS + number * 60_000
        run = mlruns / "0" / run_id
        write(
            run / "meta.yaml",
            f"artifact_uri: {(run / 'artifacts').as_uri()}\nend_time: {start + 9_000}\n"
            f"experiment_id: '0'\nlifecycle_stage: active\nrun_id: {run_id}\nrun_name: {name}\n"
            f"start_time: {start}\nstatus: 3\nuser_id: ada\n",
        )
        write(run / "params" / "lr", lr)
        points = (f"{start + step * 1000} {loss} {step}\n" for step, loss in enumerate(losses))
        write(run / "metrics" / "loss", "".join(points))


def write(path: Path, content: str) -> None:
    """Write a file, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def main() -> None:
    """Create runs, convert them, and query the result."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_tree(folder / "mlruns")
        conversion = Conversion(Request(str(folder / "mlruns"), folder / "prov"), InlineExecutor())
        for _ in conversion:
            pass
        report = conversion.report
        print(f"{report.converted} of {report.runs} runs converted, {report.records} records")
        paths = sorted((folder / "prov").rglob("prov.json"))
        dataset = to_dataset(document for path in paths for document in open_documents(path))
    print(f"{len(dataset)} triples in {len(paths)} documents; runs with lr=0.1, best first:")
    print(f"{'run':15}{'best loss':>10}  id")
    for row in dataset.query(QUERY):
        print(f"{row.name:15}{row.best.toPython():10.2f}  {row.id}")


if __name__ == "__main__":
    main()
