"""What is done to the values of a picture, 0 to 255, so that a model gets them as in its training, in numbers and in words.

A model with a Rescaling or Normalization layer of its own takes them as they are. Else what a person says holds, else what the run's
samples, or the model's note of its training, tell. Where nobody knows they are taken as they are, as by `predict`, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from disttrain.models.trained_pictures import describe

_WITHIN = 1.001  # of 1, for values that rounding has moved
_MOST_OF_A_UNIT = 8.0  # pictures with larger values are not scaled


@dataclass(frozen=True, slots=True)
class PictureRange:
    """Values times `factor` plus `offset`; `words` for people; `refused`: why it cannot be done."""

    factor: float
    offset: float
    words: str
    refused: str | None = None


def note_of_samples(samples: Mapping[str, np.ndarray] | None) -> dict[str, Any] | None:
    """The note of a run's samples, if they are pictures."""
    images = [array for array in (samples or {}).values() if array.ndim in (3, 4) and array.size and array.dtype.kind in "biuf"]
    if len(images) != 1 or not np.isfinite(images[0]).all():
        return None
    return describe(images[0].astype(np.float64), whole=images[0].dtype.kind != "f")


def range_of(
    note: Mapping[str, Any] | None, *, rescale: float | None, mean: np.ndarray | None, std: np.ndarray | None, scales_itself: bool
) -> PictureRange:
    """What is done to values from 0 to 255 before `mean` is subtracted and `std` divided by."""
    then = ", less mean=, by std=" if mean is not None or std is not None else ""
    if rescale is not None:
        return PictureRange(float(rescale), 0.0, f"values 0 to 255 times {rescale:g}, as rescale= says{then}")
    if scales_itself:
        return PictureRange(1.0, 0.0, f"values 0 to 255 as they are, the model scales them itself{then}")
    if mean is not None or std is not None:
        if max(float(np.max(part)) for part in (mean, std) if part is not None) > _WITHIN:
            return PictureRange(1.0, 0.0, f"values 0 to 255{then}")
        return PictureRange(1.0 / 255.0, 0.0, f"values 0 to 1{then}")
    if note is None:
        return PictureRange(1.0, 0.0, "values 0 to 255 as they are, as by predict; for a model of 0 to 1 launch with rescale=1/255")
    least, most = note["least"], note["most"]
    if note["whole"] or (least >= 0.0 and most > _MOST_OF_A_UNIT):
        return PictureRange(1.0, 0.0, "values 0 to 255 as they are, as in the training")
    if least >= 0.0 and most <= _WITHIN:
        return PictureRange(1.0 / 255.0, 0.0, "values 0 to 1, as in the training")
    if -_WITHIN <= least < 0.0 and most <= _WITHIN:
        return PictureRange(1.0 / 127.5, -1.0, "values -1 to 1, as in the training")
    found = f"the model was trained on values from {least:.3g} to {most:.3g}"
    why = f"{found}, and what makes them of 0 to 255 it does not tell: launch with mean= and std=, rescale= or preprocess="
    return PictureRange(1.0, 0.0, "not taken: launch with mean= and std=, rescale= or preprocess=", why)
