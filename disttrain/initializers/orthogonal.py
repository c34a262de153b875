"""Orthogonal matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.initializers.initializer import RandomInitializer, drawn_dtype


class Orthogonal(RandomInitializer):
    """An orthogonal matrix, times `gain` (Saxe et al. 2014); more axes are flattened to `(prod(shape[:-1]), shape[-1])`.

    Args:
        gain: the length of each row, or column, whichever are fewer.
        seed: see `RandomInitializer`.

    Example:
        >>> q = Orthogonal(seed=1)((2, 3))
        >>> torch.allclose(q @ q.t(), torch.eye(2), atol=1e-6)
        True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal()(shape={tuple(shape)}): expected two axes or more.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = torch.linalg.qr(self._normal((max(rows, columns), min(rows, columns)), 0.0, 1.0, drawn_dtype(dtype)))
        q = q * r.diagonal().sign()  # the signs of QR are arbitrary; these make the draw uniform over orthogonal matrices
        q = q.t() if rows < columns else q
        values: Tensor = self.gain * q
        return values.reshape(tuple(shape)).to(dtype).contiguous()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}
