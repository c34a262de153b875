"""Kernels that compute all steps at once: the same as the walk, the right gradient, the layout of Keras."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from disttrain import layers as L
from disttrain.layers.recurrent.gru_kernel import gru


@pytest.mark.parametrize("bias", [False, True])
def test_the_gradient_of_the_gru_kernel_is_that_of_differences(bias: bool):
    torch.manual_seed(0)
    batch, time, features, units = 2, 3, 2, 3
    shapes = [(batch, time, features), (batch, units), (features, 3 * units), (units, 3 * units)] + ([(2, 3 * units)] if bias else [])
    given: list[Any] = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    given += [] if bias else [None]
    assert torch.autograd.gradcheck(gru, given)
    assert torch.autograd.gradcheck(lambda *arguments: gru(*arguments)[0], given)
    assert torch.autograd.gradcheck(lambda *arguments: gru(*arguments)[1], given)


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU, L.SimpleRNN])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fused_kernel_and_the_walk_agree_in_outputs_and_gradients(cls: Any, bias: bool, dtype: str):
    torch.manual_seed(0)
    layer = cls(4, use_bias=bias, return_sequences=True, return_state=True, bias_initializer="random_normal", dtype=dtype)
    x = torch.randn(3, 6, 2, dtype=getattr(torch, dtype), requires_grad=True)
    found = []
    for fused in ("auto", False):
        layer.use_cudnn = fused
        results = layer(x)
        total = sum(torch.cos(result).sum() for result in results)
        found.append([*results, *torch.autograd.grad(total, [x, *layer.parameters()])])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU, L.SimpleRNN])
def test_without_gradients_the_kernel_gives_the_same(cls: Any):
    layer, x = cls(4, return_sequences=True), torch.randn(3, 6, 2)
    with torch.no_grad():
        quiet = layer(x)
    torch.testing.assert_close(quiet, layer(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU, L.SimpleRNN])
def test_gradients_lie_as_the_weights_do(cls: Any):
    layer = cls(4)
    layer(torch.randn(3, 5, 2)).sum().backward()
    for weight in layer.parameters():
        assert weight.grad is not None and weight.grad.shape == weight.shape and weight.grad.is_contiguous()


def test_a_second_derivative_is_there_with_use_cudnn_false():
    layer, x = L.GRU(2, use_cudnn=False), torch.randn(1, 3, 2, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    first.square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_an_output_of_the_gru_kernel_may_be_changed_in_place():
    layer, x = L.GRU(3, return_sequences=True), torch.randn(2, 4, 2)
    plain = torch.autograd.grad((2 * layer(x)).sum(), layer.cell.kernel)[0]
    torch.testing.assert_close(torch.autograd.grad(layer(x).mul_(2).sum(), layer.cell.kernel)[0], plain)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: L.LSTM(2, "relu", use_cudnn=True), r"LSTM\(use_cudnn=True\): no fused kernel"),
        (lambda: L.GRU(2, reset_after=False, use_cudnn=True), r"GRU\(use_cudnn=True\): no fused kernel"),
        (lambda: L.GRU(2, recurrent_dropout=0.1, use_cudnn=True), r"GRU\(use_cudnn=True\): no fused kernel"),
        (lambda: L.LSTM(2, use_cudnn="yes"), r"LSTM\(use_cudnn='yes'\): expected 'auto', True or False"),
    ],
)
def test_use_cudnn_is_checked_when_the_layer_is_made(make: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_under_mixed_precision_weights_stay_whole_and_outputs_are_short(policy: str):
    layer = L.GRU(4, return_sequences=True, dtype=policy)
    x, mask = torch.randn(2, 5, 3), torch.tensor([[True] * 5, [True, False, True, False, False]])
    short = layer(x, mask=mask)
    whole = L.GRU(4, return_sequences=True)
    whole.build((None, 5, 3))
    whole.set_weights(layer.get_weights())
    assert short.dtype is layer._compute_dtype and all(weight.dtype is torch.float32 for weight in layer.weights)
    torch.testing.assert_close(short.float(), whole(x, mask=mask), atol=0.03, rtol=0.03)
    short.float().sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype is torch.float32 for weight in layer.trainable_weights)
