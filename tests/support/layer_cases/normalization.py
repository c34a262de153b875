"""Cases of the layers in `layers/normalization/`."""

from __future__ import annotations

from layer_case import IMG, SEQ, VEC, Case

CASES: dict[str, Case] = {
    "BatchNormalization": Case(lambda L: L.BatchNormalization(), IMG),
    "BatchNormalization, channels first": Case(lambda L: L.BatchNormalization(axis=1, scale=False), IMG),
    "BatchNormalization, rank 2": Case(lambda L: L.BatchNormalization(center=False), VEC),
    "LayerNormalization": Case(lambda L: L.LayerNormalization(), SEQ),
    "LayerNormalization, inner axes": Case(lambda L: L.LayerNormalization(axis=[1, 2]), IMG),
}
