"""Numbers, masks, draws and errors of the attention layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.layers.attention.masks import additive, band_mask, causal_mask
from disttrain.layers.context import CallContext, call_context


def plain_heads(**arguments: Any) -> Any:
    """One head of size 2 whose projections are the identity."""
    layer = L.MultiHeadAttention(1, 2, use_bias=False, **arguments)
    layer.build((None, None, 2), (None, None, 2))
    identity = np.eye(2)
    layer.set_weights([identity.reshape(weight.shape) for weight in layer.get_weights()])
    return layer


def run(layer: Any, *args: Any, key: int = 1, training: bool = True, **options: Any) -> Any:
    with call_context(CallContext(training=training, key=key)) as context:
        context.masked = any(hasattr(x, "_keras_mask") for x in args)
        return layer(*args, **options)


def test_one_head_gives_the_values_weighted_by_the_softmax_of_scaled_products():
    query, value = torch.tensor([[[2.0**0.5, 0.0]]]), torch.tensor([[[np.log(3.0), 0.0], [0.0, 1.0]]]).float()
    output, scores = plain_heads()(query, value, return_attention_scores=True)
    assert scores.shape == (1, 1, 1, 2)
    torch.testing.assert_close(scores[0, 0, 0], torch.tensor([0.75, 0.25]))  # exp(log 3) : exp(0)
    torch.testing.assert_close(output[0, 0], torch.tensor([0.75 * np.log(3.0), 0.25]).float())
    torch.testing.assert_close(plain_heads()(query, value), output)


@pytest.mark.parametrize("make", [lambda: L.MultiHeadAttention(2, 4), lambda: L.GroupQueryAttention(4, 4, 2)])
def test_with_and_without_scores_the_output_is_the_same(make: Any):
    layer, x = make(), torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[[True, True, False, True, False]]])
    for options in ({}, {"use_causal_mask": True}, {"attention_mask": mask}, {"attention_mask": mask, "use_causal_mask": True}):
        torch.testing.assert_close(layer(x, x, **options), layer(x, x, return_attention_scores=True, **options)[0])


def test_a_later_step_changes_nothing_before_it_under_a_causal_mask():
    layer = L.MultiHeadAttention(2, 4)
    x = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, 3:] += 1.0
    before, after = layer(x, x, use_causal_mask=True), layer(changed, changed, use_causal_mask=True)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_steps_that_a_mask_hides_are_not_looked_at_and_the_query_mask_goes_on():
    layer = L.MultiHeadAttention(2, 4)
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    x._keras_mask = torch.tensor([[True, True, False, False]])
    changed = x.clone()
    changed[:, 2:] = 9.0
    changed._keras_mask = x._keras_mask
    first, second = run(layer, x, x, training=False), run(layer, changed, changed, training=False)
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert torch.equal(first._keras_mask, x._keras_mask)


def test_a_mask_given_by_name_comes_before_the_one_that_a_tensor_carries():
    layer, x = L.MultiHeadAttention(2, 4), torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0))
    x._keras_mask = torch.tensor([[True, False, False]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    given = run(layer, x, x, training=False, query_mask=everything, value_mask=everything)
    torch.testing.assert_close(given, layer(x.clone(), x.clone()))


def test_masks_of_order_and_distance():
    assert causal_mask(2, 3, torch.device("cpu")).int().tolist() == [[[1, 0, 0], [1, 1, 0]]]
    assert band_mask(3, 3, 2, torch.device("cpu")).int().tolist() == [[[1, 1, 0], [1, 1, 1], [0, 1, 1]]]
    bias, sees = additive(torch.tensor([[True, False], [False, False]]), torch.float16)
    assert bias[0, 0] == 0.0 and bias[0, 1] < -4e4 and bias.isfinite().all() and sees.tolist() == [[True], [False]]


def test_dropout_of_scores_follows_the_key_and_stops_at_inference():
    layer, x = plain_heads(dropout=0.5), torch.ones(1, 8, 2)
    one, same, other = run(layer, x, x, key=1), run(layer, x, x, key=1), run(layer, x, x, key=2)
    assert torch.equal(one, same) and not torch.equal(one, other)
    torch.testing.assert_close(run(layer, x, x, training=False), x)
    scores = run(layer, x, x, return_attention_scores=True)[1]
    torch.testing.assert_close(scores.sum(-1), torch.ones(1, 1, 8))  # scores come as they are before the dropout, as in Keras


def test_dropped_scores_are_replaced_by_larger_ones_on_average():
    layer, x = plain_heads(dropout=0.25), torch.ones(64, 16, 2)
    with torch.no_grad():
        result = run(layer, x, x)
    assert abs(result.mean().item() - 1.0) < 0.02


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_query_that_may_see_nothing_gets_the_mean_of_all_values_or_with_dropout_zeros(dropout: float):
    layer, x = plain_heads(dropout=dropout), torch.tensor([[[1.0, 2.0], [5.0, 0.0]]]).requires_grad_()
    output = run(layer, x, x, training=False, attention_mask=torch.zeros(1, 2, 2, dtype=torch.bool))
    output.sum().backward()
    expected = [[[0.0, 0.0]] * 2] if dropout else [[[3.0, 1.0]] * 2]
    assert output.tolist() == expected  # as in Keras, whose kernel and whose scores differ here
    torch.testing.assert_close(x.grad, torch.zeros(1, 2, 2) if dropout else torch.ones(1, 2, 2))  # each value half of two outputs


def test_group_queries_share_the_keys_of_their_group():
    layer = L.GroupQueryAttention(head_dim=4, num_query_heads=6, num_key_value_heads=2)
    x = torch.zeros(1, 3, 5)
    assert layer(x, x).shape == (1, 3, 5)
    assert [tuple(weight.shape) for weight in layer.weights] == [(5, 6, 4), (6, 4), (5, 2, 4), (2, 4), (5, 2, 4), (2, 4), (6, 4, 5), (5,)]
    assert layer.name.startswith("grouped_query_attention")


def test_half_precision_computes_in_half_precision():
    for layer in (L.MultiHeadAttention(2, 4, dtype="mixed_bfloat16"), L.Attention(dtype="mixed_bfloat16")):
        x = torch.ones(2, 3, 4)
        output = layer(x, x) if isinstance(layer, L.MultiHeadAttention) else layer([x, x])
        assert output.dtype is torch.bfloat16


def test_attention_looks_by_products_of_query_and_key_and_zeroes_masked_queries():
    query, value = torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[np.log(3.0)], [0.0]]]).float()
    key_mask, query_mask = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    output, scores = L.Attention()([query, value], mask=[query_mask, key_mask], return_attention_scores=True)
    torch.testing.assert_close(scores[0], torch.tensor([[0.75, 0.25], [0.75, 0.25]]))
    torch.testing.assert_close(output[0], torch.tensor([[0.75 * np.log(3.0)], [0.0]]).float())


def test_additive_attention_scores_by_the_sum_of_tanh():
    x, y = torch.tensor([[[0.5, 0.0]]]), torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    scores = L.AdditiveAttention(use_scale=False)([x, y], return_attention_scores=True)[1]
    raw = torch.tanh(torch.tensor([[0.5, 0.0], [1.0, 0.5]])).sum(-1)
    torch.testing.assert_close(scores[0, 0], torch.softmax(raw, 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.MultiHeadAttention(0, 4), "num_heads=0"),
        (lambda: L.MultiHeadAttention(2, 4.5), "key_dim=4.5"),
        (lambda: L.MultiHeadAttention(2, 4, value_dim=-1), "value_dim=-1"),
        (lambda: L.MultiHeadAttention(2, 4, dropout=1.5), "dropout=1.5"),
        (lambda: L.MultiHeadAttention(2, 4, output_shape="3"), "output_shape='3'"),
        (lambda: L.MultiHeadAttention(2, 4, attention_axes=1.5), "attention_axes=1.5"),
        (lambda: L.MultiHeadAttention(2, 4, sliding_window=0), "sliding_window=0"),
        (lambda: L.MultiHeadAttention(2, 4, flash_attention=True), "flash_attention=True.*torch chooses"),
        (lambda: L.MultiHeadAttention(2, 4, attention_axes=3).build((None, 5, 3), (None, 5, 3)), "attention_axes=\\(3,\\)"),
        (lambda: L.MultiHeadAttention(2, 4).build((None, 5, 3), (None, 3)), "3 or more"),
        (lambda: L.MultiHeadAttention(2, 4).build((None, 5, 3), (None, 4, 3), (None, 5, 3)), "must be equal"),
        (lambda: L.MultiHeadAttention(2, 4).build((None, 5, 3), None), "expected a query and a value"),
        (lambda: L.GroupQueryAttention(4, 3, 2), "expected a multiple"),
        (lambda: L.GroupQueryAttention(4, 2, 2).build((None, 5), (None, 5)), "3 axes each"),
        (lambda: L.Attention(score_mode="sum"), "Received: score_mode=sum"),
        (lambda: L.Attention(dropout=-1), "dropout=-1"),
        (lambda: L.Attention()(torch.zeros(2, 3, 4)), "a list of 2 or 3"),
        (lambda: L.Attention()([torch.zeros(2, 3, 4)] * 2, mask=torch.ones(2, 3)), "2 or 3 masks"),
    ],
)
def test_a_wrong_argument_of_attention_is_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("attention_mask", (2, 5, 3)),
        ("attention_mask", (3, 3, 5)),
        ("attention_mask", (2, 3, 4)),
        ("attention_mask", (5,)),
        ("query_mask", (2, 5)),
        ("value_mask", (2, 1)),
    ],
)
def test_a_mask_that_does_not_fit_is_named_with_what_is_expected(name: str, shape: tuple[int, ...]):
    for layer in (L.MultiHeadAttention(2, 4), L.GroupQueryAttention(4, 2, 1)):
        with pytest.raises(ValueError, match=rf"{layer.name}.*: {name} has shape .*, expected .*, here \(2, "):
            layer(torch.ones(2, 3, 4), torch.ones(2, 5, 4), **{name: torch.ones(shape, dtype=torch.bool)})


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 5), (3, 5), (2, 1, 5), (2, 1, 3, 5), (2, 2, 3, 5)])
def test_an_attention_mask_may_broadcast(shape: tuple[int, ...]):
    assert L.MultiHeadAttention(2, 4)(
        torch.ones(2, 3, 4), torch.ones(2, 5, 4), attention_mask=torch.ones(shape, dtype=torch.bool)
    ).shape == (2, 3, 4)
