"""Cases of the layers in `layers/core/`."""

from __future__ import annotations

from layer_case import INTS, SEQ, VEC, Case

CASES: dict[str, Case] = {
    "Dense": Case(lambda L: L.Dense(3, "gelu", kernel_regularizer=None, bias_initializer="ones", activity_regularizer="l2"), VEC),
    "Dense, rank 3": Case(lambda L: L.Dense(3, use_bias=False), SEQ),
    "Embedding": Case(lambda L: L.Embedding(4, 3), INTS),
}
