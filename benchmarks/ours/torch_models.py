"""A model of the hub in disttrain, in one process, as a person wraps it."""

from __future__ import annotations

import sys

import torch
from fit_server import serve
from torch import nn
from torch_zoo import WORKLOADS, samples

import disttrain as dt


def main(name: str, ours: bool = False) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    workload = WORKLOADS[name]
    x, y = samples(name)
    net = workload.make()
    model = dt.Sequential([net])
    optimizer = dt.optimizers.AdamW(1e-4) if ours else workload.optimizer(net.parameters())
    model.compile(optimizer, None if workload.labelled else nn.CrossEntropyLoss())

    def train() -> int:
        model.fit(x, y, batch_size=workload.batch_size, epochs=1, verbose=0)
        return workload.steps

    serve({"train": train})


if __name__ == "__main__":
    main(sys.argv[1], ours="--our-optimizer" in sys.argv)
