"""Checks of whole target arrays, made once at the door, so that no step has to look at values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from disttrain.errors import DataError

_may_be_infinite: ContextVar[bool] = ContextVar("targets_may_be_infinite", default=False)


@contextmanager
def infinite_targets(allowed: bool) -> Iterator[None]:
    """Within the block NaN and infinity among targets are no error, if `allowed`: somebody wants to see the loss that they give."""
    token = _may_be_infinite.set(allowed)
    try:
        yield
    finally:
        _may_be_infinite.reset(token)


def check_same_shape(loss: str, y: np.ndarray, output_shape: tuple[int, ...], advice: str = "", *, last_one_optional: bool = True) -> None:
    """Raise DataError unless `y` and the output agree in every axis but the first; a last axis of size 1 may be left out of one of them."""
    want, have = tuple(output_shape[1:]), tuple(y.shape[1:])
    if have == want or (last_one_optional and ((*have, 1) == want or (*want, 1) == have)):
        return
    raise DataError(
        f"{loss}: y has shape {tuple(y.shape)}, the model's output has shape {('samples', *want)}.\n"
        f"  expected  y of shape {('samples', *want)}" + (f"\n  try       {advice}" if advice else "")
    )


def check_finite(loss: str, y: np.ndarray) -> None:
    """Raise DataError for the first NaN or infinity."""
    if y.dtype.kind != "f" or y.size == 0 or _may_be_infinite.get() or np.isfinite(y.sum(dtype=np.float64)):
        return
    bad = ~np.isfinite(y)
    if bad.any():  # else the sum overflowed
        where = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), y.shape))
        raise DataError(f"{loss}: {_at(where)} = {y[where]}.\n  expected  finite numbers; one NaN target makes the loss NaN")


def check_range(loss: str, y: np.ndarray, low: float, high: float, meaning: str) -> None:
    """Raise DataError for the first value outside `low` to `high`, both allowed."""
    check_finite(loss, y)
    if y.size == 0 or (y.min() >= low and y.max() <= high):
        return
    where = tuple(int(i) for i in np.unravel_index(int(((y < low) | (y > high)).argmax()), y.shape))
    raise DataError(f"{loss}: {_at(where)} = {_plain(y[where])}.\n  expected  {meaning}, from {low} to {high}")


def check_label_shape(loss: str, y: np.ndarray, output_shape: tuple[int, ...], axis: int = -1) -> None:
    """Raise DataError unless `y` has one label, in a last axis of 1 or not, where the output has a row of classes on `axis`."""
    axis = axis % len(output_shape)
    want = tuple(size for number, size in enumerate(output_shape) if number not in (0, axis))
    if tuple(y.shape[1:]) not in (want, (*want, 1)):
        hint = "\n  try       loss='categorical_crossentropy' for one-hot targets" if y.shape[1:] == tuple(output_shape[1:]) else ""
        raise DataError(
            f"{loss}: y has shape {tuple(y.shape)}, the model's output has shape {('samples', *output_shape[1:])}.\n"
            f"  expected  y of shape {('samples', *want)}: one label, where the output has {output_shape[axis]} classes{hint}"
        )


def check_labels(loss: str, y: np.ndarray, classes: int, ignored: int | None) -> None:
    """Raise DataError for the first label that is not a whole number from 0 to `classes - 1`, or `ignored`."""
    if y.dtype.kind not in "biuf":
        raise DataError(f"{loss}: y has dtype {y.dtype}.\n  expected  whole numbers from 0 to {classes - 1}, one label for each sample")
    if y.size == 0 or (y.dtype.kind in "biu" and y.min() >= 0 and y.max() < classes):
        return
    with np.errstate(invalid="ignore"):
        bad = ~((y >= 0) & (y < classes))
        if y.dtype.kind == "f":
            bad |= y != np.floor(y)
    if ignored is not None:
        bad &= y != ignored
    if not bad.any():
        return
    where = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), y.shape))
    value = _plain(y[where])
    advice = "labels start at 0: subtract 1 from each" if value == classes else f"a last layer of {value + 1} units, if that label is right"
    hint = f"\n  try       {advice}" if isinstance(value, int) and value >= classes else ""
    raise DataError(f"{loss}: {_at(where)} = {value}.\n  expected  whole numbers from 0 to {classes - 1}, for {classes} classes{hint}")


def _plain(value: Any) -> Any:
    """The value as a Python number, whole where it is whole."""
    number = value.item()
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _at(where: tuple[int, ...]) -> str:
    return f"y[{', '.join(map(str, where))}]"
