"""torch's fused update kernels: they read and write each number once, where plain operations go over memory again and again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BORDER = 64  # bytes: a multiple of every vector register, and the border on which the runtime lays variables side by side


def fused(params: list[Tensor]) -> bool:
    """Can the fused kernels take these? They want floats of one dtype on one device."""
    first = params[0]
    if first.device.type not in ("cpu", "cuda") or not first.is_floating_point():
        return False
    return all(param.dtype == first.dtype and param.device == first.device for param in params[1:])


def in_whole_vectors(kernel: Callable[..., None], changed: list[Tensor], read: list[Tensor], *more_changed: list[Tensor]) -> None:
    """`kernel(changed, read, *more_changed)`, with the same bits for any arrangement of the same numbers.

    On CPUs some kernels round the last elements, those that fill no whole vector, differently from all others. So tensors that end
    inside a vector are laid side by side in one with zeros between, which is how the runtime hands them over in the first place.
    """
    lists = (changed, read, *more_changed)
    ragged = [place for place, tensor in enumerate(changed) if tensor.numel() * tensor.itemsize % _BORDER]
    if not ragged or changed[0].device.type != "cpu":
        kernel(*lists)
        return
    whole = sorted(set(range(len(changed))) - set(ragged))
    if whole:
        kernel(*([tensors[place] for place in whole] for tensors in lists))
    own = [[tensors[place] for place in ragged] for tensors in lists]
    padded = [_side_by_side(tensors) for tensors in own]
    kernel(*([flat] for flat, _ in padded))
    for number, (tensors, (_, views)) in enumerate(zip(own, padded, strict=True)):
        if number != 1:
            torch._foreach_copy_(tensors, views)


def _side_by_side(tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """(a flat copy of all with zeros up to each border, a view of it for each tensor)."""
    per_border = _BORDER // tensors[0].itemsize
    sizes = [size for tensor in tensors for size in (tensor.numel(), -tensor.numel() % per_border)]
    flat = torch.zeros(sum(sizes), dtype=tensors[0].dtype)
    views = [view.view(tensor.shape) for view, tensor in zip(flat.split(sizes)[::2], tensors, strict=True)]
    torch._foreach_copy_(views, tensors)
    return flat, views
