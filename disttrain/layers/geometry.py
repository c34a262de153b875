"""Sizes of windows that slide over an image: what convolution and pooling have in common."""

from __future__ import annotations

from typing import Any


def pair(value: Any, argument: str, owner: str, minimum: int = 1) -> tuple[int, int]:
    """`3` -> `(3, 3)`; a pair stays.

    Raises:
        ValueError: not one or two integers of `minimum` or more.
    """
    sizes = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(sizes) != 2 or not all(isinstance(size, int) and not isinstance(size, bool) and size >= minimum for size in sizes):
        raise ValueError(f"{owner}({argument}={value!r}): expected an integer of {minimum} or more, or a pair of them.")
    return sizes[0], sizes[1]


def check_padding(padding: Any, owner: str) -> str:
    """`"valid"` or `"same"`, in lower case."""
    lowered = padding.lower() if isinstance(padding, str) else padding
    if lowered not in ("valid", "same"):
        raise ValueError(f"{owner}(padding={padding!r}): expected 'valid' or 'same'.")
    return str(lowered)


def check_data_format(data_format: Any, owner: str) -> str:
    """`"channels_last"`, also for None, or `"channels_first"`."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(f"{owner}(data_format={data_format!r}): expected 'channels_last', 'channels_first' or None.")
    return data_format or "channels_last"


def output_size(size: int | None, window: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """How many windows fit: `ceil(n / s)` with "same" padding, `(n - k) // s + 1` with "valid"; None stays None."""
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    return (size - (dilation * (window - 1) + 1)) // stride + 1


def same_padding(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) so that `ceil(n / s)` windows fit; where the sum is odd, the extra one is after, as in Keras."""
    effective = dilation * (window - 1) + 1
    total = max((-(-size // stride) - 1) * stride + effective - size, 0)
    return total // 2, total - total // 2


def check_rank(shape: Any, rank: int, described: str, meaning: str) -> None:
    """Refuse an input of another number of axes."""
    if len(shape) != rank:
        raise ValueError(f"{described}: got an input of shape {tuple(shape)}, expected {rank} axes, {meaning}.")


def check_fits(sizes: tuple[int | None, ...], shape: Any, described: str) -> None:
    """Refuse a window that does not fit into the image once."""
    if any(size is not None and size < 1 for size in sizes):
        raise ValueError(f"{described}: the window does not fit into an input of shape {tuple(shape)}.\n  try  padding='same'")
