"""Tensors without values: what `Input` gives, and the record of each layer call made on them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any, Protocol

from disttrain.layers.signature import Signature
from disttrain.layers.structure import flatten

Shape = tuple[int | None, ...]
_serial = itertools.count()


class Caller(Protocol):
    """What a node of a graph knows of the layer that was called."""

    name: str
    _nodes: list[Node]
    _is_operation: bool
    _signature: Signature


class DeclaredOperation(Protocol):
    """A function of tensors that can be a node of a graph."""

    @property
    def function(self) -> Callable[..., Any]:
        """What it computes."""

    def node_of(self, *arguments: Any, **settings: Any) -> Any:
        """Make a node of it: what it gives for symbolic tensors among `arguments`."""


DECLARED: dict[str, DeclaredOperation] = {}
"""By class name in files; `ops.operation` fills it, as its modules are loaded."""

_loading: list[Callable[[], Any]] = []


def operations_from(load: Callable[[], Any]) -> None:
    """Have the operations loaded by `load` when one is first asked for: most models have no operator between symbolic tensors."""
    _loading.append(load)


def _declared() -> dict[str, DeclaredOperation]:
    while _loading:
        _loading.pop()()
    return DECLARED


class SymbolicTensor:
    """A shape and a dtype, with None for a size that is not known before the data come.

    `node` is the call that gave it, None for a free-standing one; `index` is its place among that call's outputs.

    Operators make nodes of a graph, as in Keras: `x + 1`, `x[:, None]`, `x > 0`. `==` does not: it asks whether two are the same.
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
        """The number of axes, batch included."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.name!r} shape={self.shape} dtype={self.dtype}>"

    # -- what needs a value ---------------------------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no value: it cannot decide an `if`. Write the condition inside a layer's call(), or ops.where.")

    def __int__(self) -> int:
        raise TypeError(f"{self!r} has no value: it cannot become an int.")

    def __float__(self) -> float:
        raise TypeError(f"{self!r} has no value: it cannot become a float.")

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} has no value: it cannot be iterated over.\n  try  ops.unstack(x, axis=...) for its items")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self!r} has no value: it cannot become an array.")

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", str(function))
        known = next((declared.function.__name__ for declared in _declared().values() if declared.function.__name__ == name), None)
        raise TypeError(
            f"torch.{name} was called on a symbolic tensor, which has no value.\n"
            + (f"  try  disttrain.ops.{known}\n" if known else "")
            + "  try  layers.TorchModule(module)(x) for a torch module, layers.Lambda(function)(x) for a function"
        )

    # -- operators ------------------------------------------------------------------------------------------------------------------

    __array_ufunc__ = None  # `array + x` is this class's affair, not NumPy's
    __hash__ = object.__hash__

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

    def __floordiv__(self, other: Any) -> SymbolicTensor:
        return _operate("FloorDivide", self, other)

    def __rfloordiv__(self, other: Any) -> SymbolicTensor:
        return _operate("FloorDivide", other, self)

    def __mod__(self, other: Any) -> SymbolicTensor:
        return _operate("Mod", self, other)

    def __rmod__(self, other: Any) -> SymbolicTensor:
        return _operate("Mod", other, self)

    def __pow__(self, other: Any) -> SymbolicTensor:
        return _operate("Power", self, other)

    def __rpow__(self, other: Any) -> SymbolicTensor:
        return _operate("Power", other, self)

    def __matmul__(self, other: Any) -> SymbolicTensor:
        return _operate("Matmul", self, other)

    def __rmatmul__(self, other: Any) -> SymbolicTensor:
        return _operate("Matmul", other, self)

    def __neg__(self) -> SymbolicTensor:
        return _operate("Negative", self)

    def __abs__(self) -> SymbolicTensor:
        return _operate("Absolute", self)

    def __round__(self, ndigits: int | None = None) -> SymbolicTensor:
        return _operate("Round", self, decimals=ndigits or 0)

    def __lt__(self, other: Any) -> SymbolicTensor:
        return _operate("Less", self, other)

    def __le__(self, other: Any) -> SymbolicTensor:
        return _operate("LessEqual", self, other)

    def __gt__(self, other: Any) -> SymbolicTensor:
        return _operate("Greater", self, other)

    def __ge__(self, other: Any) -> SymbolicTensor:
        return _operate("GreaterEqual", self, other)

    def __ne__(self, other: Any) -> Any:
        return _operate("NotEqual", self, other)

    def __and__(self, other: Any) -> SymbolicTensor:
        return _operate("LogicalAnd", self, other)

    def __rand__(self, other: Any) -> SymbolicTensor:
        return _operate("LogicalAnd", other, self)

    def __or__(self, other: Any) -> SymbolicTensor:
        return _operate("LogicalOr", self, other)

    def __ror__(self, other: Any) -> SymbolicTensor:
        return _operate("LogicalOr", other, self)

    def __xor__(self, other: Any) -> SymbolicTensor:
        return _operate("LogicalXor", self, other)

    def __rxor__(self, other: Any) -> SymbolicTensor:
        return _operate("LogicalXor", other, self)

    def __invert__(self) -> SymbolicTensor:
        return _operate("LogicalNot", self)

    def __getitem__(self, key: Any) -> SymbolicTensor:
        for part in key if isinstance(key, tuple) else (key,):
            if not (part is None or part is Ellipsis or isinstance(part, int | slice)) or isinstance(part, bool):
                raise TypeError(
                    f"{self!r}[{key!r}]: expected integers, slices, None and `...`.\n"
                    "  try  ops.take(x, indices, axis), ops.where(condition, x, y)"
                )
        return _operate("GetItem", self, key)

    def reshape(self, newshape: Any) -> SymbolicTensor:
        """`ops.reshape(x, newshape)`."""
        return _operate("Reshape", self, newshape=newshape)

    def squeeze(self, axis: Any = None) -> SymbolicTensor:
        """`ops.squeeze(x, axis)`."""
        return _operate("Squeeze", self, axis=axis)

    def node_of_function(self, function: Callable[..., Any], bound: inspect.BoundArguments) -> SymbolicTensor:
        """A node of the operation that has the name of `function`, an activation.

        Raises:
            TypeError: there is none, or it does not take an argument that was given.
        """
        if function.__name__ == "linear":
            return self
        declared = next((known for known in _declared().values() if known.function.__name__ == function.__name__), None)
        names = () if declared is None else tuple(inspect.signature(declared.function).parameters)[1:]
        further = [name for name in list(bound.arguments)[1:] if name not in names]
        if declared is None or further:
            raise TypeError(
                f"activations.{function.__name__}({', '.join(f'{name}=...' for name in further) or '...'}) was called on a symbolic "
                "tensor, which has no value.\n  try  layers.Lambda(function)(x), or the layer of this name"
            )
        bound.apply_defaults()
        result: SymbolicTensor = declared.node_of(self, **{name: value for name, value in bound.arguments.items() if name in names})
        return result


KerasTensor = SymbolicTensor  # Keras's name


class Node:
    """One call of a layer on symbolic tensors: the arguments as given, and what came out."""

    __slots__ = ("args", "inputs", "kwargs", "layer", "number", "outputs")

    def __init__(self, layer: Caller, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
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


def _operate(name: str, *arguments: Any, **settings: Any) -> SymbolicTensor:
    result: SymbolicTensor = _declared()[name].node_of(*arguments, **settings)
    return result
