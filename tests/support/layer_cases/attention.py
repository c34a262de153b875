"""Cases of the layers in `layers/attention/`."""

from __future__ import annotations

import numpy as np
from layer_case import SEQ, Case, floats

QUERY, VALUE, KEY = SEQ, floats(2, 4, 3), floats(2, 4, 3)
WIDE_KEY = floats(2, 4, 6)
GRID = floats(2, 3, 4, 5)
MASK = np.array([[[True, False, True, True]], [[False, True, True, False]]])  # (batch, 1, keys)

CASES: dict[str, Case] = {
    "AdditiveAttention": Case(lambda L: L.AdditiveAttention(), [QUERY, VALUE]),
    "AdditiveAttention, no scale": Case(lambda L: L.AdditiveAttention(use_scale=False), [QUERY, VALUE, KEY], {"use_causal_mask": True}),
    "Attention": Case(lambda L: L.Attention(), [QUERY, VALUE]),
    "Attention, scaled, with a key": Case(lambda L: L.Attention(use_scale=True, seed=3), [QUERY, VALUE, KEY]),
    "Attention, concat": Case(lambda L: L.Attention(True, "concat"), [QUERY, VALUE, KEY], {"return_attention_scores": True}),
    "Attention, dropout": Case(lambda L: L.Attention(dropout=0.5, seed=3), [QUERY, VALUE, KEY], drawn=True),
    "Attention, causal": Case(lambda L: L.Attention(), [QUERY, VALUE], {"use_causal_mask": True}),
    # Beside Keras in tests/parity/test_attention_parity.py: its files name the groups of weights by another name than the class.
    "GroupQueryAttention": Case(lambda L: L.GroupQueryAttention(4, 6, 2), [QUERY, VALUE], spread=True, keras=False),
    "GroupQueryAttention, key, gate and mask": Case(
        lambda L: L.GroupQueryAttention(4, 4, 1, use_bias=False, use_gate=True),
        [QUERY, VALUE, KEY],
        {"attention_mask": MASK},
        spread=True,
        keras=False,
    ),
    "GroupQueryAttention, scores": Case(
        lambda L: L.GroupQueryAttention(4, 4, 2, sliding_window=2, kernel_regularizer="l2"),
        [QUERY, QUERY],
        {"return_attention_scores": True, "use_causal_mask": True},
        spread=True,
        keras=False,
    ),
    "MultiHeadAttention": Case(lambda L: L.MultiHeadAttention(2, 4), [QUERY, VALUE], spread=True),
    "MultiHeadAttention, a key of its own": Case(
        lambda L: L.MultiHeadAttention(2, 4, value_dim=3, use_bias=False, kernel_regularizer="l2", kernel_constraint="max_norm"),
        [QUERY, VALUE, WIDE_KEY],
        spread=True,
    ),
    "MultiHeadAttention, scores under a mask": Case(
        lambda L: L.MultiHeadAttention(2, 4, output_shape=7),
        [QUERY, VALUE],
        {"attention_mask": MASK, "return_attention_scores": True},
        spread=True,
    ),
    "MultiHeadAttention, mask": Case(lambda L: L.MultiHeadAttention(2, 4), [QUERY, VALUE], {"attention_mask": MASK}, spread=True),
    "MultiHeadAttention, causal": Case(
        lambda L: L.MultiHeadAttention(3, 2, output_shape=(2, 4), activity_regularizer="l2"),
        [QUERY, QUERY],
        {"use_causal_mask": True},
        spread=True,
    ),
    "MultiHeadAttention, window and gate": Case(
        lambda L: L.MultiHeadAttention(2, 4, sliding_window=2, use_gate=True), [QUERY, QUERY], spread=True
    ),
    "MultiHeadAttention, dropout": Case(lambda L: L.MultiHeadAttention(2, 4, dropout=0.5), [QUERY, VALUE], spread=True, drawn=True),
    "MultiHeadAttention, a grid, one axis": Case(
        lambda L: L.MultiHeadAttention(2, 4, attention_axes=2), [GRID, GRID], {"return_attention_scores": True}, spread=True
    ),
    "MultiHeadAttention, a grid": Case(lambda L: L.MultiHeadAttention(2, 4), [GRID, GRID], spread=True),
}
