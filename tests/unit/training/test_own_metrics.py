"""Metrics of the script's own: what is no sum is refused before the first step, where it would be added up or lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import layers
from disttrain.errors import UsageError
from disttrain.metrics import Metric
from disttrain.training.local import runner

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = X[:, :1] + 1


class Kept(Metric):
    """One variable; what a batch does to it is up to the class."""

    def __init__(self, name: str = "kept", **arguments: Any) -> None:
        super().__init__(name=name, **arguments)
        self.state = self.add_weight(shape=(), name="state")

    def result(self) -> Any:
        return self.state


class Sum(Kept):
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.size = y_pred.shape[-1]  # an attribute that each batch sets alike
        self.state.assign(self.state + torch.abs(y_true - y_pred).sum())


class Largest(Kept):
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.state.assign(torch.maximum(self.state, torch.abs(y_true - y_pred).max()))


class Running(Kept):
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.state.assign(0.9 * self.state + 0.1 * torch.abs(y_true - y_pred).mean())


class FromOne(Sum):
    def reset_state(self):
        self.state.assign(1.0)


class Listed(Kept):
    def __init__(self, name: str = "listed", **arguments: Any) -> None:
        super().__init__(name, **arguments)
        self.values: list[float] = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.values.append(float((y_true - y_pred).mean()))


class Counting(Sum):
    batches = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.batches += 1


def fitted(metric: Metric, virtual_workers: int) -> dict[str, list[float]]:
    dt.clear_session()
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    model.compile(dt.optimizers.SGD(0.0), "mse", metrics=[metric])
    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers, 1))):
        return model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history


def test_sums_are_taken_and_try_leaves_nothing_behind():
    one, three = fitted(Sum(), 1), fitted(Sum(), 3)
    assert one["kept"] == pytest.approx(three["kept"]) and one["kept"][0] == pytest.approx(one["kept"][1])
    weights = np.abs(Y - (X @ _kernel())).sum()
    assert one["kept"][0] == pytest.approx(weights, rel=1e-5)


def _kernel() -> np.ndarray:
    dt.clear_session()
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    return model.get_weights()[0]


@pytest.mark.parametrize("metric", [Largest, Running])
def test_a_variable_that_is_no_sum_is_refused_where_parts_are_added_up(metric: type[Kept]):
    with pytest.raises(UsageError, match=rf"'kept': {metric.__name__}.update_state does not add to its variable 'state'"):
        fitted(metric(), 3)
    assert len(fitted(metric(), 1)["kept"]) == 2


@pytest.mark.parametrize("virtual_workers", [1, 3])
@pytest.mark.parametrize(("metric", "attribute"), [(Listed, "values"), (Counting, "batches")])
def test_what_a_metric_keeps_beside_its_variables_is_refused(metric: type[Kept], attribute: str, virtual_workers: int):
    one = metric()
    with pytest.raises(UsageError, match=rf"{metric.__name__}.update_state keeps something in self.{attribute}"):
        fitted(one, virtual_workers)
    assert not getattr(one, attribute)


def test_a_start_other_than_zero_is_refused():
    with pytest.raises(UsageError, match=r"FromOne.reset_state sets its variable 'state' to another number than 0"):
        fitted(FromOne(), 1)
