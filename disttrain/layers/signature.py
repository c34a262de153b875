"""What a layer's `call` and `build` take, read from their signatures once per class."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

from disttrain.layers.structure import flatten, map_structure
from disttrain.text import is_text


@dataclass(frozen=True, slots=True)
class Signature:
    """Arguments of `call` in order, whether `training` is one of them and its default, the arguments of `build`, and of `call` those that
    take masks: (argument with the mask, argument for it).
    """

    call_names: tuple[str, ...]
    takes_training: bool
    training_default: bool | None
    build_names: tuple[str, ...]
    masks: tuple[tuple[str, str], ...] = ()


@cache
def signature_of(cls: type) -> Signature:
    """The signature of a layer class."""
    call = inspect.signature(cls.call).parameters  # type: ignore[attr-defined]
    names = [name for name, p in call.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][1:]
    default = call["training"].default if "training" in names else None
    build = inspect.signature(inspect.unwrap(cls.build)).parameters  # type: ignore[attr-defined]
    build_names = [name for name, p in build.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][1:]
    masks = [(name, f"{name}_mask") for name in names if f"{name}_mask" in names]
    if "mask" in names and names[0] != "mask":
        masks.append((names[0], "mask"))
    return Signature(tuple(names), "training" in names, default if isinstance(default, bool) else None, tuple(build_names), tuple(masks))


def shapes_for_build(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `build` for a call: one shape is that of the first argument, `query_shape` that of the argument `query`.

    The batch size is None, since what a layer builds must not depend on it.
    """
    given = {**dict(zip(signature.call_names, args, strict=False)), **kwargs}
    if len(signature.build_names) <= 1:
        first = args[0] if args else next((given[name] for name in signature.call_names if name in given), None)
        return {(signature.build_names or ("input_shape",))[0]: shape_structure(first)}
    shapes = {}
    for name in signature.build_names:
        value = given.get(name.removesuffix("_shape"))
        shapes[name] = None if value is None else shape_structure(value)
    return shapes


def shape_structure(value: Any) -> Any:
    """The shape of each tensor of a structure, batch size None; of text without its characters."""

    def shape(leaf: Any) -> Any:
        sizes = tuple(getattr(leaf, "shape", ()))
        sizes = sizes[:-1] if is_text(leaf) else sizes
        return (None, *sizes[1:]) if sizes else ()

    return map_structure(shape, value)


def check_positional(layer: Any, args: tuple[Any, ...]) -> None:
    """Only tensors, and numbers to compute with, may stand without a name: `layer(x, True)` is a slip for `training=True`."""
    for position, value in enumerate(args):
        if any(isinstance(leaf, bool | str) for leaf in flatten(value)):
            raise ValueError(
                f"{type(layer).__name__} {layer.name!r}, argument {position}: {value!r} is not a tensor. "
                "Only input tensors may be passed as positional arguments.\n"
                "  expected  tensors first, other arguments by name\n"
                f"  try  layer(x, training={value!r})"
            )
