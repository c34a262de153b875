"""What is to be known of a layer's output at a glance: spread, zeros, dead and saturated units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from disttrain.layers.activation.softmax import Softmax

_BINS = 40
_NEAREST, _FARTHEST = 1e-300, 1e300  # beyond them the bins of a histogram would have no width, or an infinite one
_NEAR = 0.01  # so close to its limit, as a share of its range, a unit is saturated
_LIMITS = {  # of activations: (lower, upper), None where being there is no saturation
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "relu6": (None, 6.0),
}


def summarize(values: np.ndarray, layer: Any = None) -> dict[str, Any]:
    """The statistics of an output without its batch axis, as JSON; of values that are infinite or not a number only the count.

    `dead_units` are channels of the last axis, of `units`, that are 0 at every place. `saturated_share` is the share of values near a
    limit of the layer's activation (tanh, sigmoid, hard_sigmoid, hard_tanh, relu6), of a softmax the share of places where one class
    has it all; null for other layers.
    """
    values = np.asarray(values)
    if getattr(layer, "data_format", None) == "channels_first" and values.ndim > 1:
        values = np.moveaxis(values, 0, -1)
    numbers = values.astype(np.float64).reshape(-1)
    finite = numbers[np.isfinite(numbers)].clip(-_FARTHEST, _FARTHEST)
    units = values.shape[-1] if values.ndim else 1
    columns = values.reshape(values.size // max(units, 1), units)
    found: dict[str, Any] = {"count": int(numbers.size), "not_finite": int(numbers.size - finite.size)}
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        scale = max(abs(low), abs(high)) or 1.0  # squares of float64's largest would be infinite
        counts, edges = np.histogram(finite, _BINS, _range(low, high))
        found |= {
            "mean": float((finite / scale).mean() * scale),
            "deviation": float((finite / scale).std() * scale),
            "minimum": low,
            "maximum": high,
            "zero_share": float((finite == 0).mean()),
        }
        histogram = {"edges": edges.tolist(), "counts": counts.tolist()}
    else:
        found |= dict.fromkeys(("mean", "deviation", "minimum", "maximum", "zero_share"))
        histogram = {"edges": [], "counts": []}
    return {
        **found,
        "dead_units": int((columns == 0).all(0).sum()) if columns.size else 0,
        "units": units,
        "saturated_share": _saturated(values, layer),
        "histogram": histogram,
    }


def _range(low: float, high: float) -> tuple[float, float]:
    """Where the histogram begins and ends: around a single value, or values too close for bins, a little to both sides."""
    far = max(abs(low), abs(high))
    if high - low > max(far * 1e-12, _NEAREST):
        return low, high
    room = far * 0.01 if far > _NEAREST else 0.5
    return low - room, high + room


def _saturated(values: np.ndarray, layer: Any) -> float | None:
    if layer is None or not values.size:
        return None
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if activation == "softmax" or isinstance(layer, Softmax):
        return float((values.max(-1) > 1 - _NEAR).mean()) if values.ndim else None
    if getattr(layer, "max_value", None) == 6:  # ReLU(max_value=6)
        activation = "relu6"
    if activation not in _LIMITS:
        return None
    lower, upper = _LIMITS[activation]
    assert upper is not None
    room = (upper - (lower or 0.0)) * _NEAR
    near = values >= upper - room
    if lower is not None:
        near = near | (values <= lower + room)
    share = float(near.mean())
    return share if math.isfinite(share) else None
