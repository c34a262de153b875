"""Cases of the layers in `layers/merging/`."""

from __future__ import annotations

from layer_case import INTS, SEQ, VEC, VOL, Case

BACKWARDS = SEQ[:, ::-1].copy()

CASES: dict[str, Case] = {
    "Add": Case(lambda L: L.Add(), [VEC, VEC, VEC[:, :1]]),
    "Add, fewer axes": Case(lambda L: L.Add(), [SEQ[:, 0], SEQ]),
    "Add, integers": Case(lambda L: L.Add(), [INTS, INTS]),
    "Average": Case(lambda L: L.Average(), [SEQ, BACKWARDS, 2 * SEQ]),
    "Concatenate": Case(lambda L: L.Concatenate(1), [SEQ, SEQ]),
    "Concatenate, last axis": Case(lambda L: L.Concatenate(), [VOL, VOL[..., :1]]),
    "Dot": Case(lambda L: L.Dot(axes=(1, 2)), [SEQ, SEQ.swapaxes(1, 2).copy()]),
    "Dot, of vectors": Case(lambda L: L.Dot(1, normalize=True), [VEC, VEC + 1]),
    "Dot, of more axes": Case(lambda L: L.Dot((3, -1), normalize=True), [VOL, VOL[:, 0, :3, :, 0]]),
    "Maximum": Case(lambda L: L.Maximum(), [SEQ, BACKWARDS, 2 * SEQ]),
    "Minimum": Case(lambda L: L.Minimum(), [SEQ, BACKWARDS, 2 * SEQ]),
    "Multiply": Case(lambda L: L.Multiply(), [SEQ, BACKWARDS, SEQ[:, :1]]),
    "Subtract": Case(lambda L: L.Subtract(), [SEQ, BACKWARDS]),
}
