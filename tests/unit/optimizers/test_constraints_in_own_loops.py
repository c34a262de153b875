"""A loop of the script's own that calls `optimizer.apply` keeps the constraints of the weights, as `fit` does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import layers, optimizers

OPTIMIZERS = {
    "SGD": lambda weights: optimizers.SGD(0.5),
    "averaged": lambda weights: optimizers.Adam(0.5, use_ema=True, ema_overwrite_frequency=1),
    "scaled": lambda weights: optimizers.LossScaleOptimizer(optimizers.SGD(0.5)),
    "several": lambda weights: optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.SGD(0.5), {".*bias": optimizers.SGD(0.1)})),
    "torch's": lambda weights: optimizers.get(torch.optim.SGD(weights, lr=0.5)),
}
WAYS = {
    "apply": lambda optimizer, grads, weights: optimizer.apply(grads, weights),
    "pairs": lambda optimizer, grads, weights: optimizer.apply_gradients(zip(grads, weights, strict=True)),
    "arrays": lambda optimizer, grads, weights: optimizer.apply_gradients(
        [(grad.numpy(), weight) for grad, weight in zip(grads, weights, strict=True)]
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_weights_keep_their_constraints(kind: str, way: str):
    dt.set_random_seed(0)
    layer = layers.Dense(3, kernel_constraint="non_neg", bias_initializer="ones")
    model = dt.Sequential([dt.Input((4,)), layer])
    optimizer = OPTIMIZERS[kind](model.trainable_weights)
    for _ in range(2):
        WAYS[way](optimizer, [torch.ones_like(weight).detach() for weight in model.trainable_weights], model.trainable_weights)
    assert layer.kernel.numpy().min() == 0.0 and layer.bias.numpy().max() < 1.0


def test_so_does_a_variable_that_was_given_one():
    variable = dt.Variable(np.array([[-0.5, 0.5]]))
    variable.constraint = dt.constraints.NonNeg()
    optimizers.SGD(1e-4).apply_gradients([(np.zeros((1, 2)), variable)])
    assert variable.numpy().tolist() == [[0.0, 0.5]]
