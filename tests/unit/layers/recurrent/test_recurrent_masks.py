"""Masks of recurrent layers: what a step that does not count leaves as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context

X = torch.tensor([[[1.0], [2.0], [3.0]]])


def running_sum(**options: Any) -> L.SimpleRNN:
    """`h' = h + x`."""
    return L.SimpleRNN(
        1,
        None,
        kernel_initializer="ones",
        recurrent_initializer="ones",
        use_bias=False,
        return_sequences=True,
        return_state=True,
        **options,
    )


def sums(mask: list[bool], **options: Any) -> tuple[list[float], float]:
    outputs, state = running_sum(**options)(X, mask=torch.tensor([mask]))
    return outputs.flatten().tolist(), state.item()


def test_a_masked_step_repeats_the_output_and_keeps_the_state():
    assert sums([True, False, True]) == ([1, 1, 4], 4)


def test_before_the_first_step_that_counts_the_output_is_zeros():
    assert sums([False, True, True]) == ([0, 2, 5], 5)


def test_after_the_last_step_that_counts_its_output_goes_on():
    assert sums([True, True, False]) == ([1, 3, 3], 3)


def test_a_row_without_any_step_gives_zeros_and_keeps_its_first_state():
    outputs, state = running_sum()(X, mask=torch.zeros(1, 3, dtype=torch.bool), initial_state=torch.full((1, 1), 7.0))
    assert outputs.flatten().tolist() == [0, 0, 0] and state.item() == 7


def test_zero_output_for_mask_shows_zeros_but_keeps_the_state():
    assert sums([True, False, True], zero_output_for_mask=True) == ([1, 0, 4], 4)


def test_backwards_the_mask_is_turned_too():
    assert sums([True, True, False], go_backwards=True) == ([0, 2, 3], 3)


def test_a_mask_of_numbers_counts_what_is_not_zero():
    outputs, _ = running_sum()(X, mask=torch.tensor([[1, 0, 2]]))
    assert outputs.flatten().tolist() == [1, 1, 4]


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU, L.SimpleRNN])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_the_fused_kernels_treat_any_mask_as_the_walk_does(cls: Any, zeros: bool, sequences: bool):
    torch.manual_seed(0)
    x = torch.randn(6, 5, 3)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]]).bool()
    start = [torch.randn(6, 4) for _ in range(2 if cls is L.LSTM else 1)]
    layer = cls(4, return_sequences=sequences, return_state=True, zero_output_for_mask=zeros)
    layer.build((None, 5, 3))

    def run(fused: bool) -> tuple[list[Tensor], list[Tensor]]:
        layer.use_cudnn = "auto" if fused else False
        leaves = [x.clone().requires_grad_(), *(state.clone().requires_grad_() for state in start)]
        results = list(layer(leaves[0], mask=mask, initial_state=leaves[1:]))
        total = sum((torch.sin(result).sum() for result in results), torch.zeros(()))
        return results, list(torch.autograd.grad(total, [*leaves, *layer.parameters()]))

    for one, two in zip(run(True), run(False), strict=True):
        for fused, walked in zip(one, two, strict=True):
            torch.testing.assert_close(fused, walked, atol=2e-6, rtol=1e-5)


def test_the_mask_goes_on_to_the_next_layer_with_every_output_only():
    mask = torch.tensor([[True, False, True]])
    with call_context(CallContext()) as context:
        context.masked = True
        x = X.clone()
        x._keras_mask = mask
        every, state = L.GRU(2, return_sequences=True, return_state=True)(x)
        last = L.LSTM(2)(x)
    assert every._keras_mask is mask and not hasattr(last, "_keras_mask") and not hasattr(state, "_keras_mask")
    assert L.GRU(2, return_sequences=True, return_state=True).compute_mask(x, mask) == [mask, None]
    assert L.GRU(2).compute_mask(x, mask) is None and L.GRU(2, return_sequences=True).compute_mask(x, mask) is mask


def test_a_mask_on_the_input_is_used_without_being_named():
    x = X.clone()
    x._keras_mask = torch.tensor([[True, False, True]])
    assert running_sum()(x)[1].item() == 4


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"LSTM 'lstm': the mask has shape \(1, 4\), expected \(batch, time\), here \(1, 3\)"):
        L.LSTM(2)(X, mask=torch.ones(1, 4))
