class Trainer:
    def __init__(self, max_epochs, callbacks=(), logger=None, batches=2):
        self.callbacks = list(callbacks)
        self.loggers = [logger] if logger else []
        self.max_epochs, self.batches, self.current_epoch = max_epochs, batches, 0

    def _call(self, hook, *args):
        for callback in self.callbacks:
            getattr(callback, hook)(self, None, *args)

    def _log(self, **metrics):
        for logger in self.loggers:
            logger.log_metrics(metrics, self.current_epoch)

    def _validate(self):
        self._call("on_validation_start")
        self._log(val_loss=1.0)
        self._call("on_validation_end")

    def _run(self, stage, work):
        try:
            self._call("setup", stage)
            result = work()
        except BaseException as error:
            self._call("on_exception", error)
            raise
        finally:
            self._call("teardown", stage)
        return result

    def fit(self, model=None):
        """Train, with validation after each epoch."""
        return self._run("fit", self._fit)

    def _fit(self):
        self._call("on_sanity_check_start")
        self._call("on_validation_start")
        self._call("on_validation_end")
        self._call("on_sanity_check_end")
        self._call("on_train_start")
        for epoch in range(self.max_epochs):
            self.current_epoch = epoch
            self._call("on_train_epoch_start")
            for batch in range(self.batches):
                self._call("on_train_batch_start", batch, batch)
            self._validate()
            self._call("on_train_epoch_end")
            self._log(train_loss=0.5)  # after all hooks of the epoch's end
        self._call("on_train_end")

    def test(self, model=None):
        return self._run("test", self._test)

    def _test(self):
        self._call("on_test_start")
        self._call("on_test_end")
        return [{"test_loss": 2.0}]

    def validate(self, model=None):
        return self._run("validate", self._validate)

    def predict(self, model=None):
        return self._run("predict", lambda: self._call("on_predict_start"))
