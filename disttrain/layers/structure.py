"""Nested lists, tuples and mappings of tensors: what layers take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from disttrain.mappings import like_mapping


def flatten(structure: Any) -> list[Any]:
    """The leaves in order, mappings by sorted key; unlike data, None is a leaf here, since an argument may be None."""
    if type(structure) is Tensor:  # nearly always
        return [structure]
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    if isinstance(structure, list | tuple) and not isinstance(structure, PackedSequence):
        return [leaf for item in structure for leaf in flatten(item)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure with `function` applied to each leaf, in the order of `flatten`."""
    if type(structure) is Tensor:  # nearly always
        return function(structure)
    if isinstance(structure, Mapping):
        mapped = {key: map_structure(function, structure[key]) for key in sorted(structure)}
        return like_mapping(structure, {key: mapped[key] for key in structure})
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        if isinstance(structure, PackedSequence):
            return function(structure)
        return type(structure)(*(map_structure(function, item) for item in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_structure(function, item) for item in structure)
    return function(structure)


def pack_like(structure: Any, leaves: list[Any]) -> Any:
    """The inverse of `flatten`: `leaves` in the form of `structure`."""
    left: Iterator[Any] = iter(leaves)
    return map_structure(lambda _: next(left), structure)


def is_shape(value: Any) -> bool:
    """Is this a shape such as `(None, 3)`, rather than a structure of shapes?"""
    return isinstance(value, list | tuple) and all(size is None or isinstance(size, int) for size in value)


def map_shapes(function: Callable[[Any], Any], structure: Any) -> Any:
    """`function` applied to each shape of a structure of shapes."""
    if is_shape(structure):
        return function(tuple(structure))
    if isinstance(structure, Mapping):
        return {key: map_shapes(function, structure[key]) for key in structure}
    items = [map_shapes(function, item) for item in structure]
    return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
