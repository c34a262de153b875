"""Torch modules in models: what a script put into eval() infers, and a mixed policy reaches them."""

from __future__ import annotations

from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

import disttrain as dt
from disttrain import layers, mixed_precision

X = np.random.default_rng(0).normal(3.0, 2.0, (12, 4)).astype("float32")
Y = X[:, :1].copy()


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)), nn.Linear(3, 1))


class Subclass(dt.Model):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)


def fitted(model: Any, **arguments: Any) -> Any:
    model.compile(dt.optimizers.SGD(0.01), "mse")
    model.fit(X, Y, batch_size=6, verbose=0, **arguments)
    return model


def followed(norm: Any) -> bool:
    """Did its moving statistics move?"""
    return bool(norm.running_mean.abs().max() > 0)


@pytest.mark.parametrize("model_of", [lambda inner: dt.Sequential([inner]), Subclass])
@pytest.mark.parametrize("validates", [False, True])
def test_what_a_script_put_into_eval_within_a_torch_module_infers_in_training(model_of: Any, validates: bool):
    inner = net()
    inner[1].eval()
    model = model_of(inner)
    model(torch.zeros(2, 4))
    fitted(model, epochs=2, **({"validation_data": (X, Y)} if validates else {}))
    assert not followed(inner[1]) and followed(inner[2][0])
    inner[1].train()
    inner[2].eval()
    before = inner[2][0].running_mean.clone()
    fitted(model)
    assert followed(inner[1]) and torch.equal(inner[2][0].running_mean, before)


def test_it_infers_on_a_worker_too():
    inner = net()
    inner[1].eval()
    model = dt.Sequential([inner])
    model(torch.zeros(2, 4))
    there = cloudpickle.loads(cloudpickle.dumps(model))
    fitted(there)
    assert not followed(there.layers[0].module[1]) and followed(there.layers[0].module[2][0])


def test_a_module_that_comes_in_eval_as_a_whole_trains():
    inner = net().eval()  # as models of the hub do
    fitted(dt.Sequential([inner]))
    assert followed(inner[1]) and followed(inner[2][0])


def test_a_frozen_module_in_eval_and_a_normalization_alone_stay():
    frozen = net().eval().requires_grad_(False)
    alone = nn.BatchNorm1d(4).eval()
    model = dt.Sequential([alone, nn.Linear(4, 4), frozen])
    fitted(model)
    assert not followed(frozen[1]) and not followed(alone)


def test_eval_of_a_whole_model_is_for_predicting_and_fit_trains_it():
    inner = net()
    model = dt.Sequential([inner])
    model(torch.zeros(2, 4))
    model.eval()
    fitted(model)
    assert followed(inner[1])


def test_eval_freezes_a_normalization_of_ours():
    model = dt.Sequential([dt.Input((4,)), layers.BatchNormalization(), layers.Dense(1)])
    model.layers[0].eval()
    fitted(model)
    assert float(model.layers[0].moving_mean.abs().max()) == 0.0
    model.layers[0].train()
    fitted(model)
    assert float(model.layers[0].moving_mean.abs().max()) > 0.0


@pytest.mark.parametrize("model_of", [lambda inner: dt.Sequential([inner]), Subclass])
def test_a_mixed_policy_computes_torch_modules_as_autocast_does(model_of: Any):
    seen: list[torch.dtype] = []

    class Noting(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            seen.append(y.dtype)
            return y

    before = mixed_precision.dtype_policy()
    mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        inner = nn.Sequential(Noting(4, 8), nn.LayerNorm(8), Noting(8, 1))
        model = model_of(inner)
        outputs = model(torch.from_numpy(X))
        with torch.autocast("cpu", torch.bfloat16):
            expected = inner(torch.from_numpy(X))
        assert torch.equal(outputs, expected) and outputs.dtype is torch.bfloat16
        assert set(seen) == {torch.bfloat16} and inner[0].weight.dtype is torch.float32
        fitted(cloudpickle.loads(cloudpickle.dumps(model)))
        assert inner[0].weight.dtype is torch.float32
    finally:
        mixed_precision.set_dtype_policy(before)
    assert not torch.is_autocast_enabled("cpu")


def test_a_layer_that_is_called_beside_a_torch_module_keeps_its_dtype():
    before = mixed_precision.dtype_policy()
    mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = dt.Sequential([nn.Linear(4, 3), layers.Dense(3, "softmax", dtype="float32")])
        assert model(torch.from_numpy(X)).dtype is torch.float32
    finally:
        mixed_precision.set_dtype_policy(before)


def test_an_error_in_a_torch_module_leaves_no_autocast_behind():
    before = mixed_precision.dtype_policy()
    mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = Subclass(nn.Sequential(nn.Linear(4, 3), nn.Linear(2, 1)))
        with pytest.raises(RuntimeError, match="shapes"):
            model(torch.from_numpy(X))
    finally:
        mixed_precision.set_dtype_policy(before)
    assert not torch.is_autocast_enabled("cpu")
