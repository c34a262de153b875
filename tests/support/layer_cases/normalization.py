"""Cases of the layers in `layers/normalization/`."""

from __future__ import annotations

from layer_case import IMG, INTS, SEQ, VEC, VOL, Case

_SETTINGS = {
    "beta_initializer": "ones",
    "gamma_initializer": "he_normal",
    "beta_regularizer": "l2",
    "gamma_regularizer": "l1",
    "beta_constraint": "non_neg",
    "gamma_constraint": {"class_name": "MinMaxNorm", "config": {"min_value": 0.5}},
}
_SETTINGS_OF_A_VECTOR = {**_SETTINGS, "gamma_initializer": "ones"}
_STEPS = SEQ[..., 0] > -0.5

CASES: dict[str, Case] = {
    "BatchNormalization": Case(lambda L: L.BatchNormalization(), IMG),
    "BatchNormalization, channels first": Case(lambda L: L.BatchNormalization(axis=1, scale=False), IMG),
    "BatchNormalization, rank 2": Case(lambda L: L.BatchNormalization(center=False), VEC),
    "BatchNormalization, steps": Case(lambda L: L.BatchNormalization(momentum=0.7, epsilon=0.1), SEQ),
    "BatchNormalization, volumes": Case(lambda L: L.BatchNormalization(center=False, scale=False), VOL),
    "BatchNormalization, settings": Case(lambda L: L.BatchNormalization(**_SETTINGS_OF_A_VECTOR, moving_mean_initializer="ones"), VEC),
    "BatchNormalization, mask": Case(lambda L: L.BatchNormalization(), SEQ, {"mask": _STEPS}),
    "BatchNormalization, mask, no weights": Case(lambda L: L.BatchNormalization(center=False, scale=False), SEQ, {"mask": _STEPS}),
    "GroupNormalization": Case(lambda L: L.GroupNormalization(2), IMG),
    "GroupNormalization, channels first": Case(lambda L: L.GroupNormalization(3, axis=1, epsilon=0.01, scale=False), IMG),
    "GroupNormalization, a group of each channel": Case(lambda L: L.GroupNormalization(-1, center=False), SEQ),
    "GroupNormalization, rank 2": Case(lambda L: L.GroupNormalization(2, **_SETTINGS_OF_A_VECTOR), VEC),
    "LayerNormalization": Case(lambda L: L.LayerNormalization(), SEQ),
    "LayerNormalization, last axes": Case(lambda L: L.LayerNormalization([-2, -1], 0.1, **_SETTINGS), IMG),
    "LayerNormalization, axes apart": Case(lambda L: L.LayerNormalization([1, 3], center=False), IMG),
    "LayerNormalization, inner axes": Case(lambda L: L.LayerNormalization(axis=[1, 2]), IMG, keras=False),  # fails in Keras on torch
    "LayerNormalization, RMS": Case(
        lambda L: L.LayerNormalization(rms_scaling=True), SEQ, keras=False
    ),  # Keras warns; see the parity tests
    "LayerNormalization, no weights": Case(lambda L: L.LayerNormalization(center=False, scale=False), VEC),
    "RMSNormalization": Case(lambda L: L.RMSNormalization(), SEQ),
    "RMSNormalization, last axes": Case(lambda L: L.RMSNormalization([2, 3], 0.01), IMG),
    "RMSNormalization, axes apart": Case(lambda L: L.RMSNormalization([1, 3]), IMG, keras=False),  # as above
    "SpectralNormalization": Case(lambda L: L.SpectralNormalization(L.Dense(5)), VEC),
    "SpectralNormalization, images": Case(lambda L: L.SpectralNormalization(L.Conv2D(3, 2, use_bias=False), 3), IMG),
    "SpectralNormalization, embeddings": Case(  # Keras casts what comes out to the dtype of the integers
        lambda L: L.SpectralNormalization(L.Embedding(4, 3)), INTS, keras=False
    ),
    "UnitNormalization": Case(lambda L: L.UnitNormalization(), SEQ),
    "UnitNormalization, two axes": Case(lambda L: L.UnitNormalization([1, 2]), IMG),
}
