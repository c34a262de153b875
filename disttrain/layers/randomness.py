"""What layers draw: a function of the step, the slice and the layer, never a stream; the same bits on every device.

The key of a draw is made of (run's seed, step, virtual rank, layer, number of the draw) inside a step, outside of the process seed. `seed`
sets a layer's draws apart from those of a layer with another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import philox
from disttrain.layers.context import current
from disttrain.seeds import fold_in

# Each word of 64 bits is cut into as many numbers as hold a rate exactly; 0.1, which no binary number holds, is right to 2**-33.
_LANES = ((torch.int8, 8), (torch.int16, 16), (torch.int32, 32))


def kept(
    layer: Any, sizes: Sequence[int], rate: float, dtype: torch.dtype, device: torch.device | None, seed: int | None = None
) -> Tensor:  # fmt: skip
    """A mask of 0, a share `rate` below 1, and 1."""
    shape, count = tuple(sizes), math.prod(sizes)
    lane, bits = next(((lane, bits) for lane, bits in _LANES if (rate * 2.0**bits).is_integer()), _LANES[-1])
    drawn = current().draw(_stream(layer, seed), philox.words, -(-count * bits // 64), device)
    least = min(round(rate * 2.0**bits), 2**bits - 1) - 2 ** (bits - 1)
    mask = torch.empty(shape, dtype=dtype, device=device)
    return torch.ge(drawn.view(lane)[:count].view(shape), least, out=mask)


def uniform(layer: Any, sizes: Sequence[int], device: torch.device | None, seed: int | None = None) -> Tensor:
    """Numbers from 0 to below 1, float32."""
    return current().draw(_stream(layer, seed), philox.uniform, sizes, device)


def normal(layer: Any, sizes: Sequence[int], dtype: torch.dtype, device: torch.device | None, seed: int | None = None) -> Tensor:
    """Standard normal numbers; those drawn on a CPU are not those of other devices."""
    return current().draw(_stream(layer, seed), philox.normal, sizes, device, dtype)


def _stream(layer: Any, seed: int | None) -> int:
    return int(layer._layer_id) if seed is None else fold_in(layer._layer_id, seed)
