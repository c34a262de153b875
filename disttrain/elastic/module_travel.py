"""How a module travels in a pickle: by a name under which the other process imports it, or by value where it would find none."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle


def reduce_module(module: ModuleType) -> tuple[Any, ...]:
    """For `reducer_override`: any kind of module, such as `torch.ops` and those that load lazily; cloudpickle knows plain ones alone."""
    name = str(vars(module).get("__name__", ""))
    found = None if _travels_by_value(name) else _found_at(module, name)
    if found is not None:
        return _imported, found
    state = {key: value for key, value in vars(module).items() if key not in ("__builtins__", "__spec__", "__loader__")}
    # what it holds comes after it: modules that name each other end in no ring
    return _new_module, (name,), state, None, None, _fill


def _found_at(module: ModuleType, name: str) -> tuple[str, str] | None:
    """(what to import, the attribute of that, "" for itself); None where no name leads to the module."""
    if sys.modules.get(name) is module:
        return name, ""
    parent, _, last = name.rpartition(".")
    if parent in sys.modules and getattr(sys.modules[parent], last, None) is module:  # `torch.ops.aten`
        return parent, last
    return next(((key, "") for key, other in list(sys.modules.items()) if other is module and key != "__main__"), None)


def _travels_by_value(name: str) -> bool:
    registered = cloudpickle.list_registry_pickle_by_value()
    return bool(registered) and any(name == known or name.startswith(f"{known}.") for known in registered)


# -- in the other process ---------------------------------------------------------------------------------------------------------------


def _imported(name: str, attribute: str) -> Any:
    import_module(name.partition(".")[0])  # one that its package makes, as `torch.ops`, is there once the package is
    module = sys.modules.get(name) or import_module(name)
    return getattr(module, attribute) if attribute else module


def _new_module(name: str) -> ModuleType:
    return ModuleType(name)


def _fill(module: ModuleType, state: dict[str, Any]) -> None:
    vars(module).update(state)
    vars(module)["__builtins__"] = builtins.__dict__


# -- what other machines may not have ---------------------------------------------------------------------------------------------------

_real_paths: dict[str, str] = {}  # of the modules' files: each takes system calls, and there are thousands of modules


def _real(path: str) -> str:
    """Without links; one that is relative hangs on the working directory, and is looked up each time."""
    found = _real_paths.get(path)
    if found is None:
        found = os.path.realpath(path)
        if os.path.isabs(path):
            _real_paths[path] = found
    return found


@contextmanager
def by_value(folder: Path | None, began: Collection[str] | None = None) -> Iterator[None]:
    """Inside the block cloudpickle takes by value what the workers could not import.

    Args:
        folder: of the script: its neighbours travel by value.
        began: `sys.path` before the script could add to it; what was found through its additions travels by value. None: not known.
    """
    taken: dict[str, ModuleType] = {}
    registered = cloudpickle.list_registry_pickle_by_value()
    inside = [] if folder is None else [os.path.join(os.path.realpath(folder), "")]
    known = [] if began is None else _folders(began)
    added = [] if began is None else [path for path in _folders(sys.path) if path not in known]
    for name, module in list(sys.modules.items()) if inside or added else []:
        # vars: a module that loads lazily would load everything to answer
        if not issubclass(type(module), ModuleType) or name in ("__main__", "__mp_main__") or name.partition(".")[0] == "disttrain":
            continue
        origin, own_name = vars(module).get("__file__"), str(vars(module).get("__name__"))
        if own_name in registered or sys.modules.get(own_name) is not module or not isinstance(origin, str) or "site-packages" in origin:
            continue
        place = _real(origin)
        if place.startswith(tuple(inside)) or (place.startswith(tuple(added)) and not place.startswith(tuple(known))):
            taken[own_name] = module
    try:
        for module in taken.values():
            cloudpickle.register_pickle_by_value(module)
        yield
    finally:
        for own_name in taken:
            if own_name in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.unregister_pickle_by_value(taken[own_name])


def _folders(paths: Collection[str]) -> list[str]:
    return [os.path.join(os.path.realpath(path), "") for path in paths]
