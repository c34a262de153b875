"""What a model says of an input: the likeliest classes, or the largest values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_CLOSE = 4e-3  # by how much rows of probabilities in halves may miss 1


def top(
    outputs: Sequence[np.ndarray], classes: Sequence[str] | None, top: int = 5, names: Sequence[str] | None = None,
    truth: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each output, its `top` entries by falling value, as JSON.

    Args:
        outputs: without the batch axis, such as `Recording.results`.
        classes: what the units of the last axis are called; for outputs with as many units, else numbers stand for names.
        top: how many entries, at most.
        names: of the outputs.
        truth: the class that the input is known to have: it is marked, and shown after the likeliest where it is not among them.

    An output is of "classes" where its last axis has several units that sum to 1, none of them negative: then of (steps, classes) the
    last step is taken, of more axes the mean over all places. Others are "values", flat, such as one sigmoid unit. A value that is
    infinite or not a number is null and comes last.
    """
    found = []
    for number, output in enumerate(outputs):
        values = np.asarray(output, dtype=np.float64)
        is_classes = _are_probabilities(values)
        shown = values
        if is_classes and values.ndim == 2:
            shown = values[-1]
        elif is_classes and values.ndim > 2:
            shown = values.reshape(-1, values.shape[-1]).mean(0)
        flat = shown.reshape(-1)
        order = np.argsort(-np.where(np.isfinite(flat), flat, -np.inf), kind="stable")[: max(top, 0)]
        known = truth if is_classes and len(outputs) == 1 and truth is not None and 0 <= truth < flat.size else None
        if known is not None and known not in order and top > 0:
            order = np.append(order, known)
        entries = [
            {
                "index": int(index),
                "label": _label(int(index), shown.shape, classes),
                "value": float(flat[index]) if np.isfinite(flat[index]) else None,
                **({"truth": True} if index == known else {}),
            }
            for index in order
        ]
        name = names[number] if names is not None and number < len(names) else f"output {number + 1}"
        found.append({"name": name, "kind": "classes" if is_classes else "values", "entries": entries, "shape": list(values.shape)})
    return found


def _are_probabilities(values: np.ndarray) -> bool:
    if values.ndim < 1 or values.shape[-1] < 2 or not values.size:
        return False
    return bool(np.isfinite(values).all() and (values >= 0).all() and (abs(values.sum(-1) - 1) < _CLOSE).all())


def _label(index: int, shape: tuple[int, ...], classes: Sequence[str] | None) -> str:
    unit = np.unravel_index(index, shape) if shape else (0,)
    name = str(classes[int(unit[-1])]) if classes is not None and shape and len(classes) == shape[-1] else None
    before = ", ".join(str(int(place)) for place in unit[:-1])
    if name is not None:
        return f"{name} at {before}" if before else name
    return f"{before}, {int(unit[-1])}" if before else str(int(unit[-1]))
