"""A scheduler of torch's beside an optimizer of torch's in compile: one step after each update, counted with it."""

from __future__ import annotations

import copy
import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

import disttrain as dt
from disttrain.errors import UsageError

random = np.random.default_rng(0)
X, Y = torch.from_numpy(random.normal(size=(24, 3)).astype("float32")), torch.from_numpy(random.integers(0, 3, 24))


def warmup(step: int, most: int = 4) -> float:
    """As `get_linear_schedule_with_warmup` of transformers has it, which gives a LambdaLR."""
    return step / 2 if step < 2 else max(0.0, (most - step) / (most - 2))


def made(net: nn.Module) -> tuple[torch.optim.Optimizer, lr_scheduler.LRScheduler]:
    opt = torch.optim.AdamW(net.parameters(), lr=0.05)
    return opt, lr_scheduler.LambdaLR(opt, lambda step: warmup(step, 9))


def plain_loop(net: nn.Module, opt: torch.optim.Optimizer, schedule: lr_scheduler.LRScheduler, epochs: int) -> None:
    for _ in range(epochs):
        for start in range(0, len(X), 8):
            loss = F.cross_entropy(net(X[start : start + 8]), Y[start : start + 8])
            opt.zero_grad()
            loss.backward()
            opt.step()
            schedule.step()


def fit(net: nn.Module, opt: torch.optim.Optimizer, schedule: lr_scheduler.LRScheduler, epochs: int) -> dt.Model:
    model = dt.Sequential([net])
    model.compile(dt.optimizers.TorchOptimizer(opt, scheduler=schedule), nn.CrossEntropyLoss())
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_fit_with_a_schedule_has_the_bits_of_a_plain_loop():
    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    other = copy.deepcopy(net)
    plain, ours = made(other), made(net)
    plain_loop(other, *plain, epochs=2)
    fit(net, *ours, epochs=2)
    assert same(net, other)
    assert ours[1].last_epoch == plain[1].last_epoch == 6
    assert ours[0].param_groups[0]["lr"] == plain[0].param_groups[0]["lr"]


def test_a_plain_loop_moves_over_in_mid_training_and_back():
    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    moved = copy.deepcopy(net)
    plain = made(net)
    plain_loop(net, *plain, epochs=1)
    file = io.BytesIO()
    torch.save([net.state_dict(), *(part.state_dict() for part in plain)], file)
    plain_loop(net, *plain, epochs=2)
    file.seek(0)
    ours = made(moved)
    for part, state in zip((moved, *ours), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    model = fit(moved, *ours, epochs=1)
    back = nn.Linear(3, 3)
    back.load_state_dict(model.module_state_dict(), strict=True)
    last = made(back)
    for part, state in zip(last, ours, strict=True):
        part.load_state_dict(state.state_dict())
    plain_loop(back, *last, epochs=1)
    assert same(back, net)
    assert last[0].state_dict()["state"][0]["step"] == plain[0].state_dict()["state"][0]["step"] == 9


def test_its_counters_are_in_the_optimizers_state():
    net = nn.Linear(3, 3)
    optimizer = fit(net, *made(net), epochs=1).optimizer
    state = json.loads(json.dumps(optimizer.state_dict()))
    assert state["scheduler"]["last_epoch"] == 3
    other = dt.optimizers.TorchOptimizer(*made(net))
    other.load_state_dict(state)
    assert other.scheduler.scheduler.last_epoch == 3
    assert other.learning_rate == optimizer.learning_rate != 0.05


def test_a_schedule_that_cannot_step_after_each_update_is_refused():
    net = nn.Linear(3, 3)
    opt, schedule = made(net)
    with pytest.raises(UsageError, match=r"ReduceLROnPlateau waits for a measured value[\s\S]*on_epoch_end"):
        dt.optimizers.TorchOptimizer(opt, scheduler=lr_scheduler.ReduceLROnPlateau(opt))
    with pytest.raises(UsageError, match=r"LambdaLR.* is that of another optimizer"):
        dt.optimizers.TorchOptimizer(made(net)[0], scheduler=schedule)
    with pytest.raises(UsageError, match=r"expected a scheduler of torch\.optim\.lr_scheduler"):
        dt.optimizers.TorchOptimizer(opt, scheduler=warmup)


@pytest.mark.parametrize("measures", [False, True])
def test_a_scheduler_in_a_callback_moves_the_rate_at_the_end_of_an_epoch(measures: bool):
    net = nn.Linear(3, 3)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = lr_scheduler.ReduceLROnPlateau(opt, patience=0, threshold=1e9) if measures else lr_scheduler.StepLR(opt, 1, 0.5)
    stepped = dt.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: schedule.step(*([logs["loss"]] if measures else [])))
    model = dt.Sequential([net])
    model.compile(opt, nn.CrossEntropyLoss())
    model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[stepped])
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1 * (0.001 if measures else 0.125))


@pytest.mark.parametrize("built", [False, True])
def test_the_state_of_torchs_optimizer_is_taken_in_torchs_form(built: bool):
    torch.manual_seed(0)
    net, moved = nn.Linear(3, 3), nn.Linear(3, 3)
    plain = made(net)
    plain_loop(net, *plain, epochs=1)
    opt = made(moved)[0]
    model = dt.Sequential([moved])
    model.compile(opt, nn.CrossEntropyLoss())
    if built:
        model.fit(X, Y, batch_size=8, verbose=0)
    model.optimizer.load_state_dict(plain[0].state_dict())
    moved.load_state_dict(net.state_dict())
    assert model.optimizer.iterations == 3
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for start in range(0, len(X), 8):
        plain[0].zero_grad()
        F.cross_entropy(net(X[start : start + 8]), Y[start : start + 8]).backward()
        plain[0].step()
    assert same(moved, net)


def test_an_optimizer_of_ours_says_what_to_do_with_a_state_of_torchs():
    with pytest.raises(UsageError, match=r"Adam\.load_state_dict: this is the state of an optimizer of torch[\s\S]*compile\(opt\)"):
        dt.optimizers.Adam().load_state_dict(made(nn.Linear(3, 3))[0].state_dict())
