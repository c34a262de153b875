"""Cases of the layers in `layers/preprocessing/`."""

from __future__ import annotations

import numpy as np
from layer_case import IMG, INTS, SEQ, VEC, Case

CASES: dict[str, Case] = {
    "CategoryEncoding": Case(lambda L: L.CategoryEncoding(4), INTS),
    "CategoryEncoding, counts": Case(lambda L: L.CategoryEncoding(5, output_mode="count"), INTS),
    "CategoryEncoding, one-hot": Case(lambda L: L.CategoryEncoding(4, "one_hot"), INTS),
    "CategoryEncoding, one-hot of one": Case(lambda L: L.CategoryEncoding(4, "one_hot"), INTS[:, :1]),
    "CategoryEncoding, weights": Case(
        lambda L: L.CategoryEncoding(4, "count"), INTS, {"count_weights": np.array([[0.1, 0.2, 0.3], [1, 2, 3]], "float32")}
    ),
    "Discretization": Case(lambda L: L.Discretization([-0.5, 0.0, 1.0]), VEC, differentiable=False),
    "Discretization, counts": Case(lambda L: L.Discretization([-0.5, 0.5], output_mode="count"), VEC, differentiable=False),
    "Discretization, multi-hot": Case(lambda L: L.Discretization([0, 1], output_mode="multi_hot"), VEC, differentiable=False),
    "Discretization, one-hot": Case(lambda L: L.Discretization([0.0], output_mode="one_hot"), SEQ, differentiable=False),
    "Normalization": Case(lambda L: L.Normalization(), VEC),
    "Normalization, everything": Case(lambda L: L.Normalization(axis=None), IMG),
    "Normalization, given": Case(lambda L: L.Normalization(mean=[1.0, 2, 3], variance=[0.5, 1, 2]), SEQ),
    "Normalization, given numbers": Case(lambda L: L.Normalization(None, 3.0, 2.0, invert=True), VEC),
    "Normalization, inverse over two axes": Case(lambda L: L.Normalization((1, -1), invert=True), SEQ),
    "Rescaling": Case(lambda L: L.Rescaling(0.5, offset=0.25), IMG),
    "Rescaling, each channel": Case(lambda L: L.Rescaling([1.0, 2.0, 3.0, 4.0], [0.5, 0, 0, 1]), IMG),
}
