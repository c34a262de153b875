"""A function of tensors as a node of a graph: Keras's operations, each of which is declared once, as a plain function.

`@operation("Mean")` over `def mean(x, axis=None, keepdims=False)` makes a function that computes on tensors, and on symbolic tensors
calls a layer that does the same later. The first parameters are the tensors of that call; the others are settings, which files keep.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from disttrain.arrays import as_tensor
from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.inference import stand_in_shape
from disttrain.layers.layer import Layer
from disttrain.layers.naming import auto_name
from disttrain.layers.ops.bounds import check_bounds
from disttrain.layers.structure import flatten
from disttrain.layers.symbolic import DECLARED, Shape, SymbolicTensor, has_symbolic
from disttrain.layers.weight_budget import reads_a_file

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """One operation: its name and module in files of Keras, what computes it, which parameters are tensors and which are settings.

    `infer` gives the shape of the output from those of the inputs and the settings, where zeros would not do; `spread` says that there may
    be any number of tensors.
    """

    class_name: str
    module: str
    function: Callable[..., Any]
    tensors: tuple[str, ...]
    settings: tuple[str, ...]
    infer: Callable[..., Shape] | None = None
    spread: bool = False

    def node_of(self, *arguments: Any, **settings: Any) -> Any:
        """What it gives for symbolic tensors among `arguments`, as a new node of their graph."""
        return Operation(self.class_name, settings)(*arguments)

    def from_config(self, config: dict[str, Any]) -> Operation:
        """The operation that a file describes.

        Raises:
            ValueError: a setting that it does not have.
        """
        settings = {key: _tuples(value) for key, value in config.items() if key != "name"}
        unknown = [key for key in settings if key not in self.settings]
        if unknown:
            raise ValueError(f"{self.class_name} has no setting {unknown[0]!r}.\n  expected  {', '.join(self.settings) or 'none'}")
        return Operation(self.class_name, settings, name=config.get("name"))


class Operation(Layer):
    """A declared function as a layer without weights. It takes the dtype of its inputs, and has no group among a file's weights."""

    _is_operation = True
    _calls_itself = True

    def __init__(self, kind: str, settings: dict[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__(name=name or auto_name(kind), autocast=False)
        self.kind, self.settings = kind, dict(settings or {})
        self.built = True

    @property
    def declared(self) -> Declared:
        """What this is one of."""
        declared = DECLARED[self.kind]
        assert isinstance(declared, Declared)
        return declared

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if has_symbolic(args, kwargs):
            return self._call_symbolically(args, kwargs)
        return self.call(*args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        declared = self.declared
        if declared.spread:
            return declared.function(*args, **self.settings)
        return declared.function(**dict(zip(declared.tensors, args, strict=False)), **kwargs, **self.settings)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if reads_a_file():
            leaves = [leaf for leaf in flatten([list(args), kwargs]) if hasattr(leaf, "shape")]
            check_bounds(self.kind, [stand_in_shape(leaf.shape) for leaf in leaves], self.settings)
        infer = self.declared.infer
        if infer is None or kwargs or not all(isinstance(arg, SymbolicTensor) for arg in args):
            return super().compute_output_spec(*args, **kwargs)
        return SymbolicTensor(infer(*(arg.shape for arg in args), **self.settings), args[0].dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}

    def get_build_config(self) -> None:
        return None

    def _described(self) -> str:
        return f"{self.kind} {self.name!r}"


def operation(
    class_name: str, module: str = "numpy", tensors: int | tuple[str, ...] = 1, infer: Callable[..., Shape] | None = None
) -> Callable[[F], F]:  # fmt: skip
    """Declare a function as an operation.

    Args:
        class_name: its name in files.
        module: of `keras.src.ops` where Keras has it.
        tensors: how many of the first parameters are tensors, or which; the others are settings.
        infer: (shape of each tensor, **settings) -> shape of the output.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        names = tuple(signature.parameters)
        given_later = names[:tensors] if isinstance(tensors, int) else tensors
        settings = tuple(name for name in names if name not in given_later)
        declared = Declared(class_name, f"keras.src.ops.{module}", function, given_later, settings, infer)
        DECLARED[class_name] = declared

        @functools.wraps(function)
        def public(*args: Any, **kwargs: Any) -> Any:
            if not has_symbolic(args, kwargs):
                return function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = [bound.arguments[name] for name in declared.tensors]
            while given and given[-1] is None:  # an optional tensor that is not there
                given.pop()
            return declared.node_of(*given, **{name: bound.arguments[name] for name in declared.settings})

        return public  # type: ignore[return-value]

    return decorate


def with_values(name: str, *arguments: Any) -> None:
    """Refuse symbolic tensors for a function that asks for values, such as one whose output has as many numbers as it finds.

    Raises:
        ValueError: there are some.
    """
    if has_symbolic([list(argument) if isinstance(argument, tuple) else argument for argument in arguments], {}):
        raise ValueError(
            f"ops.{name} needs values, and got a symbolic tensor: what it gives depends on more than shapes.\n"
            f"  try  a layer of your own, whose call(self, inputs) does ops.{name}(...)"
        )


def both(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Two operands as tensors on one device."""
    x1 = as_tensor(x1, x2)
    return x1, as_tensor(x2, x1)


def of_one_dtype(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Two operands as tensors on one device, both of the dtype that holds either."""
    x1, x2 = both(x1, x2)
    dtype = torch.promote_types(x1.dtype, x2.dtype)
    return x1.to(dtype), x2.to(dtype)


def floating(x: Any) -> Tensor:
    """`x` as a tensor of floats; integers and bools become the global policy's."""
    x = as_tensor(x)
    return x if x.is_floating_point() else x.to(DTYPES[standard_dtype(None)])  # type: ignore[no-any-return]


def axes_of(axis: Any) -> Any:
    """An axis, or several as a tuple."""
    return tuple(axis) if isinstance(axis, list | tuple) else axis


def _tuples(value: Any) -> Any:
    """Lists of a file as tuples, which torch takes wherever it takes sizes and axes."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


__all__ = ["DECLARED", "Declared", "Operation", "as_tensor", "axes_of", "both", "floating", "operation", "with_values"]
