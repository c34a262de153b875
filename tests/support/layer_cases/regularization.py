"""Cases of the layers in `layers/regularization/`."""

from __future__ import annotations

from layer_case import VEC, Case

CASES: dict[str, Case] = {
    "Dropout": Case(lambda L: L.Dropout(0.5, noise_shape=(None, 1), seed=3), VEC, drawn=True),
}
