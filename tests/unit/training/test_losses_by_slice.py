"""A loss that compares the samples of a batch is another one in slices: whoever trains with it is told before the first step."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import disttrain as dt
from disttrain import layers
from disttrain.losses import batch_divisor
from disttrain.training.local import runner

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(11, 3)).astype("float32")
Y = RANDOM.normal(size=(11, 3)).astype("float32")
BITS = (Y > 0).astype("float32")
LABELS = np.array([0, -100, -100, 1, 2, -100, 1, 1, 0, 2, -100])


def contrasted(y_true: Tensor, y_pred: Tensor) -> Tensor:
    rows = F.normalize(y_pred, dim=1)
    return F.cross_entropy(rows @ rows.t() / 0.5, torch.arange(len(rows)))


def contrasted_rows(y_true: Tensor, y_pred: Tensor) -> Tensor:
    rows = y_pred / dt.ops.norm(y_pred, axis=1, keepdims=True)
    return dt.losses.sparse_categorical_crossentropy(torch.arange(len(rows)), rows @ rows.t(), from_logits=True)


def correlated(y_true: Tensor, y_pred: Tensor) -> Tensor:
    one, other = y_true - y_true.mean(), y_pred - y_pred.mean()
    return 1 - (one * other).sum() / (one.norm() * other.norm())


def of_positives(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return (torch.square(y_pred - y_true) * y_true).sum() / y_true.sum()


def of_positives_of_the_batch(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return (torch.square(y_pred - y_true) * y_true).sum() / batch_divisor(y_true.sum())


class Overlap(nn.Module):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return 1 - 2 * (torch.sigmoid(input) * target).sum() / (torch.sigmoid(input).sum() + target.sum())


class Worst(dt.Loss):
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return torch.abs(y_true - y_pred).max()


def told(loss: Any, y: np.ndarray, virtual_workers: int = 3, outputs: int = 1) -> list[str]:
    """What is said of a loss when a fit with it begins."""
    dt.clear_session()
    dt.set_random_seed(1)
    inputs = dt.Input((3,))
    named = [layers.Dense(3, name=f"out{number}")(inputs) for number in range(outputs)]
    model = dt.Model(inputs, named if outputs > 1 else named[0])
    model.compile("sgd", loss)
    before = torch.random.get_rng_state()
    with warnings.catch_warnings(record=True) as said, runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers, 1))):
        warnings.simplefilter("always")
        model.fit(X, [y] * outputs if outputs > 1 else y, batch_size=11, verbose=0)
    assert torch.equal(before, torch.random.get_rng_state())
    return [str(one.message) for one in said]


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (contrasted, Y),
        (contrasted_rows, Y),
        (correlated, Y),
        (of_positives, BITS),
        (Overlap(), BITS),
        (Worst(), Y),
        ("dice", BITS),
        (dt.losses.Tversky(), BITS),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else getattr(value, "__name__", str(value)),
)
def test_a_loss_of_the_batch_as_a_whole_is_told_by_name_and_only_where_there_are_slices(loss: Any, y: np.ndarray):
    (said,) = told(loss, y)
    name = dt.losses.get(loss).name
    assert said.startswith(f"loss {name!r} is no mean over samples: over 8 of them it is ")
    assert "each batch is cut into 3 slices" in said and "batch_divisor" in said
    assert told(loss, y, virtual_workers=1) == []


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (lambda y_true, y_pred: torch.square(y_true - y_pred), Y),
        (lambda y_true, y_pred: torch.square(y_true - y_pred).mean(), Y),
        (lambda y_true, y_pred: F.cross_entropy(y_pred, y_true), LABELS),
        (functools.partial(F.cross_entropy, ignore_index=-100), LABELS),
        (of_positives_of_the_batch, BITS),
        (lambda y_true, y_pred: torch.square(y_true - y_pred - 0.1 * torch.randn_like(y_pred)).mean(), Y),  # it draws
        (lambda y_true, y_pred: y_pred.sum() * float("nan") if len(y_pred) == 8 else y_pred.mean(), Y),
        (dt.losses.MeanSquaredError(reduction="sum"), Y),
        (dt.losses.Dice(axis=(1,)), BITS),
    ],
)
def test_a_mean_or_a_sum_over_samples_is_told_nothing_of(loss: Any, y: np.ndarray):
    assert told(loss, y) == []


def test_of_several_outputs_that_one_is_named_whose_loss_it_is():
    (said,) = told(["mse", correlated], Y, outputs=2)
    assert said.startswith("loss 'correlated' of output 'out1' is no mean over samples")


class Contrasting(dt.Model):
    """Its loss compares outputs with each other, counts its calls in a buffer, and measures."""

    def __init__(self, *, contrasts: bool) -> None:
        super().__init__()
        self.dense, self.contrasts = layers.Dense(3), contrasts
        self.register_buffer("calls", torch.zeros(()))
        self.measured = dt.metrics.Mean(name="measured")

    def call(self, x: Tensor) -> Tensor:
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.calls += 1.0
        self.measured.update_state(y_pred.detach())
        return contrasted(y, y_pred) if self.contrasts else torch.square(y - y_pred).mean()


@pytest.mark.parametrize("contrasts", [True, False])
def test_so_is_a_compute_loss(contrasts: bool):
    dt.clear_session()
    dt.set_random_seed(1)
    model = Contrasting(contrasts=contrasts)
    model.compile("sgd")
    with warnings.catch_warnings(record=True) as said, runner.installed(runner.LocalRunner(runner._InProcess(3, 1))):
        warnings.simplefilter("always")
        model.fit(X, Y, batch_size=11, verbose=0)
    assert ["Contrasting.compute_loss is no mean over samples" in str(one.message) for one in said] == [True] * contrasts
    assert float(model.calls) == 1.0  # of one step, whose slices each counted once


def test_so_is_a_function_for_a_metric():
    def explained(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return 1 - torch.square(y_true - y_pred).sum() / torch.square(y_true - y_true.mean()).sum()

    def error(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return torch.abs(y_true - y_pred).mean()

    model = dt.Sequential([dt.Input((3,)), layers.Dense(3)])
    model.compile("sgd", "mse", metrics=[explained, error])
    with warnings.catch_warnings(record=True) as said, runner.installed(runner.LocalRunner(runner._InProcess(3, 1))):
        warnings.simplefilter("always")
        model.fit(X, Y, batch_size=11, verbose=0)
    (only,) = said
    assert str(only.message).startswith("metric 'explained' is no mean over samples")
