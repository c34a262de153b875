"""What the pictures looked like that a model was trained on: whoever shows it another one has to give it alike.

A note in plain numbers. It stands at the model, and in the metadata of a `.keras` file, where Keras does not look.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from disttrain.data import ArraySource, flatten
from disttrain.text import is_text

KEY = "disttrain_pictures"
_ROWS = 16
_OFF_CENTRE = 0.08  # of a side: how far the centre of mass of a digit of MNIST lies from the middle, at most


def note_of(source: Any, example: Any) -> dict[str, Any] | None:
    """The note of some samples: of a few all over arrays in memory, else of those that were fetched already.

    Args:
        source: of the training data.
        example: inputs with a batch axis, a tensor or tensors by name or in a row.
    """
    pictures = _pictures(example)
    if pictures is not None and isinstance(source, ArraySource) and len(source):
        pictures = _pictures(source.fetch(np.unique(np.linspace(0, len(source) - 1, _ROWS).astype(np.int64)), 0)[0])
    if pictures is None:
        return None
    values = pictures.detach().cpu().double().numpy()
    return None if not np.isfinite(values).all() else describe(values, whole=not pictures.is_floating_point())


def describe(values: np.ndarray, *, whole: bool) -> dict[str, Any]:
    """The note of pictures (samples, ...): `least` and `most` of their values, `whole` numbers by dtype, and whether they lie `centred`
    on black as MNIST's digits do."""
    return {"least": float(values.min()), "most": float(values.max()), "whole": whole, "centred": _centred(values)}


def checked(note: Any) -> dict[str, Any] | None:
    """A note from a file, if it is one."""
    if not isinstance(note, dict) or set(note) != {"least", "most", "whole", "centred"}:
        return None
    numbers = note["least"], note["most"]
    sound = all(isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number) for number in numbers)
    return note if sound and isinstance(note["whole"], bool) and isinstance(note["centred"], bool) else None


def _pictures(x: Any) -> Tensor | None:
    """The one input that is pictures; of several nobody can say which one a picture goes into."""
    leaves = [leaf for leaf in flatten(x) if isinstance(leaf, Tensor)]
    found = [leaf for leaf in leaves if leaf.ndim in (3, 4) and leaf.numel() and not leaf.is_complex() and not is_text(leaf)]
    return found[0] if len(found) == 1 else None


def _centred(values: np.ndarray) -> bool:
    """Does each picture lie on a black border, its centre of mass in the middle?"""
    values = values.reshape(values.shape[0], *(size for size in values.shape[1:] if size != 1))
    if values.ndim != 3 or values.shape[1] != values.shape[2] or not 8 <= values.shape[1] <= 64:
        return False
    side, masses = values.shape[1], values - values.min()
    border = np.concatenate([masses[:, 0], masses[:, -1], masses[:, :, 0], masses[:, :, -1]], axis=1)
    weights = masses.sum(axis=(1, 2))
    if border.any() or not weights.all():
        return False
    places = np.arange(side) - (side - 1) / 2
    off = np.stack([masses.sum(axis=2) @ places, masses.sum(axis=1) @ places]) / weights
    return bool(np.abs(off).max() <= _OFF_CENTRE * side)
