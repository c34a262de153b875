"""Gradients first, as in Keras; weights first where the tensors tell; refused where nothing does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import disttrain as dt
from disttrain.errors import UsageError
from disttrain.optimizers import SGD, LossScaleOptimizer


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))]


GRADS = [torch.tensor([1.0, 1.0]), torch.tensor([2.0])]


def moved(order: str, grads: Any, params: Any, optimizer: Any = None) -> list[list[float]]:
    before = [grad if grad is None else grad.clone() for grad in grads]
    optimizer = optimizer or SGD(0.5)
    optimizer.apply(*((grads, params) if order == "Keras's" else (params, grads)))
    assert all(a is b or torch.equal(a, b) for a, b in zip(grads, before, strict=True))
    return [param.tolist() for param in params]


@pytest.mark.parametrize("order", ["Keras's", "weights first"])
def test_weights_move_and_gradients_stay_in_either_order(order: str):
    assert moved(order, GRADS, weights()) == [[0.5, 1.5], [2.0]]
    leaves = [torch.tensor([1.0, 2.0], requires_grad=True)]
    assert moved(order, GRADS[:1], leaves) == [[0.5, 1.5]]
    assert moved(order, [GRADS[0], None], weights()) == [[0.5, 1.5], [3.0]]
    assert moved(order, [torch.tensor([2.0, 2.0])], weights()[:1], LossScaleOptimizer(SGD(0.5), initial_scale=2.0)) == [[0.5, 1.5]]


@pytest.mark.parametrize("order", ["Keras's", "weights first"])
def test_a_gradient_of_a_gradient_is_no_weight(order: str):
    (param,) = weights()[:1]
    (grad,) = torch.autograd.grad((param**2).sum(), [param], create_graph=True)  # wants a gradient itself
    assert moved(order, [grad], [param]) == [[0.0, 0.0]]


def test_the_step_of_keras_guide_to_loops_of_ones_own():
    model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])
    optimizer, before = SGD(0.1), model.get_weights()[0]
    (model(torch.ones(4, 2)) ** 2).mean().backward()
    grads = [weight.grad.clone() for weight in model.trainable_weights]
    with torch.no_grad():
        optimizer.apply([weight.grad for weight in model.trainable_weights], model.trainable_weights)
    torch.testing.assert_close(torch.from_numpy(model.get_weights()[0]), torch.from_numpy(before) - 0.1 * grads[0])
    assert torch.equal(model.trainable_weights[0].grad, grads[0])


def test_what_does_not_tell_is_refused():
    with pytest.raises(UsageError, match="which are the gradients"):
        SGD().apply([torch.ones(2)], [torch.ones(2)])
    with pytest.raises(UsageError, match="which are the gradients"):
        SGD().apply(weights(), weights())
    with pytest.raises(UsageError, match=r"apply\(grads\): of which weights"):
        SGD().apply(GRADS)
    with pytest.raises(UsageError, match="1 gradients for 2 weights"):
        SGD().apply(GRADS[:1], weights())
