"""Cases of the layers in `layers/reshaping/`."""

from __future__ import annotations

from layer_case import IMG, INTS, SEQ, VEC, VOL, Case

# Keras's torch backend takes torch's own cubic curve; ours is that of its other backends, tested in test_reshaping_parity.py.
TORCHS_OWN_CURVE = False

CASES: dict[str, Case] = {
    "Cropping1D": Case(lambda L: L.Cropping1D(), SEQ),
    "Cropping1D, one end": Case(lambda L: L.Cropping1D((2, 0)), SEQ),
    "Cropping2D": Case(lambda L: L.Cropping2D((1, 2)), IMG),
    "Cropping2D, channels first": Case(lambda L: L.Cropping2D(((0, 3), (1, 0)), "channels_first"), IMG),
    "Cropping3D": Case(lambda L: L.Cropping3D(), VOL),
    "Cropping3D, uneven": Case(lambda L: L.Cropping3D(((1, 1), (0, 2), (3, 0))), VOL),
    "Flatten": Case(lambda L: L.Flatten(), IMG),
    "Flatten, channels first": Case(lambda L: L.Flatten("channels_first"), IMG),
    "Permute": Case(lambda L: L.Permute((3, 1, 2)), IMG),
    "Permute, integers": Case(lambda L: L.Permute((1,)), INTS),
    "RepeatVector": Case(lambda L: L.RepeatVector(3), VEC),
    "Reshape": Case(lambda L: L.Reshape((2, -1)), IMG),
    "Reshape, all sizes": Case(lambda L: L.Reshape([5, 3, 1]), SEQ),
    "UpSampling1D": Case(lambda L: L.UpSampling1D(3), SEQ),
    "UpSampling2D": Case(lambda L: L.UpSampling2D((2, 3)), IMG),
    "UpSampling2D, bicubic": Case(lambda L: L.UpSampling2D(2, interpolation="bicubic"), IMG, keras=TORCHS_OWN_CURVE),
    "UpSampling2D, bilinear": Case(lambda L: L.UpSampling2D((3, 2), interpolation="bilinear"), IMG),
    "UpSampling2D, channels first": Case(lambda L: L.UpSampling2D((1, 2), "channels_first", "bilinear"), IMG),
    "UpSampling3D": Case(lambda L: L.UpSampling3D(), VOL),
    "UpSampling3D, channels first": Case(lambda L: L.UpSampling3D((1, 3, 2), data_format="channels_first"), VOL),
    "ZeroPadding1D": Case(lambda L: L.ZeroPadding1D((2, 0)), SEQ),
    "ZeroPadding1D, channels first": Case(lambda L: L.ZeroPadding1D(data_format="channels_first"), SEQ),
    "ZeroPadding2D": Case(lambda L: L.ZeroPadding2D(((0, 1), (2, 3))), IMG),
    "ZeroPadding2D, channels first": Case(lambda L: L.ZeroPadding2D((1, 2), "channels_first"), IMG),
    "ZeroPadding3D": Case(lambda L: L.ZeroPadding3D(), VOL),
    "ZeroPadding3D, uneven": Case(lambda L: L.ZeroPadding3D(((0, 1), (2, 0), (1, 1)), data_format="channels_first"), VOL),
}
