"""Layers inside functions that torch.utils.checkpoint computes again: one mask in both passes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from disttrain import layers
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.recomputation import Recomputation

REENTRANT = pytest.mark.parametrize("reentrant", [False, True])


def gradients(function: Any, x: Tensor, checkpointed: bool, reentrant: bool, key: int | None) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    with call_context(CallContext(training=True, key=key)):
        y = checkpoint(function, x, use_reentrant=reentrant) if checkpointed else function(x)
        y.sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


@REENTRANT
def test_a_checkpointed_layer_draws_one_mask_in_both_passes(reentrant: bool):
    dropout = layers.Dropout(0.5)
    function = lambda x: dropout(x * x)  # noqa: E731
    x = torch.rand(50, 50) + 1
    plain, plain_gradient = gradients(function, x, False, reentrant, key=3)
    again, gradient = gradients(function, x, True, reentrant, key=3)
    assert torch.equal(plain, again) and torch.equal(plain_gradient, gradient)


@REENTRANT
def test_a_layer_that_is_called_in_several_checkpoints_keeps_their_masks_apart(reentrant: bool):
    dropout, noise = layers.Dropout(0.5), layers.GaussianNoise(0.5)

    def function(x: Tensor, checkpointed: bool) -> Tensor:
        for _ in range(3):
            part = lambda x: noise(dropout(dropout(x) * x) * x)  # noqa: E731
            x = checkpoint(part, x, use_reentrant=reentrant) if checkpointed else part(x)
        return x

    x = torch.rand(20, 20) + 1
    _, expected = gradients(lambda x: function(x, False), x, False, reentrant, key=3)
    _, found = gradients(lambda x: function(x, True), x, False, reentrant, key=3)
    assert torch.equal(expected, found)


@REENTRANT
def test_checkpoints_within_checkpoints_keep_their_masks(reentrant: bool):
    dropout = layers.Dropout(0.5)

    def inner(x: Tensor) -> Tensor:
        return dropout(x * x)

    def outer(x: Tensor, nested: bool) -> Tensor:
        y = dropout(x)
        return dropout((checkpoint(inner, y, use_reentrant=False) if nested else inner(y)) * y)

    x = torch.rand(20, 20) + 1
    _, expected = gradients(lambda x: outer(x, False), x, False, reentrant, key=5)
    _, found = gradients(lambda x: outer(x, True), x, True, reentrant, key=5)
    assert torch.equal(expected, found)


@REENTRANT
def test_outside_a_step_the_mask_is_kept_as_well(reentrant: bool):
    dropout = layers.Dropout(0.5)
    x = (torch.rand(50, 50) + 1).requires_grad_()
    y = checkpoint(lambda x: dropout(x, training=True), x, use_reentrant=reentrant)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad != 0, y != 0)


def test_the_second_pass_may_run_in_another_thread_as_on_a_gpu():
    dropout = layers.Dropout(0.5)
    x = (torch.rand(50, 50) + 1).requires_grad_()
    with call_context(CallContext(training=True, key=3)):
        y = checkpoint(lambda x: dropout(x * x), x, use_reentrant=False)
    other = threading.Thread(target=lambda: y.sum().backward())
    other.start()
    other.join()
    assert x.grad is not None and torch.equal(x.grad != 0, y != 0)


def test_what_a_checkpointed_layer_adds_to_the_loss_counts_once():
    dense = layers.Dense(3, activity_regularizer="l2")
    x = torch.rand(2, 3).requires_grad_()
    with call_context(CallContext(training=True, key=3)) as context:
        y = checkpoint(dense, x, use_reentrant=False)
        y.sum().backward()
        assert len(context.losses) == 1


def test_a_function_that_draws_more_when_it_is_computed_again_is_refused():
    again = Recomputation(CallContext(training=True, key=3), [(1, 5)])
    assert again.draw_key(1) == 5
    with pytest.raises(RuntimeError, match="draws more random numbers when it is computed again"):
        again.draw_key(1)


def test_a_training_with_checkpointed_dropout_is_that_without():
    from disttrain.models import Input, Sequential

    class Block(layers.Layer):
        def __init__(self, checkpointed: bool) -> None:
            super().__init__()
            self.checkpointed = checkpointed
            self.dense, self.dropout = layers.Dense(8, activation="relu"), layers.Dropout(0.5)

        def call(self, x: Tensor) -> Tensor:
            both = lambda x: self.dropout(self.dense(x))  # noqa: E731
            return checkpoint(both, x, use_reentrant=False) if self.checkpointed else both(x)

    def trained(checkpointed: bool) -> list[Any]:
        torch.manual_seed(0)
        from disttrain import set_random_seed

        set_random_seed(4)
        model = Sequential([Input((5,)), Block(checkpointed), layers.Dense(1)])
        model.compile("sgd", "mse")
        x = torch.linspace(0, 1, 80).reshape(16, 5).numpy()
        model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, shuffle=False)
        return [weight.copy() for weight in model.get_weights()]

    assert all((a == b).all() for a, b in zip(trained(True), trained(False), strict=True))


@REENTRANT
def test_what_a_checkpointed_function_raises_comes_through_and_the_next_one_works(reentrant: bool):
    dropout = layers.Dropout(0.5)

    def failing(x: Tensor) -> Tensor:
        raise ValueError(f"of shape {tuple(dropout(x).shape)}")

    x = (torch.rand(50, 50) + 1).requires_grad_()
    with call_context(CallContext(training=True, key=3)):
        with pytest.raises(ValueError, match="of shape"):
            checkpoint(failing, x, use_reentrant=reentrant)
        y = checkpoint(lambda x: dropout(x * x), x, use_reentrant=reentrant)
        y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad != 0, y != 0)
