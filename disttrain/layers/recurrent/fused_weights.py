"""Keras's weights as the fused kernels of torch take them."""

from __future__ import annotations

import torch
from torch import Tensor


def fused_weights(kernel: Tensor, recurrent_kernel: Tensor, biases: Tensor | tuple[Tensor, Tensor] | None) -> list[Tensor]:
    """`[w_ih, w_hh, b_ih, b_hh]` from kernels (inputs, width), whose transposes they are; a single bias has zeros beside it.

    On a GPU they are views of one buffer in cuDNN's order, which would otherwise copy them together itself and warn at every call.
    """
    weights = [kernel.t(), recurrent_kernel.t()]
    if isinstance(biases, Tensor):
        biases = (biases, torch.zeros_like(biases))
    weights += biases or ()
    if kernel.device.type != "cuda":
        return weights
    flat = torch.cat([weight.reshape(-1) for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(flat.split([w.numel() for w in weights]), weights, strict=True)]
