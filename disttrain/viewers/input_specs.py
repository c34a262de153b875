"""What the model takes: the shape and the kind of each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from disttrain.layers.structure import flatten

_SMALLEST_PICTURE = 16  # a square of so many steps and features is shown as an image
_SCALING_LAYERS = ("Rescaling", "Normalization")  # a model with one of these was trained on raw values


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Args:
        name: of the input layer, or "input" where the model is code.
        shape: batch included; None for any size.
        dtype: torch's name.
        kind: "image", "series", "tokens", "vector" or "other".
        vocabulary: how many tokens there are, for tokens of an Embedding.
        channels_axis: of an image without its batch: 2, 0, or None where it has no axis for channels.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    kind: str
    vocabulary: int | None = None
    channels_axis: int | None = None

    @property
    def inner(self) -> tuple[int | None, ...]:
        """The shape without the batch."""
        return self.shape[1:]

    @property
    def size(self) -> tuple[int | None, int | None, int]:
        """(height, width, channels) of an image."""
        if self.channels_axis is None:
            return self.inner[0], self.inner[1], 1
        height, width = self.inner[1:] if self.channels_axis == 0 else self.inner[:2]
        return height, width, self.inner[self.channels_axis] or 3

    def to_json(self) -> dict[str, Any]:
        """As the page gets it."""
        known = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "kind": self.kind}
        return {**known, "vocabulary": self.vocabulary}


def describe_inputs(model: Any, samples: dict[str, np.ndarray] | None = None) -> list[InputSpec]:
    """The inputs of a model, in its order; [] where the model is code and nothing tells what it takes.

    Args:
        samples: by input name, with a batch axis; of use where the model does not tell.
    """
    embedded = _embedded(model)
    try:
        return [
            _spec(tensor.node.layer.name if tensor.node else "input", tensor.shape, tensor.dtype, embedded.get(id(tensor)))
            for tensor in model.inputs
        ]
    except (ValueError, NotImplementedError):
        pass
    if samples:
        return [_spec(name, (None, *array.shape[1:]), str(array.dtype), None) for name, array in samples.items()]
    built = model.get_build_config() or {}
    shape = built.get("input_shape")
    if isinstance(shape, list | tuple) and shape and all(size is None or isinstance(size, int) for size in shape):
        return [_spec("input", (None, *shape[1:]), "float32", None)]
    return []


def _spec(name: str, shape: Sequence[int | None], dtype: str, vocabulary: int | None) -> InputSpec:
    inner = tuple(shape[1:])
    spec = InputSpec(name, (None, *inner), dtype, "other")
    if vocabulary is not None or ("int" in dtype and len(inner) == 1):
        return replace(spec, kind="tokens", vocabulary=vocabulary)
    if len(inner) == 3 and inner[2] in (1, 3, 4, None):
        return replace(spec, kind="image", channels_axis=2)
    if len(inner) == 3 and inner[0] in (1, 3, 4):
        return replace(spec, kind="image", channels_axis=0)
    if len(inner) == 2:
        square = inner[0] is not None and inner[0] == inner[1] and inner[0] >= _SMALLEST_PICTURE
        return replace(spec, kind="image" if square else "series")
    return replace(spec, kind="vector" if len(inner) == 1 else "other")


def _embedded(model: Any) -> dict[int, int]:
    """How many tokens an Embedding right behind an input knows, by the id of the input."""
    graph, found = getattr(model, "_graph", None), {}
    try:
        inputs = model.inputs
    except (ValueError, NotImplementedError):
        return {}
    if graph is None:
        first = next((layer for layer in model.layers if type(layer).__name__ != "InputLayer"), None)
        if len(inputs) == 1 and type(first).__name__ == "Embedding":
            found[id(inputs[0])] = int(first.input_dim)  # type: ignore[union-attr]
        return found
    slots = {reference.slot: tensor for reference, tensor in zip(flatten(graph.inputs), inputs, strict=True)}
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if type(layer).__name__ == "Embedding":
            for reference in flatten(list(call.args)):
                if getattr(reference, "slot", None) in slots:
                    found[id(slots[reference.slot])] = int(layer.input_dim)
    return found


def rows_in(shape: Sequence[int], inner: Sequence[int | None]) -> int | None:
    """How many inputs an array of `shape` holds for an input of `inner`, the shape without a batch.

    0: it is one, without an axis for the batch. None: it does not fit. A last axis of length 1 may be missing, as in Keras.
    """
    for wanted in [tuple(inner), tuple(inner[:-1])] if inner and inner[-1] == 1 else [tuple(inner)]:
        if _fits(shape, wanted):
            return 0
    for wanted in [tuple(inner), tuple(inner[:-1])] if inner and inner[-1] == 1 else [tuple(inner)]:
        if _fits(shape[1:], wanted) and len(shape) == len(wanted) + 1:
            return int(shape[0])
    return None


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(size is None or size == given for given, size in zip(shape, wanted, strict=True))


def scales_itself(model: Any) -> bool:
    """Has the model a layer that brings raw values into its range?"""
    return any(type(module).__name__ in _SCALING_LAYERS for module in model.modules())


def plain(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"
