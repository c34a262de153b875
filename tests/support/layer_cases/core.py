"""Cases of the layers in `layers/core/`."""

from __future__ import annotations

import numpy as np
from layer_case import IMG, INTS, SEQ, VEC, Case, floats

PADDED = np.array([[[1.0, -1.0, 2.0], [0.0, 0.0, 0.0]], [[0.0, 3.0, 0.0], [-1.0, -1.0, -1.0]]], dtype="float32")

CASES: dict[str, Case] = {
    "Dense": Case(lambda L: L.Dense(3, "gelu", kernel_regularizer=None, bias_initializer="ones", activity_regularizer="l2"), VEC),
    "Dense, rank 3": Case(lambda L: L.Dense(3, use_bias=False), SEQ),
    "Dense, rank 4 with a bias": Case(lambda L: L.Dense(2, "tanh", kernel_regularizer="l2", bias_regularizer="l1"), IMG),
    "Dense, constraints": Case(lambda L: L.Dense(3, kernel_constraint="max_norm", bias_constraint="non_neg"), VEC),
    "EinsumDense": Case(lambda L: L.EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d"), SEQ),
    "EinsumDense, like Dense": Case(lambda L: L.EinsumDense("ab,bc->ac", 3, "relu", "c", kernel_constraint="unit_norm"), VEC),
    "EinsumDense, new axes": Case(lambda L: L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="e", kernel_regularizer="l2"), SEQ),
    "EinsumDense, two axes summed": Case(lambda L: L.EinsumDense("abcd,cde->abe", (6, 3), bias_axes="be"), IMG),
    "EinsumDense, steps mixed": Case(lambda L: L.EinsumDense("abc,bd->adc", (4, 3), bias_axes="d"), SEQ),
    "EinsumDense, dots on the left": Case(lambda L: L.EinsumDense("...x,xy->...y", 4, bias_axes="y"), SEQ),
    "EinsumDense, dots on the right": Case(lambda L: L.EinsumDense("ab...,bc->ac...", 4, bias_axes="c", activation="tanh"), IMG),
    "EinsumDense, an axis of its own kernels": Case(lambda L: L.EinsumDense("abc,bcd->abd", (5, 2), bias_axes="bd"), SEQ),
    "Embedding": Case(lambda L: L.Embedding(4, 3), INTS),
    "Embedding, padding and constraint": Case(lambda L: L.Embedding(4, 3, mask_zero=True, embeddings_constraint="unit_norm"), INTS),
    "Embedding, regularized": Case(lambda L: L.Embedding(4, 3, embeddings_initializer="ones", embeddings_regularizer="l2"), INTS),
    "Identity": Case(lambda L: L.Identity(), SEQ),
    "Identity, a list": Case(lambda L: L.Identity(), [VEC, INTS]),
    "Masking": Case(lambda L: L.Masking(), PADDED),
    "Masking, of -1": Case(lambda L: L.Masking(mask_value=-1.0), PADDED),
    "ReversibleEmbedding": Case(lambda L: L.ReversibleEmbedding(4, 3, mask_zero=True), INTS),
    "ReversibleEmbedding, back": Case(lambda L: L.ReversibleEmbedding(4, 3, logit_soft_cap=2.0), floats(2, 5, 3), {"reverse": True}),
}
