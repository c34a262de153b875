"""Arguments of optimizers, checked where they enter."""

from __future__ import annotations

import difflib
import inspect
import math
import warnings
from typing import Any

import numpy as np
from torch import Tensor


def number(owner: object, argument: str, value: Any, span: str = "[0, inf)", told: str = "") -> float:
    """`value` as a float, if it is a finite number in `span`, an interval such as `"[0, 1)"`.

    Raises:
        ValueError: it is not; class, argument and interval are named, or in the words `told`.
    """
    plain = value.item() if isinstance(value, Tensor | np.ndarray | np.generic) and value.size == 1 else value
    low, high = (float(end) for end in span[1:-1].split(","))
    if isinstance(plain, int | float) and not isinstance(plain, bool) and math.isfinite(plain):
        above = plain > low or (plain == low and span[0] == "[")
        below = plain < high or (plain == high and span[-1] == "]")
        if above and below:
            return float(plain)
    raise ValueError(told or f"{_called(owner)}({argument}={value!r}): expected a number in {span}.")


def whole_number(owner: object, argument: str, value: Any, least: int) -> int:
    """`value`, if it is a whole number of at least `least`; ValueError otherwise."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise ValueError(f"{_called(owner)}({argument}={value!r}): expected a whole number, {least} or more.")


def one_kind_of_clipping(owner: object, **limits: float | None) -> None:
    """Raise ValueError if more than one of the limits is given, or one that is not above 0."""
    given = {key: value for key, value in limits.items() if value is not None}
    if len(given) > 1:
        raise ValueError(
            f"{_called(owner)}({', '.join(f'{k}={v}' for k, v in given.items())}): "
            "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set."
        )
    for key, value in given.items():
        number(owner, key, value, "(0, inf)")


def refuse_unknown(owner: object, unknown: dict[str, Any]) -> None:
    """Raise ValueError for an argument that no optimizer has; the valid ones are listed, nearest first.

    `decay`, which Keras 3 ignores with a warning, is ignored with a warning.
    """
    for key, value in unknown.items():
        if key == "decay":
            if value:
                warnings.warn(
                    f"{_called(owner)}(decay={value!r}) is ignored, as in Keras 3: pass a schedule as learning_rate.", stacklevel=4
                )
            continue
        names = [name for name in inspect.signature(type(owner).__init__).parameters if name not in ("self", "unknown")]
        nearest = difflib.get_close_matches(key, names, n=len(names), cutoff=0.0)
        raise ValueError(f"{_called(owner)}({key}={value!r}): no such argument.\n  expected  one of {', '.join(nearest)}, nearest first")


def _called(owner: object) -> str:
    return type(owner).__name__
