"""Nested structures of arrays: mappings, lists, tuples and named tuples, as Keras and torch pass them around."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from disttrain.mappings import like_mapping


def flatten(structure: Any) -> list[Any]:
    """The leaves, in order; mappings by sorted key, as Keras does. None is a leaf that is left out, a `PackedSequence` is one leaf."""
    if structure is None:
        return []
    if type(structure) is Tensor:  # nearly always
        return [structure]
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    if isinstance(structure, list | tuple) and not isinstance(structure, PackedSequence):
        return [leaf for item in structure for leaf in flatten(item)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure with `function` applied to each leaf; None stays None."""
    if structure is None:
        return None
    if type(structure) is Tensor:
        return function(structure)
    if isinstance(structure, Mapping):
        return like_mapping(structure, {key: map_structure(function, structure[key]) for key in structure})
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        if isinstance(structure, PackedSequence):
            return function(structure)
        return type(structure)(*(map_structure(function, item) for item in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_structure(function, item) for item in structure)
    return function(structure)


def leaf_paths(structure: Any, root: str) -> list[tuple[str, Any]]:
    """Each leaf with the path a person would type, such as `x["image"]` or `y[0]`."""
    if structure is None:
        return []
    if isinstance(structure, Mapping):
        return [pair for key in sorted(structure) for pair in leaf_paths(structure[key], f"{root}[{key!r}]")]
    if isinstance(structure, list | tuple) and not isinstance(structure, PackedSequence):
        return [pair for i, item in enumerate(structure) for pair in leaf_paths(item, f"{root}[{i}]")]
    return [(root, structure)]


def tensor_paths(structure: Any, root: str) -> list[tuple[str, Any]]:
    """`leaf_paths` with the parts of a `PackedSequence` in its place."""
    found = []
    for path, leaf in leaf_paths(structure, root):
        parts = zip(leaf._fields, leaf, strict=True) if isinstance(leaf, PackedSequence) else ()
        found += [(f"{path}.{name}", part) for name, part in parts if part is not None] or [(path, leaf)]
    return found


# -- leaves that are tensors, or sequences packed into one ---------------------------------------------------------------------------------


def rows_in(structure: Any) -> int:
    """How many samples the leaves of a batch hold; those without an axis, such as a length that all share, do not count."""
    for leaf in flatten(structure):
        if isinstance(leaf, PackedSequence):
            return int(leaf.batch_sizes[0])
        if len(leaf.shape):
            return int(leaf.shape[0])
    return 0


def take_rows(structure: Any, rows: Tensor) -> Any:
    """The samples of those numbers of a batch."""

    def taken(leaf: Any) -> Any:
        if isinstance(leaf, PackedSequence):
            padded, lengths = pad_packed_sequence(leaf)
            return pack_padded_sequence(padded.index_select(1, rows), lengths.index_select(0, rows.cpu()), enforce_sorted=False)
        return leaf.index_select(0, rows) if leaf.ndim else leaf

    return map_structure(taken, structure)


def joined(batches: Sequence[Any]) -> Any:
    """The samples of several batches of one structure, one after the other."""
    first = batches[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return like_mapping(first, {key: joined([batch[key] for batch in batches]) for key in first})
    if isinstance(first, list | tuple) and not isinstance(first, PackedSequence):
        items = [joined(column) for column in zip(*batches, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    return _joined_leaves(batches)


def _joined_leaves(leaves: Sequence[Any]) -> Any:
    first = leaves[0]
    if not isinstance(first, PackedSequence):
        return torch.cat(list(leaves)) if first.ndim else first
    rows = [pad_packed_sequence(leaf) for leaf in leaves]
    sequences = [padded[: int(length), n] for padded, lengths in rows for n, length in enumerate(lengths)]
    return torch.nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
