"""Attention beside Keras's, over shapes, arguments and masks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer, build_pair
from torch import Tensor

from disttrain.layers.attention.masks import combined
from disttrain.layers.context import CallContext, call_context

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using a softmax"),  # over an axis of size 1, which shapes drawn here may have
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask"),  # Keras's own projections
]

sizes = st.integers(1, 4)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def all_see(queries: int, keys: int, mask: np.ndarray | None, causal: bool, window: int | None) -> bool:
    """May every query see something? For one that may not, Keras's gradients are those of another function than its outputs."""
    query, key = torch.zeros(1, queries), torch.zeros(1, keys)
    seen = combined(query, key, None, None, None, None if mask is None else torch.tensor(mask), causal, window)
    return seen is None or bool(seen.any(-1).all())


def mask_of(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) > 0.3


@settings(max_examples=20)
@given(
    heads=sizes,
    key_dim=sizes,
    value_dim=st.sampled_from([None, 3]),
    output_shape=st.sampled_from([None, 5, (2, 3)]),
    lengths=st.tuples(sizes, sizes, sizes),
    use_bias=st.booleans(),
    use_gate=st.booleans(),
    has_key=st.booleans(),
    window=st.sampled_from([None, 1, 2]),
    causal=st.booleans(),
    mask=st.sampled_from([None, "bool", "number"]),
    scores=st.booleans(),
    dropout=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_multi_head_attention_with_any_arguments(
    heads: int, key_dim: int, value_dim: Any, output_shape: Any, lengths: Any, use_bias: bool, use_gate: bool, has_key: bool,
    window: Any, causal: bool, mask: Any, scores: bool, dropout: float, seed: int,
):  # fmt: skip
    batch, queries, keys = lengths
    inputs = [drawn(seed, batch, queries, 3), drawn(seed + 1, batch, keys, 4)]
    inputs += [drawn(seed + 2, batch, keys, 2)] if has_key else []
    call: dict[str, Any] = {"use_causal_mask": causal, "return_attention_scores": scores}
    if mask is not None:
        allowed = mask_of(seed, batch, queries, keys)
        call["attention_mask"] = allowed if mask == "bool" else allowed.astype("float32")
    assert_same_layer(
        lambda N: N.MultiHeadAttention(
            heads, key_dim, value_dim, dropout, use_bias, output_shape, sliding_window=window, use_gate=use_gate, kernel_regularizer="l2"
        ),
        inputs,
        call,
        spread=True,
        training=dropout == 0.0,
        gradients=all_see(queries, keys, call.get("attention_mask"), causal, window),
    )


@settings(max_examples=10)
@given(
    axes=st.sampled_from([None, 1, 2, (1, 2), -2, (-3,)]),
    sizes_of=st.tuples(sizes, sizes, sizes),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention_along_any_axes_of_a_grid(axes: Any, sizes_of: Any, masked: bool, seed: int):
    batch, height, width = sizes_of
    x = drawn(seed, batch, height, width, 3)
    along = {None: (1, 2), 1: (1,), 2: (2,), -2: (2,), (-3,): (1,)}.get(axes, axes)
    shape = [x.shape[axis] for axis in along]
    call = {"attention_mask": mask_of(seed, batch, *shape, *shape)} if masked and len(along) == 2 else {}
    assert_same_layer(lambda N: N.MultiHeadAttention(2, 3, attention_axes=axes), [x, x], call, spread=True)


@settings(max_examples=20)
@given(
    groups=st.tuples(sizes, sizes),
    head_dim=sizes,
    lengths=st.tuples(sizes, sizes, sizes),
    use_bias=st.booleans(),
    use_gate=st.booleans(),
    window=st.sampled_from([None, 2]),
    causal=st.booleans(),
    masked=st.booleans(),
    scores=st.booleans(),
    seed=st.integers(0, 99),
)
def test_group_query_attention_with_any_arguments(
    groups: Any, head_dim: int, lengths: Any, use_bias: bool, use_gate: bool, window: Any, causal: bool, masked: bool, scores: bool,
    seed: int,
):  # fmt: skip
    batch, queries, keys = lengths
    call: dict[str, Any] = {"use_causal_mask": causal, "return_attention_scores": scores}
    if masked:
        call["attention_mask"] = mask_of(seed, batch, queries, keys)
    assert_same_layer(
        lambda N: N.GroupQueryAttention(
            head_dim, groups[0] * groups[1], groups[1], use_bias=use_bias, sliding_window=window, use_gate=use_gate, seed=4
        ),
        [drawn(seed, batch, queries, 3), drawn(seed + 1, batch, keys, 3)],
        call,
        spread=True,
        gradients=all_see(queries, keys, call.get("attention_mask"), causal, window),
    )


@settings(max_examples=20)
@given(
    kind=st.sampled_from(["dot", "concat", "additive"]),
    use_scale=st.booleans(),
    has_key=st.booleans(),
    lengths=st.tuples(sizes, sizes, sizes),
    causal=st.booleans(),
    masks=st.sampled_from([None, "query", "value", "both"]),
    scores=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention_without_projections(
    kind: str, use_scale: bool, has_key: bool, lengths: Any, causal: bool, masks: Any, scores: bool, seed: int
):  # fmt: skip
    batch, queries, keys = lengths
    inputs = [drawn(seed, batch, queries, 3), drawn(seed + 1, batch, keys, 3)]
    inputs += [drawn(seed + 2, batch, keys, 3)] if has_key else []
    call: dict[str, Any] = {"use_causal_mask": causal, "return_attention_scores": scores}
    if masks is not None:
        query_mask = mask_of(seed, batch, queries) if masks in ("query", "both") else None
        value_mask = mask_of(seed + 1, batch, keys) if masks in ("value", "both") else None
        call["mask"] = [query_mask, value_mask]
    else:
        value_mask = None
    assert_same_layer(
        lambda N: N.AdditiveAttention(use_scale) if kind == "additive" else N.Attention(use_scale, kind),
        inputs,
        call,
        gradients=all_see(queries, keys, None if value_mask is None else value_mask[:, None], causal, None),
        tolerance=3e-5,
    )


def carrying(x: np.ndarray, mask: np.ndarray | None) -> Tensor:
    tensor = torch.tensor(x)
    if mask is not None:
        tensor._keras_mask = torch.tensor(mask)  # type: ignore[attr-defined]
    return tensor


@settings(max_examples=20)
@given(
    which=st.sampled_from(["MultiHeadAttention", "GroupQueryAttention"]),
    has=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    causal=st.booleans(),
    scores=st.booleans(),
    seed=st.integers(0, 99),
)
def test_masks_that_query_value_and_key_carry(which: str, has: Any, causal: bool, scores: bool, seed: int):
    arguments = (2, 4) if which == "MultiHeadAttention" else (4, 2, 1)
    args = [drawn(seed, 2, 4, 3), drawn(seed + 1, 2, 3, 3), drawn(seed + 2, 2, 3, 3)]
    masks = [mask_of(seed + number, *x.shape[:2]) if there else None for number, (x, there) in enumerate(zip(args, has, strict=True))]
    ours, theirs = build_pair(lambda N: getattr(N, which)(*arguments), args)
    options = {"use_causal_mask": causal, "return_attention_scores": scores}
    with torch.no_grad():
        with call_context(CallContext(training=False)) as context:
            context.masked = True
            mine = ours(*(carrying(x, mask) for x, mask in zip(args, masks, strict=True)), **options)
        other = theirs(*(carrying(x, mask) for x, mask in zip(args, masks, strict=True)), **options)
    mine, other = (mine[0], other[0]) if scores else (mine, other)
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    one, two = getattr(mine, "_keras_mask", None), getattr(other, "_keras_mask", None)
    assert (one is None) == (two is None) == (not has[0])
    assert one is None or torch.equal(one, two)


def test_keras_exports_group_query_attention_under_this_name():
    assert keras.layers.GroupQueryAttention.__name__ == "GroupedQueryAttention"
    assert keras.layers.GroupQueryAttention(4, 2, 1, name=None).name.startswith("grouped_query_attention")
