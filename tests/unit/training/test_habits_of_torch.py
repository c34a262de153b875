"""Habits of torch's plain loops inside a step or beside it: each has the numbers of the loop, or is refused by name."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import disttrain as dt
from disttrain.errors import UsageError
from disttrain.training.local import runner

random = np.random.default_rng(0)
X, Y = torch.from_numpy(random.normal(size=(24, 4)).astype("float32")), torch.from_numpy(random.integers(0, 3, 24))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    dt.set_random_seed(0)


class Step(dt.Model):
    """A plain loop's body in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        self.opt = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)

    def call(self, x: Tensor) -> Tensor:
        return self.net(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"loss": self.update(*data)}

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(self.net(x), y)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss


class Halves(Step):
    """Two micro-batches for each update."""

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        self.opt.zero_grad()
        losses = [F.cross_entropy(self.net(a), b) / 2 for a, b in zip(x.chunk(2), y.chunk(2), strict=True)]
        for loss in losses:
            loss.backward()
        self.opt.step()
        return torch.stack(losses).sum()


class Autocast(Step):
    """Half precision, with a scaler that is switched off as where there is no GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(self.net(x), y)
        self.opt.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.opt)
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
        self.scaler.step(self.opt)
        self.scaler.update()
        return loss


def fitted(model: Any, **arguments: Any) -> Any:
    if not model.compiled:
        model.compile()
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, **arguments)
    return model


@pytest.mark.parametrize("kind", [Step, Halves, Autocast])
def test_a_step_has_the_bits_of_the_loop_it_is_the_body_of(kind: type[Step]):
    plain = kind()
    model = copy.deepcopy(plain)
    for _ in range(2):
        for start in range(0, len(X), 8):
            plain.update(X[start : start + 8], Y[start : start + 8])
    fitted(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_a_gradient_scaler_that_scales_is_refused_and_let_be_after_it():
    class Scaled(Autocast):
        def __init__(self) -> None:
            super().__init__()
            self.scaler = torch.amp.GradScaler("cpu")

    with pytest.raises(UsageError, match=r"GradScaler in a step[\s\S]*bfloat16"):
        fitted(Scaled())
    assert torch.amp.GradScaler("cpu").scale(torch.ones(())) > 1


class Accumulated(Step):
    """An update every other step, by a count of its own."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.count = first

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(self.net(x), y)
        (loss / 2).backward()
        self.count += 1
        if self.count % 2 == 0:
            self.opt.step()
            self.opt.zero_grad()
        return loss


class CountedInABuffer(Accumulated):
    """The count is in checkpoints, and when it is tried out there is an update."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        del self.count
        self.register_buffer("count", torch.tensor(1))


@pytest.mark.parametrize("virtual_workers", [1, 2])
@pytest.mark.parametrize(("kind", "first"), [(Accumulated, 0), (Accumulated, 1), (CountedInABuffer, 1)])
def test_gradients_that_are_left_to_a_later_step_are_refused(kind: type[Accumulated], first: int, virtual_workers: int):
    settings = runner._InProcess(virtual_workers=virtual_workers, threads=1)
    with (
        runner.installed(runner.LocalRunner(settings)),
        pytest.raises(UsageError, match=r"leaves gradients to a later step[\s\S]*--virtual-workers N[\s\S]*gradient_accumulation_steps="),
    ):
        fitted(kind(first))


def test_a_loop_over_other_samples_in_a_callback_changes_nothing():
    one, other = Step(), Step()
    other.load_state_dict(one.state_dict())
    seen = []

    def look(epoch: int, logs: Any) -> None:
        other.eval()
        with torch.no_grad():
            seen.append(F.cross_entropy(other.net(X), Y).item())
        other.train()

    fitted(other, callbacks=[dt.callbacks.LambdaCallback(on_epoch_end=look)])
    assert fitted(one).digest() == other.digest()
    assert len(seen) == 2 and seen[1] < seen[0]
