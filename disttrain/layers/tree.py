"""Nested lists, tuples and dicts, with the functions of `keras.tree`. Dicts are walked in the order of their keys."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

_MISMATCH = "the structures do not have the same nested structure"


class MAP_TO_NONE:
    """What a function of `traverse` gives for None in the place of a part."""


def is_nested(structure: Any) -> bool:
    """Is it a list, a tuple or a dict?"""
    return isinstance(structure, list | tuple | dict)


def flatten(structure: Any) -> list[Any]:
    """The leaves in order. None is one."""
    return [leaf for _, leaf in flatten_with_path(structure)]


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """(path, leaf) for each leaf in order; a path holds indices and keys."""
    if not is_nested(structure):
        return [((), structure)]
    found = []
    for key, child in _children(structure):
        found += [((key, *path), leaf) for path, leaf in flatten_with_path(child)]
    return found


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """The same structure with `func` of the leaves of all structures; without `none_is_leaf` None stays None.

    Raises:
        ValueError: the structures differ, or none was given.
    """
    if not callable(func):
        raise TypeError(f"map_structure: func is {func!r}, expected a function.")
    if not structures:
        raise ValueError("map_structure: expected at least one structure.")
    first = structures[0]
    if not is_nested(first):
        if any(is_nested(other) for other in structures[1:]):
            raise ValueError(f"map_structure: {_MISMATCH}.")
        if not none_is_leaf and first is None:
            if any(other is not None for other in structures):
                raise ValueError(f"map_structure: {_MISMATCH}: some are None, others are not.")
            return None
        return func(*structures)
    for other in structures[1:]:
        _same_kind(first, other)
    parts = [[child for _, child in _children(structure)] for structure in structures]
    return _like(first, [map_structure(func, *children, none_is_leaf=none_is_leaf) for children in zip(*parts, strict=True)])


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """The structure of `shallow_structure` with `func` of what the others have in the places of its leaves.

    Raises:
        ValueError: one is not as deep.
    """
    if not structures:
        raise ValueError("map_structure_up_to: expected at least one structure.")
    if not is_nested(shallow_structure):
        return func(*structures)
    for other in structures:
        _same_kind(shallow_structure, other)
    parts = [[child for _, child in _children(structure)] for structure in (shallow_structure, *structures)]
    return _like(shallow_structure, [map_structure_up_to(shallow, func, *rest) for shallow, *rest in zip(*parts, strict=True)])


def assert_same_structure(a: Any, b: Any) -> None:
    """Raise ValueError unless both have the same nesting."""
    if is_nested(a) != is_nested(b):
        raise ValueError(f"assert_same_structure: {_MISMATCH}: {a!r} and {b!r}.")
    if is_nested(a):
        _same_kind(a, b)
        for (_, one), (_, two) in zip(_children(a), _children(b), strict=True):
            assert_same_structure(one, two)


def assert_same_paths(a: Any, b: Any) -> None:
    """Raise ValueError unless both have the same paths, whatever the kinds of their lists."""
    one, two = ({path for path, _ in flatten_with_path(structure)} for structure in (a, b))
    if one != two:
        raise ValueError(f"assert_same_paths: `a` and `b` don't have the same paths: only in a {one - two}, only in b {two - one}.")


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """The inverse of `flatten`: the items of `flat_sequence` in the form of `structure`.

    Raises:
        ValueError: too few or too many.
    """
    if not isinstance(flat_sequence, list | tuple):
        raise TypeError(f"pack_sequence_as: flat_sequence is a {type(flat_sequence).__name__}, expected a list.")
    leaves, wanted = list(flat_sequence), len(flatten(structure))
    if len(leaves) != wanted:
        raise ValueError(f"pack_sequence_as: got {len(leaves)} items, expected {wanted}.")
    return _packed(structure, iter(leaves))


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Call `func` with each part, whole before its children, or after them; what it gives that is not None takes the part's place.

    `MAP_TO_NONE` puts None there. Children of a part that is replaced on the way down are not visited.
    """
    if not callable(func):
        raise TypeError(f"traverse: func is {func!r}, expected a function.")

    def below() -> Any:
        if not is_nested(structure):
            return structure
        return _like(structure, [traverse(func, child, top_down) for _, child in _children(structure)])

    whole = structure if top_down else below()
    found = func(whole)
    if found is None:
        return below() if top_down else whole
    return None if found is MAP_TO_NONE else found


def lists_to_tuples(structure: Any) -> Any:
    """The same with tuples for lists."""
    return traverse(lambda part: tuple(part) if isinstance(part, list) else None, structure, top_down=False)


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """`func` of each shape, a list or tuple of sizes, in a structure of shapes."""

    def shape(part: Any) -> Any:
        is_shape = isinstance(part, list | tuple) and all(size is None or isinstance(size, int) for size in part)
        if not is_shape and is_nested(part):
            return None
        found = func(part)
        return MAP_TO_NONE if found is None else found

    return traverse(shape, structure)


def _children(structure: Any) -> list[tuple[Any, Any]]:
    if isinstance(structure, OrderedDict):
        return list(structure.items())
    if isinstance(structure, dict):
        return [(key, structure[key]) for key in sorted(structure)]
    return list(enumerate(structure))


def _like(structure: Any, children: list[Any]) -> Any:
    """`children`, which come in the order of `_children`, in a structure of the same kind."""
    if isinstance(structure, dict):
        made = dict(zip((key for key, _ in _children(structure)), children, strict=True))
        ordered = {key: made[key] for key in structure}
        if isinstance(structure, defaultdict):
            return defaultdict(structure.default_factory, ordered)
        return OrderedDict(ordered) if isinstance(structure, OrderedDict) else ordered
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*children)
    return tuple(children) if isinstance(structure, tuple) else list(children)


def _packed(structure: Any, leaves: Any) -> Any:
    if not is_nested(structure):
        return next(leaves)
    return _like(structure, [_packed(child, leaves) for _, child in _children(structure)])


def _same_kind(one: Any, two: Any) -> None:
    dicts = isinstance(one, dict) and isinstance(two, dict)
    if not (dicts or type(one) is type(two)) or len(one) != len(two) or (dicts and set(one) != set(two)):
        raise ValueError(f"{_MISMATCH}: {one!r} and {two!r}.")


__all__ = [
    "MAP_TO_NONE",
    "assert_same_paths",
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "traverse",
]
