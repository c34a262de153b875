"""How a torch module takes a batch: as one argument, or a mapping and a tuple spread over several; and `forward` in the place of `call`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils.rnn import PackedSequence

_WHOLE = (dict, Mapping)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a function takes beside `self`.

    Args:
        names: of what may be given by name.
        required: those of them without a default, in order.
        most: how many may be given by position; None without a limit.
        takes_any: does it take names of every kind?
        first_is_mapping: does its first argument say that it is a mapping?
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    most: int | None
    takes_any: bool
    first_is_mapping: bool


@functools.cache
def parameters_of(function: Callable[..., Any]) -> Parameters:
    """The parameters of a method, as its class has it."""
    try:
        found = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):  # no function of Python's
        return Parameters((), (), None, takes_any=True, first_is_mapping=False)
    named = [one for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    by_position = [one for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    first = by_position[0].annotation if by_position else None
    origin = getattr(first, "__origin__", first)
    is_mapping = (isinstance(origin, type) and issubclass(origin, _WHOLE)) or (
        isinstance(first, str) and first.split("[")[0].split(".")[-1] in ("dict", "Dict", "Mapping", "BatchEncoding")
    )
    return Parameters(
        tuple(one.name for one in named),
        tuple(one.name for one in found if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)),
        None if any(one.kind is one.VAR_POSITIONAL for one in found) else len(by_position),
        any(one.kind is one.VAR_KEYWORD for one in found),
        is_mapping,
    )


def spread(function: Callable[..., Any], inputs: Any, what: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) with which `function` is called on the inputs of a batch.

    A mapping whose keys are names of arguments is given by name, and a tuple or list of several to a function that needs as many; all else
    is one argument.

    Args:
        what: whose function it is, for errors.

    Raises:
        TypeError: a mapping some of whose keys are arguments, and some are not.
    """
    if isinstance(inputs, Mapping):
        taken = parameters_of(function)
        keys = [key for key in inputs if isinstance(key, str)]
        known = [key for key in keys if key in taken.names]
        if taken.first_is_mapping or not known or len(keys) != len(inputs):
            return (inputs,), {}
        strangers = [] if taken.takes_any else [key for key in keys if key not in taken.names]
        missing = [name for name in taken.required if name not in keys]
        if strangers or missing:
            raise TypeError(
                f"{what} takes {', '.join(taken.names)}, and the batch has "
                + (f"{', '.join(strangers)}, which it does not take" if strangers else f"no {', '.join(missing)}")
                + ".\n  expected  a dict with the names of its arguments\n"
                "  try       leave the others out of what the dataset or its collate_fn gives"
            )
        return (), {key: inputs[key] for key in keys}
    if isinstance(inputs, list | tuple) and not isinstance(inputs, PackedSequence):
        taken = parameters_of(function)
        if 1 < len(taken.required) <= len(inputs) and (taken.most is None or len(inputs) <= taken.most):
            return tuple(inputs), {}
    return (inputs,), {}


def call_module(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module(...)` on what a layer was called with.

    Raises:
        TypeError: the module did not take a dict.
    """
    if len(args) != 1 or kwargs or not isinstance(args[0], list | tuple | Mapping):
        return module(*args, **kwargs)
    given = args[0]
    args, kwargs = spread(_forward_of(module), given, type(module).__name__)
    if not isinstance(given, Mapping):
        return module(*args, **kwargs)
    try:
        return module(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{type(module).__name__} was called with a dict of {', '.join(map(str, given))}: {error}\n"
            "  expected  the inputs that it takes\n"
            "  try       a dataset, or a collate_fn, that gives (x, y); a dict of the arguments of its forward; or a Model whose call picks"
        ) from error


def _forward_of(module: nn.Module) -> Callable[..., Any]:
    """The `forward` whose arguments a batch names: of a wrapper that takes anything, that of what it wraps."""
    while True:
        taken = parameters_of(type(module).forward)
        inner = None if taken.names else next((part for name in _WRAPPED if (part := module._modules.get(name)) is not None), None)
        if inner is None:
            return type(module).forward
        module = inner


_WRAPPED = ("base_model", "model", "module", "_orig_mod")


def forward_as_call(cls: Any, base_forward: Callable[..., Any]) -> None:
    """Let a layer class that defines `forward`, as torch's modules do, be called as one that defines `call`.

    `super().forward(...)` in a subclass of such a class is its function; from outside, `forward` is the call of a layer.

    Raises:
        TypeError: the class defines both, or one above it defines `call`.
    """
    written = cls.__dict__["forward"]
    if "call" in cls.__dict__:
        raise TypeError(
            f"{cls.__name__} defines both call and forward.\n"
            "  expected  one of them: forward is how a layer calls its `call`\n  try       give the other a name of its own"
        )
    inherited = next((base.__dict__["call"] for base in cls.__mro__[1:] if "call" in base.__dict__), None)
    if inherited is not None and inherited.__module__ not in _BASES and not hasattr(inherited, "_was_forward"):
        raise TypeError(
            f"{cls.__name__} defines forward, and a class above it defines call, which that would not be.\n"
            "  expected  call in both, or forward in both\n  try       def call(self, inputs), with super().call(inputs)"
        )

    @functools.wraps(written)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], list | tuple | Mapping):
            args, named = spread(written, args[0], f"{cls.__name__}.forward")
            kwargs = {**named, **kwargs}
        return written(self, *args, **kwargs)

    @functools.wraps(written)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if type(self).call is not call:  # super().forward(...) of a class above
            return written(self, *args, **kwargs)
        return base_forward(self, *args, **kwargs)

    call._was_forward = True  # type: ignore[attr-defined]
    cls.call, cls.forward = call, forward


_BASES = ("disttrain.layers.layer", "disttrain.models.network")  # whose `call` stands for none
