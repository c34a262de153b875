"""Cases of the layers in `layers/regularization/`."""

from __future__ import annotations

from layer_case import IMG, SEQ, VEC, VOL, Case

CASES: dict[str, Case] = {
    "ActivityRegularization": Case(lambda L: L.ActivityRegularization(l1=0.1, l2=0.2), VEC),
    "ActivityRegularization, of nothing": Case(lambda L: L.ActivityRegularization(), SEQ),
    "AlphaDropout": Case(lambda L: L.AlphaDropout(0.3, seed=3), VEC, drawn=True),
    "AlphaDropout, shared over steps": Case(lambda L: L.AlphaDropout(0.5, (None, 1, 3)), SEQ, drawn=True),
    "Dropout": Case(lambda L: L.Dropout(0.5, noise_shape=(None, 1), seed=3), VEC, drawn=True),
    "Dropout, a rate that no binary number holds": Case(lambda L: L.Dropout(0.1), IMG, drawn=True),
    "Dropout, everything": Case(lambda L: L.Dropout(1), VEC),
    "Dropout, nothing": Case(lambda L: L.Dropout(0.0), VEC),
    "GaussianDropout": Case(lambda L: L.GaussianDropout(0.4, seed=1), IMG, drawn=True),
    "GaussianNoise": Case(lambda L: L.GaussianNoise(0.3), SEQ, drawn=True),
    "GaussianNoise, none": Case(lambda L: L.GaussianNoise(0, seed=2), SEQ),
    "SpatialDropout1D": Case(lambda L: L.SpatialDropout1D(0.5, 3), SEQ, drawn=True),
    "SpatialDropout2D": Case(lambda L: L.SpatialDropout2D(0.3), IMG, drawn=True),
    "SpatialDropout2D, channels first": Case(lambda L: L.SpatialDropout2D(0.5, "channels_first", 7), IMG, drawn=True),
    "SpatialDropout3D": Case(lambda L: L.SpatialDropout3D(0.25, data_format="channels_first"), VOL, drawn=True),
}
