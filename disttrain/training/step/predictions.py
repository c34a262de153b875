"""The outputs of `predict`: what the slices of its steps gave, joined."""

from __future__ import annotations

from typing import Any

import numpy as np

from disttrain.data.structure import map_structure


def join_predictions(parts: dict[int, Any]) -> Any:
    """The slices' outputs, by (step, virtual rank), as one structure of arrays."""
    if not parts:
        return None
    ordered = [parts[number] for number in sorted(parts)]
    if isinstance(ordered[0], np.ndarray):
        return ordered[0] if len(ordered) == 1 else np.concatenate(ordered)
    leaves: list[list[Any]] = [[] for _ in ordered]
    for collected, part in zip(leaves, ordered, strict=True):
        map_structure(collected.append, part)
    joined = iter([np.concatenate(column) for column in zip(*leaves, strict=True)])
    return map_structure(lambda _: next(joined), ordered[0])


def outputs_of_step(parts: dict[int, Any], step: int, virtual_workers: int) -> Any:
    """The outputs of one step of `predict`, those of its slices joined."""
    first = step * virtual_workers
    return join_predictions({number: parts[number] for number in range(first, first + virtual_workers) if number in parts})
