"""Keras 3 on its torch backend, as a person uses it."""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from fit_models import WORKLOADS, arrays, keras_stack
from fit_server import repeated, serve


def main(name: str) -> None:
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    x, y = arrays(name)
    model = keras.Sequential([keras.Input(workload.shape), *keras_stack(name, keras.layers)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    size = workload.batch_size
    one = torch.from_numpy(x[:1])
    compiled: list[bool] = []

    def compile_with(accuracy: bool) -> None:
        if compiled != [accuracy]:
            compiled[:] = [accuracy]
            model.compile(optimizer="adam", loss=loss, metrics=["accuracy"] if accuracy else [])

    def train(accuracy: bool) -> int:
        compile_with(accuracy)
        model.fit(x, y, batch_size=size, epochs=1, verbose=0)
        return workload.steps

    def evaluate() -> int:
        compile_with(False)
        model.evaluate(x, y, batch_size=size, verbose=0)
        return workload.steps

    def predict() -> int:
        model.predict(x, batch_size=size, verbose=0)
        return workload.steps

    serve(
        {
            "train": lambda: train(False),
            "train and accuracy": lambda: train(True),
            "evaluate": evaluate,
            "predict": predict,
            "call one": repeated(lambda: model(one)),
            "predict one": repeated(lambda: model.predict(x[:1], verbose=0)),
        }
    )


if __name__ == "__main__":
    main(sys.argv[1])
