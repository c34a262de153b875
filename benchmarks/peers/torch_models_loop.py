"""The plain loop over a model of the hub: tensors in memory, torch's optimizer, the mean loss of an epoch."""

from __future__ import annotations

import sys

import torch
from fit_server import serve
from torch import Tensor, nn
from torch_zoo import WORKLOADS, samples


def main(name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    workload = WORKLOADS[name]
    x, y = samples(name)
    model = workload.make()
    optimizer = workload.optimizer(model.parameters())
    loss_fn = nn.CrossEntropyLoss()
    size, count = workload.batch_size, workload.batch_size * workload.steps

    def loss_of(batch: Tensor) -> Tensor:
        if y is not None:
            return loss_fn(model(x[batch]), y[batch])
        loss: Tensor = model(**{key: value[batch] for key, value in x.items()}).loss
        return loss

    def train() -> int:
        model.train()
        order, total = torch.randperm(count), torch.zeros(())
        for start in range(0, count, size):
            batch = order[start : start + size]
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        float(total / count)
        return workload.steps

    serve({"train": train})


if __name__ == "__main__":
    main(sys.argv[1])
