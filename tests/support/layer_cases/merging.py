"""Cases of the layers in `layers/merging/`."""

from __future__ import annotations

from layer_case import SEQ, VEC, Case

CASES: dict[str, Case] = {
    "Add": Case(lambda L: L.Add(), [VEC, VEC, VEC[:, :1]]),
    "Concatenate": Case(lambda L: L.Concatenate(1), [SEQ, SEQ]),
}
