"""All values of a model as nested dicts, by the names in their paths: Keras's `get_state_tree` and `set_state_tree`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FORMATS = ("backend_tensor", "numpy_array")
_KINDS = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")

Entry = tuple[str, Tensor, Callable[[Tensor], Any]]
"""A path, the value, and what sets it."""


def state_tree(model: Any, value_format: str) -> dict[str, Any]:
    """{kind: {name: {... value}}} of a built model; see `Model.get_state_tree`."""
    if value_format not in _FORMATS:
        raise ValueError(f"Invalid `value_format` argument. Expected one of {set(_FORMATS)}. Received: value_format={value_format}")
    tree: dict[str, Any] = {}
    for kind in _KINDS:
        of_kind: dict[str, Any] = {}
        for path, value, _ in _entries(model, kind):
            *around, name = path.split("/")
            inner = of_kind
            for step in around:
                inner = inner.setdefault(step, {})
            plain = value.detach().clone()
            if value_format == "numpy_array":
                inner[name] = (plain.float() if plain.dtype is torch.bfloat16 else plain).cpu().numpy()  # NumPy has no bfloat16
            else:
                inner[name] = plain
        tree[kind] = of_kind
    return tree


def set_state_tree(model: Any, tree: dict[str, Any]) -> None:
    """Give the model these values; see `Model.set_state_tree`."""
    unknown = sorted(set(tree) - set(_KINDS))
    if unknown:
        raise ValueError(f"set_state_tree: {unknown[0]!r} is no part of a state tree.\n  expected  {', '.join(_KINDS)}")
    found: list[tuple[Callable[[Tensor], Any], Tensor]] = []
    for kind, values in tree.items():
        known = {path: (value, put) for path, value, put in _entries(model, kind)}
        for path, given in _leaves(values, ""):
            if path not in known:
                raise ValueError(f"set_state_tree: {model._described()} has no {kind} {path!r}.\n  expected  one of {', '.join(known)}")
            value, put = known[path]
            new = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
            if new.shape != value.shape:
                raise ValueError(f"set_state_tree: {path} has shape {tuple(value.shape)}, the value given {tuple(new.shape)}.")
            found.append((put, new))
    for put, new in found:
        put(new)


def _entries(model: Any, kind: str) -> Iterator[Entry]:
    if kind == "optimizer_variables":
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            names = [name.replace(".", "_") for name, tensor in model.named_weights() if tensor.requires_grad]
            named = optimizer.named_variables(names) if len(getattr(optimizer, "slots", {})) else optimizer.named_variables()
            for (name, value), entry in zip(named, optimizer.entries(), strict=True):
                yield f"{optimizer.name}/{name}", value, entry.write
        return
    if kind == "metrics_variables":
        counts: dict[str, int] = {}
        for metric in model.metrics:
            for variable in getattr(metric, "variables", ()):
                path = f"{metric.name}/{getattr(variable, 'name', 'variable')}"
                number = counts[path] = counts.get(path, -1) + 1
                yield f"{path}_{number}" if number else path, variable, _copying(variable)
        return
    for name, tensor in model.named_weights():
        if tensor.requires_grad == (kind == "trainable_variables"):
            yield name.replace(".", "/"), tensor, _copying(tensor)


def _copying(tensor: Tensor) -> Callable[[Tensor], Any]:
    def put(value: Tensor) -> None:
        with torch.no_grad():
            tensor.copy_(value)

    return put


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield path, tree
        return
    for name, inner in tree.items():
        yield from _leaves(inner, f"{path}/{name}" if path else str(name))
