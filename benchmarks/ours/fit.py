"""disttrain in one process, as a person uses it."""

from __future__ import annotations

import sys

import torch
from fit_models import WORKLOADS, arrays, keras_stack
from fit_server import repeated, serve

import disttrain as dt
from disttrain import layers


def main(name: str) -> None:
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    x, y = arrays(name)
    model = dt.Sequential([dt.Input(workload.shape), *keras_stack(name, layers)])
    loss = dt.losses.SparseCategoricalCrossentropy(from_logits=True)
    size = workload.batch_size
    one = torch.from_numpy(x[:1])

    compiled: list[list[str]] = []

    def compile_with(metrics: list[str]) -> None:
        if compiled != [metrics]:
            compiled[:] = [metrics]
            model.compile(optimizer="adam", loss=loss, metrics=metrics)

    def train(metrics: list[str]) -> int:
        compile_with(metrics)
        model.fit(x, y, batch_size=size, epochs=1, verbose=0)
        return workload.steps

    def evaluate() -> int:
        compile_with([])
        model.evaluate(x, y, batch_size=size, verbose=0)
        return workload.steps

    def predict() -> int:
        model.predict(x, batch_size=size, verbose=0)
        return workload.steps

    serve(
        {
            "train": lambda: train([]),
            "train and accuracy": lambda: train(["accuracy"]),
            "evaluate": evaluate,
            "predict": predict,
            "call one": repeated(lambda: model(one)),
            "predict one": repeated(lambda: model.predict(x[:1], verbose=0)),
        }
    )


if __name__ == "__main__":
    main(sys.argv[1])
