"""One Ray for the script and the run: what the script asks of Ray meets the run's own, whichever comes first, and the run ends it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from disttrain.clusters.ray import manners
from disttrain.errors import UsageError

# What of `ray.init` says how to show things, or asks for what is so anyway.
_HARMLESS = {
    "configure_logging", "dashboard_host", "dashboard_port", "ignore_reinit_error", "include_dashboard", "log_to_driver", "logging_config",
    "logging_format", "logging_level",
}  # fmt: skip
_ANY_ADDRESS = (None, "", "auto", "local")


@contextmanager
def one_ray(ready: Callable[[], object], tell: Callable[[str], None]) -> Iterator[None]:
    """Inside the block the script's `ray.init`, and what Ray does by itself in its place, waits for the run's Ray and is given that.

    Args:
        ready: returns once the run's Ray is up; raises where it cannot be had.
        tell: what of the script's wishes comes to nothing.
    """
    meeting = _Meeting(ready, tell)
    finder = _OnImport("ray", meeting.patch)
    if "ray" in sys.modules:
        meeting.patch(sys.modules["ray"])
    else:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
        meeting.part()


class _Meeting:
    def __init__(self, ready: Callable[[], object], tell: Callable[[str], None]) -> None:
        self._ready, self._tell = ready, tell
        self._told: set[str] = set()
        self._ray: Any = None
        self._init: Callable[..., Any] | None = None
        self._shutdown: Callable[..., Any] | None = None

    def patch(self, ray: ModuleType) -> None:
        """Stand at the door of `ray`. What we ourselves ask of it goes by `compat`, past this door."""
        manners.after_import()
        self._ray, self._init, self._shutdown = ray, ray.init, ray.shutdown

        @functools.wraps(ray.init)
        def init(*arguments: Any, **wishes: Any) -> Any:
            return self.init(*arguments, **wishes)

        @functools.wraps(ray.shutdown)
        def shutdown(*_: Any, **__: Any) -> None:
            self.shutdown()

        self._ray.init, self._ray.shutdown = init, shutdown

    def part(self) -> None:
        """Leave the door as it was."""
        if self._ray is not None:
            self._ray.init, self._ray.shutdown = self._init, self._shutdown

    def init(self, address: str | None = None, **wishes: Any) -> Any:
        """In place of `ray.init`."""
        assert self._init is not None
        where = _line_of_script()
        self._ready()
        if not self._ray.is_initialized():  # the run's workers are no Ray actors: this Ray is the script's own
            return self._init(address, **wishes)
        own = self._ray.get_runtime_context().gcs_address
        if address not in _ANY_ADDRESS and address != own:
            raise UsageError(
                f"{where}: ray.init(address={address!r}) names another Ray than the run trains on, which is {own}.\n"
                "  expected  one Ray for the script and its workers\n"
                f"  try       --address {address} for the run, and ray.init() without an address in the script"
            )
        unmet = sorted(name for name in wishes if name not in _HARMLESS and wishes[name] is not None)
        if unmet:
            asked = ", ".join(f"{name}={wishes[name]!r:.40}" for name in unmet)
            nothing = f"{', '.join(unmet)} {'changes' if len(unmet) == 1 else 'change'} nothing"
            self._note(f"{where}: ray.init({asked}): the script is given the Ray of this run, as it is; {nothing}")
        with manners.around_init():
            return self._init(ignore_reinit_error=True, configure_logging=False)

    def shutdown(self) -> None:
        """In place of `ray.shutdown`."""
        self._note(
            f"{_line_of_script()}: ray.shutdown() does nothing here: the workers of this run live on that Ray, which ends with the run"
        )

    def _note(self, text: str) -> None:
        if text not in self._told:  # in a loop, once
            self._told.add(text)
            self._tell(text)


class _OnImport(MetaPathFinder):
    """Finds one package as the others do, and has it changed before anybody gets to see it."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name, self._then = name, then

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target)) is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._then(module)

            loader.exec_module = exec_module
        return spec


def _line_of_script() -> str:
    """FILE:LINE of the innermost caller that is neither Ray nor ours."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in ("ray", "disttrain", "functools", "contextlib"):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
