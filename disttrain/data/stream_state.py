"""Marks of a stream in JSON types, and back: what a checkpoint keeps of a position."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from disttrain.data.reader import Mark
from disttrain.errors import DataError

_TAG = "__disttrain__"


def to_json(mark: Mark) -> dict[str, Any]:
    """In JSON types.

    Raises:
        DataError: the position that the script's dataset tells of itself holds an object.
    """
    return {name: _plain(value) for name, value in asdict(mark).items()}


def from_json(value: dict[str, Any]) -> Mark:
    """The inverse."""
    return Mark(**{name: _back(item) for name, item in value.items()})


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, bytes):
        return {_TAG: "bytes", "data": base64.b64encode(value).decode()}
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)
        if array.dtype == object:
            raise DataError(
                "the state_dict() of a dataset holds an array of objects: expected numbers, text, bytes, lists and dicts of them"
            )
        return {_TAG: kind, "dtype": array.dtype.str, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return {_TAG: "tuple", "items": [_plain(item) for item in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and _TAG not in value:
            return {key: _plain(item) for key, item in value.items()}
        return {_TAG: "dict", "items": [[_plain(key), _plain(item)] for key, item in value.items()]}
    raise DataError(
        f"the state_dict() of a dataset holds a {type(value).__name__}: expected numbers, text, bytes, tensors, lists and dicts of them"
    )


def _back(value: Any) -> Any:
    if isinstance(value, list):
        return [_back(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get(_TAG):
        case None:
            return {key: _back(item) for key, item in value.items()}
        case "bytes":
            return base64.b64decode(value["data"])
        case "tuple":
            return tuple(_back(item) for item in value["items"])
        case "dict":
            return {_back(key): _back(item) for key, item in value["items"]}
        case kind:
            array = np.frombuffer(base64.b64decode(value["data"]), dtype=np.dtype(value["dtype"])).reshape(value["shape"]).copy()
            return torch.from_numpy(array) if kind == "tensor" else array
