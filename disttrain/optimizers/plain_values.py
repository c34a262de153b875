"""Settings and counters of torch's objects in JSON types, and back into the types that they had."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from disttrain.host_numbers import on_device

_LEFT_OUT = object()


def plain(value: Any) -> Any:
    """`value` in JSON types; what is none of them, such as a function, is None."""
    found = _plain(value)
    return None if found is _LEFT_OUT else found


def plain_dict(values: dict[str, Any]) -> dict[str, Any]:
    """The entries that can be said in JSON types."""
    found = {name: _plain(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not _LEFT_OUT}


def like(present: Any, value: Any) -> Any:
    """`value`, read from JSON, as the kind of thing that `present` is; where that is no plain value, `present` itself."""
    if isinstance(present, Tensor):
        return present if value is None else on_device(value, present.device, present.dtype)
    if isinstance(present, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(present, dict) and isinstance(value, dict):
        return {**present, **{name: like(present.get(name), item) for name, item in value.items()}}
    if value is None and _plain(present) is _LEFT_OUT:
        return present
    return value


def same_as(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal, NaN to NaN."""
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both or (type(one) is type(other) and one == other)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return value.tolist() if value.numel() <= 64 else _LEFT_OUT
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return _LEFT_OUT if _LEFT_OUT in items else items
    if isinstance(value, dict):
        return plain_dict(value) if all(isinstance(name, str) for name in value) else _LEFT_OUT
    return _LEFT_OUT
