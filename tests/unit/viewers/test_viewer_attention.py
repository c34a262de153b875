"""Attention scores of a recorded call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.models import Input, Model
from disttrain.viewers import attention, forward


def recorded(layer: Any, call: Any, *inputs: torch.Tensor) -> np.ndarray:
    symbols = [Input(tuple(x.shape[1:]), dtype=str(x.dtype).removeprefix("torch.")) for x in inputs]
    model = Model(symbols, call(*symbols))
    found = forward.record(model, list(inputs)).inputs(layer.name)
    return attention.scores(layer, found.args, found.kwargs)


def test_scores_of_heads_are_those_the_layer_returns():
    layer, x, y = L.MultiHeadAttention(3, 4, dropout=0.5, name="heads"), torch.rand(1, 5, 8), torch.rand(1, 6, 8)
    found = recorded(layer, lambda q, v: layer(q, v), x, y)
    with torch.no_grad():
        _, expected = layer(x, y, return_attention_scores=True)
    assert found.shape == (3, 5, 6) and np.allclose(found, expected[0].numpy()) and np.allclose(found.sum(-1), 1, atol=1e-6)


def test_a_causal_mask_hides_what_comes_later():
    layer, x = L.GroupQueryAttention(4, 4, 2, name="heads"), torch.rand(1, 5, 8)
    found = recorded(layer, lambda q: layer(q, q, use_causal_mask=True), x)
    assert found.shape == (4, 5, 5) and (found[:, np.triu_indices(5, 1)[0], np.triu_indices(5, 1)[1]] == 0).all()


def test_masks_that_tensors_carry_count():
    layer, words = L.MultiHeadAttention(2, 4, name="heads"), L.Embedding(9, 8, mask_zero=True)

    def call(tokens: Any) -> Any:
        x = words(tokens)
        return layer(x, x)

    found = recorded(layer, call, torch.tensor([[3, 4, 5, 0, 0]]))
    assert (found[:, :3, 3:] == 0).all() and np.allclose(found[:, :3].sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("layer", [L.Attention(use_scale=True), L.AdditiveAttention(), L.Attention(score_mode="concat")])
def test_attention_without_projections_has_one_head(layer: Any):
    x, y = torch.rand(1, 4, 6), torch.rand(1, 5, 6)
    found = recorded(layer, lambda q, v: layer([q, v]), x, y)
    with torch.no_grad():
        _, expected = layer([x, y], return_attention_scores=True)
    assert found.shape == (1, 4, 5) and np.allclose(found, expected.numpy())


def test_several_axes_are_put_one_after_the_other():
    both, one = L.MultiHeadAttention(2, 4, name="both"), L.MultiHeadAttention(2, 4, attention_axes=2, name="one")
    x = torch.rand(1, 3, 4, 6)
    assert recorded(both, lambda q: both(q, q), x).shape == (2, 12, 12)
    assert recorded(one, lambda q: one(q, q), x).shape == (6, 4, 4)


def test_scores_that_were_returned_anyway_are_the_same():
    layer, x = L.MultiHeadAttention(2, 4, name="heads"), torch.rand(1, 5, 8)
    found = recorded(layer, lambda q: layer(q, q, return_attention_scores=True), x)
    with torch.no_grad():
        assert np.allclose(found, layer(x, x, return_attention_scores=True)[1][0].numpy())
