"""What stands for an object where Keras takes one: a name, a class, a config dict; and the same in the other direction."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from typing import Any


def made_from(identifier: Any, kind: str, classes: Mapping[str, Any], by_name: Mapping[str, Any], expected: str) -> Any:
    """The object from a name, a config dict, a class, an instance or a function; None stays None.

    Args:
        kind: what it is, for errors, such as "regularizer".
        classes, by_name: class by class name, and by the other names; each has `from_config`.
        expected: what could have been given, for errors.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if identifier is None:
        return None
    if callable(identifier):
        return identifier() if inspect.isclass(identifier) else identifier
    name: Any = identifier
    config: dict[str, Any] = {}
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        name, config = identifier["class_name"], identifier.get("config") or {}
    if isinstance(name, str):
        known = classes.get(name) or by_name.get(name)
        if known is not None:
            return known.from_config(config)
        names = [*by_name, *classes]
        nearest = difflib.get_close_matches(name, names, n=len(names), cutoff=0.0)
        raise ValueError(f"{kind}={name!r}: no such {kind}.\n  expected  one of {', '.join(nearest)}, nearest first")
    raise ValueError(f"{kind}={identifier!r}: expected {expected}.")


def written(value: Any, module: str, classes: Mapping[str, Any]) -> Any:
    """What a config holds for `value`: Keras's config dict, or the object itself where `classes` does not know its class."""
    name = type(value).__name__
    if value is None or classes.get(name) is not type(value):
        return value
    return {"module": module, "class_name": name, "config": value.get_config(), "registered_name": None}


def to_snake_case(name: str) -> str:
    """`"Conv2DTranspose"` -> `"conv2d_transpose"`, `"ReLU"` -> `"re_lu"`, `"AUC"` -> `"auc"`: Keras's rule, which file paths depend on."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
