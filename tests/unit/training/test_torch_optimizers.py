"""torch's own optimizers, in compile and in steps: the bits of a plain loop, with state that travels."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import state_cases
import torch
from engine_runs import alone, bits, copied, job_of, run_to_end, step
from torch import nn

import disttrain as dt
from disttrain import layers
from disttrain.errors import UsageError
from disttrain.training.local import runner
from disttrain.training.step.engine import Engine

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(24, 3)).astype(np.float32), rng.normal(size=(24, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(1)
    torch.manual_seed(0)
    with runner.installed(runner.LocalRunner(runner._InProcess(threads=1))):
        yield


def wrapped(module: nn.Module) -> dt.Model:
    return dt.Sequential([dt.Input((3,)), layers.TorchModule(module)])


def plain_loop(module, optimizer, epochs=2, scheduler=None):
    for _ in range(epochs):
        for start in range(0, len(X), 8):
            loss = ((module(torch.from_numpy(X[start : start + 8])) - torch.from_numpy(Y[start : start + 8])) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize("name", state_cases.OPTIMIZERS)
def test_a_fit_has_the_bits_of_a_plain_loop(name):
    module = state_cases.net()
    other = copy.deepcopy(module)
    plain_loop(other, state_cases.OPTIMIZERS[name](other.parameters()))
    model = wrapped(module)
    model.compile(state_cases.OPTIMIZERS[name](module.parameters()), "mse")
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
        assert ours.detach().numpy().tobytes() == theirs.detach().numpy().tobytes()
    assert model.optimizer.iterations == 6


def test_a_second_fit_and_a_loaded_state_go_on_as_the_loop_does():
    module = state_cases.net()
    other = copy.deepcopy(module)
    theirs = torch.optim.Adam(other.parameters(), lr=0.02)
    plain_loop(other, theirs, epochs=4)
    model, ours = wrapped(module), torch.optim.Adam(module.parameters(), lr=0.02)
    model.compile(ours, "mse")
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(X, Y, **arguments, epochs=2)
    kept = copy.deepcopy(ours.state_dict())
    weights = model.get_weights()
    model.fit(X, Y, **arguments, epochs=1)
    ours.load_state_dict(kept)  # the script takes one epoch back
    model.set_weights(weights)
    model.fit(X, Y, **arguments, epochs=2)
    assert torch.equal(other[0].weight, module[0].weight)
    assert ours.state_dict()["state"][0]["step"] == 12


def test_weights_that_the_optimizer_does_not_hold_stay_and_each_group_has_its_own_rate():
    module = state_cases.net()
    kept = module[2].weight.detach().clone()
    optimizer = torch.optim.SGD([{"params": [module[0].weight], "lr": 0.1}, {"params": [module[0].bias], "lr": 0.2}], lr=0.3)
    model = wrapped(module)
    model.compile(optimizer, "mse")
    model.fit(X, Y, verbose=0)
    assert torch.equal(module[2].weight, kept)
    model.optimizer.learning_rate = 0.05
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.1])
    model.optimizer.learning_rate = 0.0
    model.optimizer.learning_rate = 0.2
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.4])


@pytest.mark.parametrize("name", ["Adam", "Adafactor", "ASGD", "SGD"])
def test_its_state_travels_to_another_engine_also_before_the_first_update(name):
    job = job_of(state_cases.optimizer_task(name).model, 2, X, Y, batch_size=8, epochs=2)
    expected = bits(run_to_end(alone(job)))
    for steps in (0, 1, 4):
        first, second = alone(job), alone(job)
        for _ in range(steps):
            step(first)
        step(second)
        step(second)  # what it has counted itself is void
        second.replica.load_state_dict(copied(first))
        assert bits(second) == bits(first)
        assert bits(run_to_end(second)) == expected


def test_a_step_of_the_scripts_own_has_the_bits_of_a_plain_loop_with_its_schedulers():
    class Own(dt.Model):
        def __init__(self, net):
            super().__init__()
            self.net = net
            self.opt = torch.optim.AdamW(net.parameters(), lr=0.05)
            self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.opt, 6)

        def train_step(self, data):
            x, y = data
            loss = ((self.net(x) - y) ** 2).mean()
            self.opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.opt.step()
            self.schedule.step()
            return {"loss": loss, "rate": self.schedule.get_last_lr()[0]}

    module = state_cases.net()
    other = copy.deepcopy(module)
    theirs = Own(other)
    model = Own(module)
    model.compile()
    history = model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    for _ in range(2):
        for start in range(0, 24, 8):
            theirs.train_step((torch.from_numpy(X[start : start + 8]), torch.from_numpy(Y[start : start + 8])))
    assert torch.equal(module[0].weight, other[0].weight) and torch.equal(module[2].bias, other[2].bias)
    assert model.schedule.last_epoch == 6 and history["rate"][0] > history["rate"][1]
    state = Engine(job_of(model, 2, X, Y, batch_size=8)).replica.state_dict().meta["other_optimizers"]["schedule"]
    assert json.loads(json.dumps(state))["last_epoch"] == 6


def test_a_scheduler_stepped_in_a_callback_moves_every_group():
    module = state_cases.net()
    other = copy.deepcopy(module)
    make = lambda net: torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.1}, {"params": net[2].parameters()}], lr=0.02)  # noqa: E731
    theirs = make(other)
    plain_loop(other, theirs, 3, torch.optim.lr_scheduler.ExponentialLR(theirs, 0.5))
    model, ours = wrapped(module), make(module)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(ours, 0.5)
    model.compile(ours, "mse")
    callback = dt.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: scheduler.step())
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[callback])
    assert torch.equal(module[0].weight, other[0].weight)


def with_step(step, start=None):
    class Own(state_cases.Base):
        def __init__(self):
            super().__init__()
            if start is not None:
                start(self)

        def train_step(self, data):
            loss = self.loss_of(data)
            loss.backward()
            step(self, loss)
            return {"loss": loss}

    model = Own()
    model.compile()
    return model


def _hold_a_stranger(model):
    model.opt = torch.optim.SGD([nn.Parameter(torch.ones(2)), *model.net.parameters()], lr=0.1)


def test_what_cannot_be_summed_over_slices_is_refused_by_name():
    for model, says in [
        (with_step(lambda self, loss: self.opt.step(lambda: loss)), r"self.opt.step\(closure\)"),
        (
            with_step(lambda self, loss: torch.optim.SGD(self.net.parameters(), lr=1.0).step()),
            "SGD.step.. of an optimizer that is no attribute",
        ),
        (with_step(lambda self, loss: self.opt.step(), _hold_a_stranger), r"self.opt=SGD.*shape \(2,\) that is none of the model's"),
        (with_step(lambda self, loss: (self.opt.zero_grad(), self.opt.step())), "self.opt.step: no variable has a gradient"),
    ]:
        with pytest.raises(UsageError, match=says):
            model.fit(X, Y, batch_size=8, verbose=0)
    model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    model.compile(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1), "mse")
    with pytest.raises(UsageError, match=r"optimizer=SGD.*none of the model's"):
        model.fit(X, Y, verbose=0)


def test_a_file_holds_the_model_without_it_and_says_so(tmp_path):
    model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    model.compile(torch.optim.SGD(model.parameters(), lr=0.1), "mse")
    with pytest.warns(UserWarning, match=r"optimizer=<TorchOptimizer SGD iterations=0> is torch's"):
        model.save(tmp_path / "model.keras")
    loaded = dt.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer is None and loaded.digest() == model.digest()


def test_half_precision_that_needs_a_scaled_loss_is_refused():
    before = dt.mixed_precision.dtype_policy()
    dt.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    finally:
        dt.mixed_precision.set_dtype_policy(before)
    with pytest.raises(UsageError, match="mixed_bfloat16"):
        model.compile(torch.optim.SGD(model.parameters(), lr=0.1), "mse")
