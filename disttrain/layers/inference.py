"""Output shapes of any callable, found by running it on tensors that have a shape and no values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from disttrain.layers.context import CallContext, call_context
from disttrain.layers.dtypes import DTYPES, dtype_name
from disttrain.layers.structure import flatten, map_structure, pack_like
from disttrain.layers.symbolic import SymbolicTensor

# Two runs with these in place of None: a size that differs between them is not known. Primes, so no product looks like another.
_STAND_INS = (83, 89)


def infer(function: Callable[..., Any], args: Any, kwargs: Any, described: str) -> Any:
    """What `function(*args, **kwargs)` gives, as symbolic tensors; `described` names the function in errors.

    Raises:
        ValueError: the function failed on such tensors, or gives something that is not a tensor.
    """
    first, second = (_run(function, args, kwargs, size, described) for size in _STAND_INS)
    leaves = []
    for one, two in zip(flatten(first), flatten(second), strict=True):
        if not isinstance(one, Tensor):
            raise ValueError(f"{described} gave {one!r}: expected tensors, or lists, tuples and dicts of them.")
        shape = tuple(a if a == b else None for a, b in zip(one.shape, two.shape, strict=True))
        leaves.append(SymbolicTensor(shape, dtype_name(one.dtype)))
    return pack_like(first, leaves)


def _run(function: Callable[..., Any], args: Any, kwargs: Any, size: int, described: str) -> Any:
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def fake(value: Any) -> Any:
        if not isinstance(value, SymbolicTensor):
            return value
        with mode:
            return torch.empty([size if known is None else known for known in value.shape], dtype=DTYPES[value.dtype])

    given = map_structure(fake, list(args)), map_structure(fake, dict(kwargs))
    try:
        with mode, torch.no_grad(), call_context(CallContext(training=False)):
            return function(*given[0], **given[1])
    except Exception as error:
        raise ValueError(
            f"the output shape of {described} could not be inferred: {type(error).__name__}: {error}\n"
            "  try  define compute_output_shape(self, input_shape), or check the shapes that enter it"
        ) from error
