"""Who may attend to whom: bool tensors of shape (batch, queries, keys), True where a query may attend to a key."""

from __future__ import annotations

import torch
from torch import Tensor


def combined(
    query: Tensor,
    value: Tensor,
    query_mask: Tensor | None,
    value_mask: Tensor | None,
    key_mask: Tensor | None,
    attention_mask: Tensor | None,
    causal: bool,
    sliding_window: int | None,
) -> Tensor | None:
    """All masks in one, which must all allow a pair; None where nothing forbids any.

    Args:
        query, value: `(batch, steps, ...)`, for their lengths.
        query_mask: `(batch, queries)`; value_mask, key_mask: `(batch, keys)`; attention_mask: `(batch, queries, keys)` or what broadcasts.
        causal: a query sees keys up to its own place.
        sliding_window: a query sees keys less than so many steps away.
    """
    masks = [] if attention_mask is None else [attention_mask.to(torch.bool)]
    if query_mask is not None:
        masks.append(query_mask.to(torch.bool).unsqueeze(-1))
    masks += [mask.to(torch.bool).unsqueeze(-2) for mask in (value_mask, key_mask) if mask is not None]
    if causal:
        masks.append(causal_mask(query.shape[1], value.shape[1], query.device))
    if sliding_window is not None:
        masks.append(band_mask(query.shape[1], value.shape[1], sliding_window, query.device))
    result: Tensor | None = None
    for mask in masks:
        result = mask if result is None else result & mask
    return result


def check(described: str, query: Tensor, value: Tensor, **given: Tensor | None) -> None:
    """Refuse masks, by the names of their arguments, that do not fit `query` and `value`; size 1 broadcasts in an attention_mask alone.

    Raises:
        ValueError: a mask of another shape.
    """
    for name, mask in given.items():
        if mask is None:
            continue
        if name == "attention_mask":
            shape = tuple(mask.shape)
            expected: tuple[int, ...] = (query.shape[0], query.shape[1], value.shape[1])
            fits = 2 <= len(shape) <= 4 and all(
                size in (1, wanted) for size, wanted in zip((shape[0], *shape[-2:])[-len(shape) :], expected[-len(shape) :], strict=False)
            )
            axes = "(batch, queries, keys)"
        else:
            side = query if name == "query_mask" else value
            expected = (side.shape[0], side.shape[1])
            fits, axes = tuple(mask.shape[:2]) == expected, "(batch, steps)"
        if not fits:
            raise ValueError(f"{described}: {name} has shape {tuple(mask.shape)}, expected {axes}, here {expected}.")


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """`(1, queries, keys)`: query `i` sees keys 0 to `i`."""
    return torch.ones(1, queries, keys, dtype=torch.bool, device=device).tril()


def band_mask(queries: int, keys: int, width: int, device: torch.device) -> Tensor:
    """`(1, queries, keys)`: query `i` sees keys `i - width + 1` to `i + width - 1`."""
    return causal_mask(queries, keys, device).new_ones(1, queries, keys).tril(width - 1).triu(1 - width)


def additive(mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(what is added to scores: 0 where `mask` is True, else a number so low that a score beside it is lost; which queries see anything).

    The scores of a query that may see nothing are left alone: kernels that compute the softmax anew in the backward pass lose the logarithm
    of its sum beside so low a number, and give wrong gradients.
    """
    sees = mask.any(-1, keepdim=True)
    lowest = 65500.0 if dtype is torch.float16 else 3.38953e38
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(sees & ~mask, -0.7 * lowest), sees
