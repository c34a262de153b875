"""The loop that a person writes by hand: torch.nn, torch.optim.Adam with its defaults, arrays in memory, a mean loss an epoch."""

from __future__ import annotations

import sys

import numpy as np
import torch
from fit_models import WORKLOADS, arrays, torch_model
from fit_server import repeated, serve
from torch import nn


def main(name: str, fused: bool = False) -> None:
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    x_array, y_array = arrays(name)
    x, y = torch.from_numpy(x_array), torch.from_numpy(y_array)
    model = torch_model(name)
    optimizer = torch.optim.Adam(model.parameters(), fused=True) if fused else torch.optim.Adam(model.parameters())
    loss_fn = nn.CrossEntropyLoss()
    size = workload.batch_size

    def train(accuracy: bool) -> int:
        model.train()
        order = torch.randperm(len(x))
        total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for start in range(0, len(x), size):
            batch = order[start : start + size]
            targets = y[batch]
            outputs = model(x[batch])
            loss = loss_fn(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
            if accuracy:
                hits += (outputs.argmax(1) == targets).sum()
        float(total / len(x)), float(hits / len(x))
        return workload.steps

    def evaluate() -> int:
        model.eval()
        total = torch.zeros(())
        with torch.inference_mode():
            for start in range(0, len(x), size):
                total += loss_fn(model(x[start : start + size]), y[start : start + size]) * size
        float(total / len(x))
        return workload.steps

    def predict() -> int:
        model.eval()
        with torch.inference_mode():
            np.concatenate([model(x[start : start + size]).numpy() for start in range(0, len(x), size)])
        return workload.steps

    def one() -> None:
        with torch.inference_mode():
            model(x[:1])

    def call_one() -> int:
        model.eval()
        return repeated(one)()

    serve(
        {
            "train": lambda: train(False),
            "train and accuracy": lambda: train(True),
            "evaluate": evaluate,
            "predict": predict,
            "call one": call_one,
            "predict one": call_one,
        }
    )


if __name__ == "__main__":
    main(sys.argv[1], fused="--fused" in sys.argv)
