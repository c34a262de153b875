"""Nested structures of arrays: dicts, lists and tuples, as Keras passes them around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def flatten(structure: Any) -> list[Any]:
    """The leaves, in order; dicts by sorted key, as Keras does. None is a leaf that is left out."""
    if structure is None:
        return []
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for item in structure for leaf in flatten(item)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure with `function` applied to each leaf; None stays None."""
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {key: map_structure(function, structure[key]) for key in structure}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_structure(function, item) for item in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_structure(function, item) for item in structure)
    return function(structure)


def leaf_paths(structure: Any, root: str) -> list[tuple[str, Any]]:
    """Each leaf with the path a person would type, such as `x["image"]` or `y[0]`."""
    if structure is None:
        return []
    if isinstance(structure, dict):
        return [pair for key in sorted(structure) for pair in leaf_paths(structure[key], f"{root}[{key!r}]")]
    if isinstance(structure, list | tuple):
        return [pair for i, item in enumerate(structure) for pair in leaf_paths(item, f"{root}[{i}]")]
    return [(root, structure)]
