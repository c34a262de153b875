"""Cases of the layers in `layers/preprocessing/`."""

from __future__ import annotations

from layer_case import IMG, Case

CASES: dict[str, Case] = {
    "Rescaling": Case(lambda L: L.Rescaling(0.5, offset=0.25), IMG),
}
