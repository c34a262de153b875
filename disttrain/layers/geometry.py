"""Shapes of windows that slide over steps, images and volumes: what convolution, pooling, cropping and padding have in common."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from disttrain.layers.symbolic import Shape

# What the axes of an input mean, by how many of them a window slides over.
AXES = {1: "batch, steps and channels", 2: "batch, height, width and channels", 3: "batch, depth, height, width and channels"}

# How Keras's axes become torch's, channels before the windows' axes, and back: a view each, so nothing is moved in memory.
TO_CHANNELS_FIRST = {1: (0, 2, 1), 2: (0, 3, 1, 2), 3: (0, 4, 1, 2, 3)}
TO_CHANNELS_LAST = {1: (0, 2, 1), 2: (0, 2, 3, 1), 3: (0, 2, 3, 4, 1)}


def integer(value: Any, argument: str, owner: str, minimum: int = 1, meaning: str = "") -> int:
    """`value` as an int; numpy's integers are taken too.

    Raises:
        ValueError: not an integer of `minimum` or more.
    """
    found = _as_integer(value)
    if found is None or found < minimum:
        told = f"{owner}({argument}={value!r}): expected an integer, {minimum} or more{meaning and f', {meaning}'}."
        if minimum == 1:  # Keras's words
            told += f" `{argument}` must be a positive integer: Invalid value for argument `{argument}`. "
            told += f"Expected a strictly positive value. Received {argument}={value}."
        raise ValueError(told)
    return found


def sizes(value: Any, rank: int, argument: str, owner: str, minimum: int = 1) -> tuple[int, ...]:
    """One integer for each of `rank` axes: `3` -> `(3, 3)` for rank 2; as many as there are axes stay.

    Raises:
        ValueError: another number of them, or one that is not an integer of `minimum` or more.
    """
    one = _as_integer(value)
    found = [one] * rank if one is not None else [_as_integer(item) for item in value] if isinstance(value, list | tuple) else []
    if len(found) != rank or any(size is None or size < minimum for size in found):
        several = "" if rank == 1 else f", or {rank} of them"
        raise ValueError(f"{owner}({argument}={value!r}): expected an integer of {minimum} or more{several}.")
    return tuple(size for size in found if size is not None)


def margins(value: Any, rank: int, argument: str, owner: str) -> tuple[tuple[int, int], ...]:
    """(before, after) of each axis, from one integer for all of them, an integer for each, or a pair for each.

    Raises:
        ValueError: something else, or a negative number.
    """
    items = [value] * rank if _as_integer(value) is not None else list(value) if isinstance(value, list | tuple) else []
    found = []
    for item in items:
        pads = [_as_integer(item)] * 2 if not isinstance(item, list | tuple) else [_as_integer(pad) for pad in item]
        found.append(tuple(pad for pad in pads if pad is not None and pad >= 0))
    if len(found) != rank or any(len(pads) != 2 for pads in found):
        raise ValueError(
            f"{owner}({argument}={value!r}): expected an integer of 0 or more, or for each of {rank} axes one, or a pair (before, after)."
        )
    return tuple((pads[0], pads[1]) for pads in found)


def _as_integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_padding(padding: Any, owner: str, causal: bool = False) -> str:
    """`"valid"`, `"same"`, or where `causal` is allowed `"causal"`; in lower case."""
    lowered = padding.lower() if isinstance(padding, str) else padding
    if lowered not in ("valid", "same", "causal") or (lowered == "causal" and not causal):
        expected = "'valid', 'same' or 'causal'" if causal else "'valid' or 'same'"
        raise ValueError(f"{owner}(padding={padding!r}): expected {expected}.")
    return str(lowered)


_default_format = "channels_last"


def default_data_format() -> str:
    """What None means as `data_format`: "channels_last" unless `set_default_data_format` was called."""
    return _default_format


def set_default_data_format(data_format: str) -> None:
    """Let None mean this for layers that are made from now on."""
    global _default_format
    _default_format = check_data_format(data_format, "set_image_data_format")


def check_data_format(data_format: Any, owner: str) -> str:
    """`"channels_last"` or `"channels_first"`; the default for None."""
    lowered = data_format.lower() if isinstance(data_format, str) else data_format
    if lowered not in (None, "channels_last", "channels_first"):
        raise ValueError(f"{owner}(data_format={data_format!r}): expected 'channels_last', 'channels_first' or None.")
    return lowered or _default_format


def output_size(size: int | None, window: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """How many windows fit: `ceil(n / s)` with "same" and "causal" padding, `(n - k) // s + 1` with "valid"; None stays None."""
    if size is None:
        return None
    if padding != "valid":
        return -(-size // stride)
    return (size - (dilation * (window - 1) + 1)) // stride + 1


def same_padding(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) so that `ceil(n / s)` windows fit; where the sum is odd, the extra one is after, as in Keras."""
    effective = dilation * (window - 1) + 1
    total = max((-(-size // stride) - 1) * stride + effective - size, 0)
    return total // 2, total - total // 2


def pad_argument(pads: Sequence[tuple[int, int]], channels_last: bool) -> list[int]:
    """(before, after) of each axis as `torch.nn.functional.pad` wants them: from the last axis to the first, in one list."""
    flat = [0, 0] if channels_last else []
    for before, after in reversed(pads):
        flat += [before, after]
    return flat


def spatial(shape: Shape, data_format: str) -> Shape:
    """The sizes that windows slide over: all but batch and channels."""
    return shape[1:-1] if data_format == "channels_last" else shape[2:]


def channels(shape: Shape, data_format: str) -> int | None:
    """The number of channels."""
    return shape[-1 if data_format == "channels_last" else 1]


def shape_of(batch: int | None, sizes: Sequence[int | None], channels: int | None, data_format: str) -> Shape:
    """The whole shape of these parts."""
    return (batch, *sizes, channels) if data_format == "channels_last" else (batch, channels, *sizes)


def check_rank(shape: Any, rank: int, described: str, meaning: str) -> None:
    """Refuse an input of another number of axes."""
    if len(shape) != rank:
        raise ValueError(f"{described}: got an input of shape {tuple(shape)}, expected {rank} axes, {meaning}.")


def check_fits(sizes: Sequence[int | None], shape: Any, described: str) -> None:
    """Refuse a window that does not fit into the image once."""
    if any(size is not None and size < 1 for size in sizes):
        raise ValueError(
            f"{described}: the window does not fit into an input of shape {tuple(shape)}. "
            "Computed output size would be zero or negative.\n  try  padding='same'"
        )
