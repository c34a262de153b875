"""Cases of the layers in `layers/reshaping/`."""

from __future__ import annotations

from layer_case import IMG, Case

CASES: dict[str, Case] = {
    "Flatten": Case(lambda L: L.Flatten(), IMG),
    "Flatten, channels first": Case(lambda L: L.Flatten("channels_first"), IMG),
    "Reshape": Case(lambda L: L.Reshape((2, -1)), IMG),
}
