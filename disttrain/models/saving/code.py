"""Functions as data, in the form of Keras: a name where there is one, marshalled bytecode where there is none.

Bytecode could do anything when it runs, so it is read only with `safe_mode=False`, and fits the version of Python that wrote it.
"""

from __future__ import annotations

import base64
import binascii
import marshal
import math
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from disttrain import activations, layers
from disttrain.layers import ops
from disttrain.models.saving import registry


def describe_function(function: Callable[..., Any], in_lambda_layer: bool = False) -> dict[str, Any]:
    """A function as a config: by the name it was registered under, by its own name, or a lambda as bytecode, with a warning.

    Raises:
        ValueError: a callable without a name, or a lambda that holds something that a file cannot.
    """
    key = registry.key_of(function)
    if key is None and isinstance(function, types.FunctionType) and function.__name__ != "<lambda>":
        key = function.__name__  # as in Keras: loading needs custom_objects
    if key is not None:
        return {"module": "builtins", "class_name": "function", "config": key, "registered_name": "function"}
    if not isinstance(function, types.FunctionType):
        raise ValueError(
            f"{function!r} cannot be saved: it is code without a name.\n"
            "  try  @disttrain.register() on its class or function, then save again"
        )
    warnings.warn(
        "a lambda is saved as bytecode, which loads only with safe_mode=False, under this version of Python.\n"
        "  try  a function with a name, registered with disttrain.register()",
        stacklevel=2,
    )
    code = base64.encodebytes(marshal.dumps(function.__code__)).decode("ascii")
    defaults = function.__defaults__
    closure = tuple(cell.cell_contents for cell in function.__closure__) if function.__closure__ else None
    for value in (*(defaults or ()), *(closure or ())):
        if not isinstance(value, bool | int | float | str | type(None)):
            raise ValueError(f"a lambda that holds {value!r} cannot be saved.\n  try  a function with a name, registered")
    parts = {"code": code, "defaults": _listed(defaults), "closure": _listed(closure)}
    return {"class_name": "__lambda__", "config": parts if in_lambda_layer else {"value": list(parts.values())}}


def make_function(config: Any) -> Callable[..., Any]:
    """The lambda of a file's `__lambda__`.

    Raises:
        ValueError: `safe_mode` was not switched off, or the bytecode is none of this Python.
    """
    if registry.session().safe_mode:
        raise ValueError(
            "the file holds a lambda, which is code and could do anything (arbitrary code execution): it is not run.\n"
            "  try  load_model(path, safe_mode=False), if you trust whoever wrote the file"
        )
    config = config if isinstance(config, dict) else {}
    value = config.get("value")
    code, defaults, closure = value if isinstance(value, list | tuple) and len(value) == 3 else [config.get(k) for k in _PARTS]
    try:
        made = marshal.loads(base64.decodebytes(str(code).encode("ascii")))
    except (ValueError, EOFError, TypeError, binascii.Error) as error:
        raise ValueError(f"the file's lambda is not bytecode of this version of Python: {error}") from error
    if not isinstance(made, types.CodeType):
        raise ValueError(f"the file's lambda is a {type(made).__name__}, expected bytecode.")
    cells = tuple(types.CellType(item) for item in closure) if closure else None
    return types.FunctionType(made, _names(), made.co_name, tuple(defaults) if defaults else None, cells)


_PARTS = ("code", "defaults", "closure")


def _listed(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _names() -> dict[str, Any]:
    """The globals of a function that was read: what lambdas of models commonly call, Keras's names meaning those of this package."""
    keras = types.SimpleNamespace(ops=ops, activations=activations, layers=layers)
    return {"torch": torch, "np": np, "numpy": np, "math": math, "ops": ops, "layers": layers, "keras": keras}
