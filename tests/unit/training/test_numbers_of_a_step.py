"""A step of the script's own that sets rates, or computes with gradients: the numbers of a plain loop, in any slices on any workers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_runs import alone, job_of, on_workers, run_to_end
from torch import Tensor, nn

import disttrain as dt
from disttrain.errors import UsageError

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(11, 3)).astype("float32"), RANDOM.normal(size=(11, 1)).astype("float32")


def step_of(net: nn.Module, opt: torch.optim.Optimizer, x: Tensor, y: Tensor, count: int) -> Tensor:
    """One step as people write it: a rate by hand, gradients clipped by hand."""
    opt.param_groups[0]["lr"] = 0.3 / count
    loss = F.mse_loss(net(x.double()), y.double())
    opt.zero_grad()
    loss.backward()
    length = sum(weight.grad.pow(2).sum() for weight in net.parameters()) ** 0.5
    for weight in net.parameters():
        weight.grad *= torch.clamp(0.5 / length, max=1.0)
    opt.step()
    opt.param_groups[0]["momentum"] *= 0.9
    return loss


class Stepping(dt.Model):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.opt = net, torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def call(self, x: Tensor) -> Tensor:
        return self.net(x.double())

    def train_step(self, data: Any) -> dict[str, Any]:
        self.count += 1
        return {"loss": step_of(self.net, self.opt, *data, int(self.count))}


def test_rates_and_measures_by_hand_are_those_of_a_plain_loop_in_any_slices():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    for virtual_workers, workers in ((1, 1), (4, 1), (4, 3)):  # the last batch of an epoch is one sample: most workers have none
        model = Stepping(copy.deepcopy(net))
        model.compile()
        job = job_of(model, virtual_workers, X, Y, batch_size=5, epochs=2, shuffle=False)
        engines = [run_to_end(alone(job))] if workers == 1 else on_workers(job, workers)
        for engine in engines:
            trained = engine.replica.model
            group = trained.opt.param_groups[0]
            assert (group["lr"], group["momentum"]) == (0.3 / 6, pytest.approx(0.9**7))
            reference = plain_after(net, 2)
            for weight, expected in zip(trained.net.parameters(), reference.parameters(), strict=True):
                np.testing.assert_allclose(weight.detach().numpy(), expected.detach().numpy(), rtol=1e-9)


def plain_after(net: nn.Module, epochs: int) -> nn.Module:
    trained, count = copy.deepcopy(net), 0
    opt = torch.optim.SGD(trained.parameters(), lr=1.0, momentum=0.9)
    for _ in range(epochs):
        for start in (0, 5, 10):
            count += 1
            step_of(trained, opt, torch.from_numpy(X[start : start + 5]), torch.from_numpy(Y[start : start + 5]), count)
    return trained


class Choosing(Stepping):
    """Its rate depends on the samples of a slice."""

    def train_step(self, data: Any) -> dict[str, Any]:
        self.opt.param_groups[0]["lr"] = float(data[0].abs().mean())
        loss = F.mse_loss(self(data[0]), data[1].double())
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"loss": loss}


def test_slices_that_set_different_rates_are_told():
    model = Choosing(nn.Linear(3, 1).double())
    model.compile()
    with pytest.raises(UsageError, match=r"self.opt.param_groups\[0\]\['lr'\] differently for different slices"):
        run_to_end(alone(job_of(model, 2, X, Y, batch_size=5)))
