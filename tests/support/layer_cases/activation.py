"""Cases of the layers in `layers/activation/`."""

from __future__ import annotations

from layer_case import SEQ, VEC, Case

CASES: dict[str, Case] = {
    "Activation": Case(lambda L: L.Activation("tanh"), VEC),
    "ReLU": Case(lambda L: L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), VEC),
    "Softmax": Case(lambda L: L.Softmax(axis=[1, 2]), SEQ),
}
