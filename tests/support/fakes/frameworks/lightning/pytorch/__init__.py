from types import SimpleNamespace


class Callback:
    """Has every hook, as Lightning's own base class."""

    def __getattr__(self, name):
        if name.startswith("on_") or name in ("setup", "teardown"):
            return lambda *args, **kwargs: None
        raise AttributeError(name)


class MLFlowLogger:
    """Creates its run with a client and leaves it inactive, as Lightning's does."""

    def __init__(self, experiment_name, run_name, tracking_uri, **options):
        import mlflow

        self._client = mlflow.MlflowClient(tracking_uri)
        self._experiment, self._run_id = experiment_name, None
        self._name = run_name

    @property
    def run_id(self):
        if self._run_id is None:
            experiment = self._client.get_experiment_by_name(self._experiment)
            experiment_id = (
                experiment.experiment_id
                if experiment
                else self._client.create_experiment(self._experiment)
            )
            run = self._client.create_run(experiment_id, run_name=self._name)
            self._run_id = run.info.run_id
        return self._run_id

    def log_metrics(self, metrics, step):
        for key, value in metrics.items():
            self._client.log_metric(self.run_id, key, value, step=step)

    def finalize(self):
        self._client.set_terminated(self.run_id)


loggers = SimpleNamespace(MLFlowLogger=MLFlowLogger)
