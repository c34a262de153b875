"""What stands for an object where Keras takes one: a name, a class, a config dict; and the same in the other direction."""

from __future__ import annotations

import difflib
import dis
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from disttrain.elsewhere import instead_of

_IMPORT_FROM = dis.opmap["IMPORT_FROM"]


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


def no_such_name(module: str, name: str, names: Iterable[str]) -> Exception:
    """The error of a module for a name that it has not, with the nearest that it has, or with what to use in place of a name of
    Keras's; called in its `__getattr__`.
    """
    public = [known for known in names if not known.startswith("_")]
    lowered = {known.lower(): known for known in public}
    near = [lowered[found] for found in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.7)]
    instead = instead_of(module, name)
    hint = f"\n  try  {instead}" if instead else f"\n  nearest  {', '.join(near)}" if near else ""
    if name.startswith("__") or not _is_asked_by_an_import():
        return AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)
    return ImportError(f"cannot import name {name!r} from {module!r}{hint}", name=module)


def _is_asked_by_an_import() -> bool:
    """Is it `from module import name`? Of an AttributeError that one says nothing but that it cannot import the name."""
    try:
        asking = sys._getframe(3)  # this function, `no_such_name`, the module's `__getattr__`, and who asks it
    except ValueError:
        return False
    return asking.f_lasti >= 0 and asking.f_code.co_code[asking.f_lasti] == _IMPORT_FROM
