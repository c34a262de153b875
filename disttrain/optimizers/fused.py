"""torch's fused update kernels, which read and write each number once; and powers: what rounds otherwise at the end of a tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from disttrain.alignment import in_rounds

_UNSHARED = 16384  # elements: torch shares longer loops (its grain is 32,768) among threads, wherever those then begin and end


def fused(params: list[Tensor]) -> bool:
    """Can the fused kernels take these? They want floats of one dtype on one device."""
    first = params[0]
    if first.device.type not in ("cpu", "cuda") or not first.is_floating_point():
        return False
    return all(param.dtype == first.dtype and param.device == first.device for param in params[1:])


def in_whole_vectors(kernel: Callable[..., None], changed: list[Tensor], read: list[Tensor], *more_changed: list[Tensor]) -> None:
    """`kernel(changed, read, *more_changed)`, with the same bits for any arrangement of the same numbers.

    On CPUs some kernels round the last elements, those that fill no whole round of vectors, differently from all others. So tensors that
    end inside a round are laid side by side in one with zeros between, which is how the runtime hands them over in the first place.
    """
    lists = (changed, read, *more_changed)
    ragged = [place for place, tensor in enumerate(changed) if tensor.numel() != in_rounds(tensor.numel(), tensor.itemsize)]
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


def powers(tensors: list[Tensor], exponent: float) -> list[Tensor]:
    """Each number to the power of `exponent`, as new tensors, with the same bits for any arrangement and any number of threads."""
    if exponent == 0.5:
        return list(torch._foreach_sqrt(tensors))  # a function of each number alone, if not always the nearest one: MKL's on CPUs
    found = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
    in_whole_vectors(lambda results, bases: _powers(results, bases, exponent), found, tensors)
    return found


def _powers(results: list[Tensor], bases: list[Tensor], exponent: float) -> None:
    for result, base in zip(results, bases, strict=True):
        longest = _UNSHARED if torch.get_num_threads() > 1 else max(1, base.numel())
        for part, of in zip(result.view(-1).split(longest), base.reshape(-1).split(longest), strict=True):
            torch.pow(of, exponent, out=part)


def _side_by_side(tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """(a flat copy of all with zeros up to the end of each round, a view of it for each tensor)."""
    itemsize = tensors[0].itemsize
    sizes = [size for tensor in tensors for size in (tensor.numel(), in_rounds(tensor.numel(), itemsize) - tensor.numel())]
    flat = torch.zeros(sum(sizes), dtype=tensors[0].dtype)
    views = [view.view(tensor.shape) for view, tensor in zip(flat.split(sizes)[::2], tensors, strict=True)]
    torch._foreach_copy_(views, tensors)
    return flat, views
