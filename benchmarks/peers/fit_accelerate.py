"""Hugging Face Accelerate around the loop that a person writes by hand, over arrays in memory; batches are sliced, as for Lightning.

A `DataLoader` over a batch sampler would collate sample by sample, which is slower; `accelerator.prepare` is given model and optimizer.
"""

from __future__ import annotations

import sys

import torch
from accelerate import Accelerator
from fit_models import WORKLOADS, arrays, torch_model
from fit_server import serve
from torch import nn


def main(name: str) -> None:
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    x, y = (torch.from_numpy(array) for array in arrays(name))
    accelerator = Accelerator(cpu=True)
    bare = torch_model(name)
    model, optimizer = accelerator.prepare(bare, torch.optim.Adam(bare.parameters()))
    loss_fn = nn.CrossEntropyLoss()

    def train() -> int:
        model.train()
        order = torch.randperm(len(x))
        total = torch.zeros(())
        for start in range(0, len(x), workload.batch_size):
            batch = order[start : start + workload.batch_size]
            loss = loss_fn(model(x[batch]), y[batch])
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            total += loss.detach() * len(batch)
        float(accelerator.reduce(total) / len(x))
        return workload.steps

    serve({"train": train})


if __name__ == "__main__":
    main(sys.argv[1])
