"""Cases of the layers in `layers/convolutional/`."""

from __future__ import annotations

from layer_case import IMG, Case

CASES: dict[str, Case] = {
    "Conv2D": Case(lambda L: L.Conv2D(4, 3, padding="same", strides=2, activation="relu", groups=2), IMG),
    "Conv2D, channels first": Case(
        lambda L: L.Conv2D(2, (2, 3), data_format="channels_first", use_bias=False, kernel_regularizer="l1"), IMG
    ),
}
