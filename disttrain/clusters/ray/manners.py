"""What Ray changes in a process that uses it, put back: hooks, signals, the environment, where modules are looked for.

A launched script is to find its process as `python script.py` would have it: its own excepthook, `breakpoint()` at its terminal, its
own SIGTERM handler.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType, SimpleNamespace
from typing import Any

_BREAKPOINT = "PYTHONBREAKPOINT"
_OF_RAY = ("RAY_", _BREAKPOINT)


def after_import() -> None:
    """Once Ray is imported: its excepthook, which tells the cluster of the driver's errors, and its copies of modules step back."""
    worker: Any = sys.modules["ray._private.worker"]
    if sys.excepthook is getattr(worker, "custom_excepthook", None):
        sys.excepthook = worker.normal_excepthook
    for place in [path for path in sys.path if path.endswith(os.path.join("ray", "thirdparty_files"))]:
        sys.path.remove(place)  # the first place belongs to the script's folder
        sys.path.append(place)


@contextmanager
def around_init() -> Iterator[None]:
    """Inside the block `ray.init` takes no signal, turns on no faulthandler and leaves `breakpoint()` alone."""
    worker: Any = sys.modules["ray._private.worker"]
    utils: Any = sys.modules["ray._private.utils"]
    before = os.environ.get(_BREAKPOINT)
    with _replaced(worker, "faulthandler", SimpleNamespace(is_enabled=lambda: True)), _replaced(utils, "set_sigterm_handler", _no_handler):
        try:
            yield
        finally:
            if os.environ.get(_BREAKPOINT, "").startswith("ray."):
                _put(_BREAKPOINT, before)


def _no_handler(handler: Any) -> None:
    """In place of Ray's `set_sigterm_handler`."""


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """The module with another value of that name, where it has one."""
    if not hasattr(module, name):
        yield
        return
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


class Environment:
    """The variables of Ray: as they were before a start, once it is over. What somebody changed after the start is not touched."""

    def __init__(self) -> None:
        self._before, self._after = _variables(), _variables()

    def started(self) -> None:
        """Ray, and we for it, have changed what is to be changed."""
        self._after = _variables()

    def put_back(self) -> None:
        """As before."""
        now = _variables()
        for name in {*self._before, *self._after}:
            if self._after.get(name) != self._before.get(name) and now.get(name) == self._after.get(name):
                _put(name, self._before.get(name))


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_OF_RAY)}


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def forget_exit_hook() -> None:
    """For a process that ends while Ray is still starting."""
    worker: Any = sys.modules.get("ray._private.worker")
    with suppress(AttributeError):
        atexit.unregister(worker.shutdown)
