"""Cases of the layers in `layers/pooling/`."""

from __future__ import annotations

from layer_case import IMG, Case

CASES: dict[str, Case] = {
    "AveragePooling2D": Case(lambda L: L.AveragePooling2D(2), IMG),
    "AveragePooling2D, same": Case(lambda L: L.AveragePooling2D(2, padding="same"), IMG),
    "GlobalAveragePooling2D": Case(lambda L: L.GlobalAveragePooling2D(keepdims=True), IMG),
    "MaxPooling2D": Case(lambda L: L.MaxPooling2D((2, 3), 1, "same"), IMG),
}
