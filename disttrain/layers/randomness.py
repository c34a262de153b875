"""Where layers draw from: a function of the step, the slice and the layer, never a stream."""

from __future__ import annotations

from typing import Any

import torch

from disttrain.layers.context import current
from disttrain.seeds import fold_in


def generator(layer: Any, device: torch.device, seed: int | None = None) -> torch.Generator:
    """A generator for the next draw of `layer` in the running pass, for `torch.rand(..., generator=...)`.

    Inside a step it is seeded by (run's seed, step, virtual rank, layer, number of the draw); outside, from the process seed. `seed` sets
    a layer's draws apart from those of a layer with another one.
    """
    stream = layer._layer_id if seed is None else fold_in(layer._layer_id, seed)
    return current().generator(stream, device)
