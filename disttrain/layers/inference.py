"""Output shapes of any callable, found by running it on zeros of two batch sizes.

Fake tensors would compute nothing, but torch imports over a second of symbolic algebra for the first one; a few samples cost less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from disttrain import text
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.dtypes import DTYPES, dtype_name
from disttrain.layers.structure import flatten, map_structure, pack_like
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.layers.weight_budget import reads_a_file

# What stands for None in the two runs: (as the batch, elsewhere). A size that differs between them is not known. Elsewhere, large
# enough for a stack of convolutions to fit, and prime, so that no product looks like another.
_STAND_INS = ((2, 83), (3, 89))


def infer(function: Callable[..., Any], args: Any, kwargs: Any, described: str, device: torch.device | None = None) -> Any:
    """What `function(*args, **kwargs)` gives, as symbolic tensors; `described` names the function in errors.

    Raises:
        ValueError: the function failed on zeros, or gives something that is not a tensor.
    """
    first, second = (_run(function, args, kwargs, sizes, described, device) for sizes in _STAND_INS)
    leaves = []
    for one, two in zip(flatten(first), flatten(second), strict=True):
        if not isinstance(one, Tensor):
            raise ValueError(f"{described} gave {one!r}: expected tensors, or lists, tuples and dicts of them.")
        shape = tuple(a if a == b else None for a, b in zip(one.shape, two.shape, strict=True))
        leaves.append(SymbolicTensor(shape[:-1], text.NAME) if text.is_text(one) else SymbolicTensor(shape, dtype_name(one.dtype)))
    return pack_like(first, leaves)


MAX_NUMBERS = 1 << 26  # of all inputs together, while a file is read


def stand_in_shape(shape: Sequence[int | None], sizes: tuple[int, int] = _STAND_INS[-1]) -> tuple[int, ...]:
    """`shape` with numbers for what is not known."""
    return tuple(known if known is not None else sizes[min(axis, 1)] for axis, known in enumerate(shape))


def _run(
    function: Callable[..., Any], args: Any, kwargs: Any, sizes: tuple[int, int], described: str, device: torch.device | None
) -> Any:  # fmt: skip
    if reads_a_file():
        leaves = [leaf for leaf in flatten([list(args), dict(kwargs)]) if isinstance(leaf, SymbolicTensor)]
        if sum(math.prod(stand_in_shape(leaf.shape, sizes)) for leaf in leaves) > MAX_NUMBERS:
            raise ValueError(
                f"{described} is called on tensors of shapes {[leaf.shape for leaf in leaves]}, which no model of a file needs."
            )

    def zeros(value: Any) -> Any:
        if not isinstance(value, SymbolicTensor):
            return value
        if value.dtype == text.NAME:
            return torch.zeros((*stand_in_shape(value.shape, sizes), 1), dtype=text.TEXT, device=device)  # empty strings
        return torch.zeros(stand_in_shape(value.shape, sizes), dtype=DTYPES[value.dtype], device=device)

    given = map_structure(zeros, list(args)), map_structure(zeros, dict(kwargs))
    try:
        with _states_kept(getattr(function, "__self__", function)):
            return _call(function, given)
    except Exception as error:
        raise ValueError(
            f"the output shape of {described} could not be inferred: {type(error).__name__}: {error}\n"
            "  try  define compute_output_shape(self, input_shape), or check the shapes that enter it"
        ) from error


@contextmanager
def _states_kept(module: Any) -> Iterator[None]:
    """What the states of a layer are changed to by zeros is undone."""
    buffers = [b for inner in module.modules() for b in inner.buffers(recurse=False)] if isinstance(module, nn.Module) else []
    before = [(buffer, buffer._version, buffer.clone()) for buffer in buffers if not buffer.is_inference()]
    try:
        yield
    finally:
        for buffer, version, values in before:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(values)


def _call(function: Callable[..., Any], given: Any) -> Any:
    with torch.no_grad(), call_context(CallContext(training=False)):
        try:
            return function(*given[0], **given[1])
        except Exception:
            if not _give_masks(function, given[0]):
                raise
            with call_context(CallContext(training=False)) as context:
                context.masked = True
                return function(*given[0], **given[1])


def _give_masks(function: Any, args: list[Any]) -> bool:
    """A layer may insist on a mask, which symbolic tensors have not: let every input have one, if the layer takes any."""
    if not getattr(getattr(function, "_signature", None), "masks", ()):
        return False
    tensors = [leaf for leaf in flatten(args) if isinstance(leaf, Tensor) and leaf.ndim > 1]
    for tensor in tensors:
        tensor._keras_mask = torch.ones(tensor.shape[:2], dtype=torch.bool, device=tensor.device)  # type: ignore[attr-defined]
    return bool(tensors)
