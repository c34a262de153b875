"""Tensors without values: what `Input` gives, and the record of each layer call made on them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from disttrain.layers.structure import flatten

if TYPE_CHECKING:
    from disttrain.layers.layer import Layer

Shape = tuple[int | None, ...]
_serial = itertools.count()


class SymbolicTensor:
    """A shape and a dtype, with None for a size that is not known before the data come.

    `node` is the call that gave it, None for a free-standing one; `index` is its place among that call's outputs.
    """

    __slots__ = ("dtype", "index", "name", "node", "shape")

    def __init__(self, shape: Any, dtype: str = "float32", name: str | None = None) -> None:
        self.shape: Shape = tuple(shape)
        self.dtype = dtype
        self.name = name or f"tensor_{next(_serial)}"
        self.node: Node | None = None
        self.index = 0

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.name!r} shape={self.shape} dtype={self.dtype}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no value: it cannot decide an `if`. Write the condition inside a layer's call().")

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} has no value: it cannot be iterated over.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self!r} has no value: it cannot become an array.")

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise TypeError(
            f"torch.{getattr(function, '__name__', function)} was called on a symbolic tensor, which has no value.\n"
            "  try  layers.TorchModule(module)(x) for a torch module, layers.Lambda(function)(x) for a function"
        )

    # Arithmetic makes a layer of its own, so that `x + y` in a functional model works and is saved.

    def __add__(self, other: Any) -> SymbolicTensor:
        return _operate("Add", self, other)

    def __radd__(self, other: Any) -> SymbolicTensor:
        return _operate("Add", other, self)

    def __sub__(self, other: Any) -> SymbolicTensor:
        return _operate("Subtract", self, other)

    def __rsub__(self, other: Any) -> SymbolicTensor:
        return _operate("Subtract", other, self)

    def __mul__(self, other: Any) -> SymbolicTensor:
        return _operate("Multiply", self, other)

    def __rmul__(self, other: Any) -> SymbolicTensor:
        return _operate("Multiply", other, self)

    def __truediv__(self, other: Any) -> SymbolicTensor:
        return _operate("TrueDivide", self, other)

    def __rtruediv__(self, other: Any) -> SymbolicTensor:
        return _operate("TrueDivide", other, self)

    def __neg__(self) -> SymbolicTensor:
        return _operate("Negative", self)


class Node:
    """One call of a layer on symbolic tensors: the arguments as given, and what came out."""

    __slots__ = ("args", "inputs", "kwargs", "layer", "number", "outputs")

    def __init__(self, layer: Layer, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        self.layer, self.number = layer, number
        self.args, self.kwargs = args, kwargs
        self.inputs = [leaf for leaf in flatten([list(args), kwargs]) if isinstance(leaf, SymbolicTensor)]
        self.outputs = outputs
        for index, output in enumerate(flatten(outputs)):
            output.node, output.index = self, index


def has_symbolic(args: Any, kwargs: Any) -> bool:
    """Is any argument, at any depth, a symbolic tensor?"""
    for value in (*args, *kwargs.values()):
        if isinstance(value, SymbolicTensor):
            return True
        if isinstance(value, list | tuple | dict) and any(isinstance(leaf, SymbolicTensor) for leaf in flatten(value)):
            return True
    return False


def _operate(name: str, *arguments: Any) -> SymbolicTensor:
    from disttrain.layers.arithmetic import BY_NAME  # a layer, which needs this module

    return BY_NAME[name]()(*arguments)  # type: ignore[no-any-return]
