"""Which classes and functions a file may name beyond the package's own: those that were registered, and those handed over for a while."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_registered: dict[str, Any] = {}


@dataclass
class Session:
    """What one save or load knows: custom classes and functions, objects that occur more than once, and whether code may be made."""

    custom: dict[str, Any] = field(default_factory=dict)
    safe_mode: bool = True
    written: dict[int, tuple[int, Any]] = field(default_factory=dict)  # the object too, so that no other gets its id
    read: dict[int, Any] = field(default_factory=dict)


_session: contextvars.ContextVar[Session | None] = contextvars.ContextVar("saving_session", default=None)


def register(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Decorator: lets files name this class, or function, as `package>name`; loading one then finds it.

    Example:
        >>> from disttrain.layers import Layer
        >>> @register("my_project")
        ... class Doubled(Layer):
        ...     def call(self, inputs):
        ...         return 2 * inputs

    Raises:
        ValueError: a class without `get_config`.
    """
    if not isinstance(package, str):
        raise ValueError(f"@register: expected @register() with brackets, or @register('my_project'), got {package!r}.")

    def decorate(thing: T) -> T:
        key = f"{package}>{name or thing.__name__}"  # type: ignore[attr-defined]
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(
                f"register: Cannot register a class that does not have a get_config() method. {key} has none, so a file could not hold it."
            )
        _registered[key] = thing
        return thing

    return decorate


@contextmanager
def custom_objects(objects: dict[str, Any] | None = None, safe_mode: bool | None = None) -> Iterator[None]:
    """Within the block, files may also name these classes and functions, by the keys.

    Args:
        safe_mode: False lets a file bring code; None leaves that as it is, which is not at all unless told.
    """
    outer = _session.get() or Session()
    given = objects or {}
    for key, thing in given.items():
        if not callable(thing):
            raise ValueError(f"custom_objects[{key!r}] is {thing!r}, expected a class or a function.")
    token = _session.set(Session({**outer.custom, **given}, outer.safe_mode if safe_mode is None else safe_mode))
    try:
        yield
    finally:
        _session.reset(token)


def session() -> Session:
    """The running save or load; outside any, an empty one."""
    return _session.get() or Session()


def in_session() -> bool:
    """Is a save or load running, so that objects that occur twice can be told?"""
    return _session.get() is not None


def number_of(thing: Any) -> int:
    """The number of an object in the running save, the same each time."""
    written = session().written
    return written.setdefault(id(thing), (len(written) + 1, thing))[0]


def key_of(thing: Any) -> str | None:
    """The name that files give to a class or function, or None if they know none."""
    for known in (_registered, session().custom):
        for key, value in known.items():
            if value is thing:
                return key
    return None


def find(*keys: Any) -> Any:
    """The class or function of the first key that is known, or None."""
    custom = session().custom
    for key in keys:
        if isinstance(key, str):
            if key in custom:
                return custom[key]
            if key in _registered:
                return _registered[key]
    for key in keys:  # files of Keras up to 3.6 name functions without their package
        if isinstance(key, str) and ">" not in key:
            for known, thing in {**_registered, **custom}.items():
                if known.endswith(f">{key}") and not isinstance(thing, type):
                    return thing
    return None


def known_names() -> list[str]:
    """Every name that was registered or handed over."""
    return [*_registered, *session().custom]
