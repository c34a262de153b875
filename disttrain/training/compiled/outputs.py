"""The leaves of a model's outputs: how they are called, and how targets and weights line up with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain.data.structure import flatten, map_structure
from disttrain.errors import DataError
from disttrain.host_numbers import readable


class Outputs:
    """The structure of what a model gives.

    Args:
        outputs: one tensor, or a list, tuple or dict of them, also nested.
        names: what the model calls the leaves, in order; None where its `call` is code.

    Attributes:
        names: of each leaf: in a dict its keys, joined by `/`; else the model's name for it, else `output_1`, `output_2`, ...
    """

    def __init__(self, outputs: Any, names: Sequence[str] | None) -> None:
        leaves = _paths(outputs, ())
        given = list(names) if names is not None and len(names) == len(leaves) else [None] * len(leaves)
        self.names: list[str] = []
        for path, name in zip(leaves, given, strict=True):
            self.names.append(_name(path, name, alone=len(leaves) == 1))
        self.count = len(leaves)
        numbers = iter(range(self.count))
        self._template = _numbered(outputs, numbers)

    def leaves(self, outputs: Any) -> list[Any]:
        """The leaves of the outputs of another pass."""
        return [outputs] if isinstance(outputs, Tensor) else flatten(outputs)

    def aligned(self, structure: Any, what: str, *, broadcast: bool = False, wanted: Sequence[bool] | None = None) -> list[Any]:
        """One entry for each leaf: of targets, weights or outputs that have the outputs' structure, are a dict by name, or a flat list.

        Args:
            what: names the structure in errors.
            broadcast: one array stands for all leaves.
            wanted: which leaves are asked for; an array for each of those alone will do.

        Raises:
            DataError: another number of arrays, or other keys.
        """
        if self.count == 1:
            return [_only(structure, what)]
        if structure is None:
            return [None] * self.count
        if isinstance(structure, dict) and set(structure) <= set(self.names):
            return [structure.get(name) for name in self.names]
        found: list[Any] = [None] * self.count
        if _follow(self._template, structure, found):
            return found
        leaves = flatten(structure)
        if len(leaves) == self.count:
            return leaves
        if len(leaves) == 1 and broadcast:
            return leaves * self.count
        if wanted is not None and len(leaves) == sum(wanted):
            rest = iter(leaves)
            return [next(rest) if want else None for want in wanted]
        if isinstance(structure, dict):
            raise DataError(f"{what} has the keys {sorted(structure)}, the model's outputs are {self.names}.")
        raise DataError(f"{what} holds {len(leaves)} arrays, the model has {self.count} outputs: {self.names}.")

    def chosen(self, argument: str, given: Any) -> list[Any]:
        """One entry for each leaf from what `compile` was given: one thing for all, a list, a dict by name, or the outputs' structure.

        Raises:
            ValueError: outputs that the model does not have, or another number of entries.
        """
        if isinstance(given, dict):
            if set(given) <= set(self.names):
                return [given.get(name) for name in self.names]
            found: list[Any] = [None] * self.count
            if isinstance(self._template, dict) and _follow(self._template, given, found):
                return found
            unknown = sorted(str(key) for key in set(given) - set(self.names))
            raise ValueError(f"compile({argument}=...) names the outputs {unknown}, which the model does not have; it has {self.names}.")
        if isinstance(given, list | tuple):
            if len(given) == self.count:
                return list(given)
            found = [None] * self.count
            if isinstance(self._template, list) and _follow(self._template, given, found):
                return found
            raise ValueError(f"compile({argument}=...) has {len(given)} entries for the {self.count} outputs {self.names}.")
        return [given] * self.count


def _paths(structure: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Where each leaf lies, in the order of `flatten`."""
    if isinstance(structure, dict):
        return [found for key in sorted(structure) for found in _paths(structure[key], (*path, key))]
    if isinstance(structure, list | tuple):
        return [found for number, item in enumerate(structure) for found in _paths(item, (*path, number))]
    return [path]


def _name(path: tuple[Any, ...], name: str | None, *, alone: bool) -> str:
    """As Keras calls a leaf: by its keys; a place in a list by the name of the output, or from 1."""
    if not path:
        return name or "output"
    if isinstance(path[-1], int):
        last = name or (f"output_{path[-1] + 1}" if len(path) == 1 else str(path[-1]))
        if alone and name is None:
            last = "output"
        path = (*path[:-1], last)
    return "/".join(str(part) for part in path)


def _numbered(structure: Any, numbers: Any) -> Any:
    if isinstance(structure, dict):
        return {key: _numbered(structure[key], numbers) for key in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_numbered(item, numbers) for item in structure]
    return next(numbers)


def _follow(template: Any, structure: Any, found: list[Any]) -> bool:
    """Fill `found` with the parts of `structure` where the leaves of `template` are; False if it is built otherwise."""
    if structure is None:
        return True
    if isinstance(template, dict):
        return (
            isinstance(structure, dict)
            and set(structure) <= set(template)
            and all(_follow(template[key], structure[key], found) for key in structure)
        )
    if isinstance(template, list):
        return (
            isinstance(structure, list | tuple)
            and len(structure) == len(template)
            and all(_follow(part, item, found) for part, item in zip(template, structure, strict=True))
        )
    found[template] = structure
    return True


def _only(structure: Any, what: str) -> Any:
    """The one leaf of a structure."""
    if not isinstance(structure, dict | list | tuple):
        return structure
    leaves = flatten(structure)
    if len(leaves) > 1:
        raise DataError(f"{what} holds {len(leaves)} arrays, the model has one output: expected one.")
    return leaves[0] if leaves else None


def as_arrays(outputs: Any) -> Any:
    """Outputs as NumPy arrays; bfloat16, which NumPy does not know, as float32."""
    return _array(outputs) if isinstance(outputs, Tensor) else map_structure(_array, outputs)


def _array(tensor: Any) -> Any:
    if not isinstance(tensor, Tensor):
        raise DataError(
            f"the model's outputs hold a {type(tensor).__name__}, which is no tensor.\n"
            "  expected  tensors, in dicts, lists and tuples\n"
            "  try       return the tensors alone; of a module of the hub, config.use_cache = False leaves its cache out"
        )
    tensor = tensor.detach().cpu()
    return readable(tensor)
