"""Autologging of Keras with TensorFlow: training with validation data, and evaluation."""

import json
import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import mlflow
import numpy

mlflow.set_experiment("keras")
mlflow.tensorflow.autolog(log_every_epoch=True)
keras.utils.set_random_seed(0)

generator = numpy.random.default_rng(0)
features = generator.normal(size=(64, 3)).astype("float32")
target = features.sum(axis=1)

for units in (2, 4):
    with mlflow.start_run(run_name=f"{units} units"):
        layers = [keras.layers.Dense(units, activation="relu"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
        valid = (features[40:52], target[40:52])
        model.fit(features[:40], target[:40], epochs=3, verbose=0, validation_data=valid)
        loss, error = model.evaluate(features[52:], target[52:], verbose=0)
        mlflow.log_metrics({"test loss": loss, "test error": error})

train = mlflow.data.from_numpy(features[:40], targets=target[:40]).digest
models = mlflow.search_logged_models(output_format="list")
with open("trained_on.json", "w") as file:
    json.dump({model.model_id: [train] for model in models}, file)
