"""Why something cannot be sent to the workers: which part of it, by the names in the script, with the line."""

from __future__ import annotations

import dis
import functools
import inspect
import linecache
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_DEPTH = 40  # parts of parts that are looked into

Child = tuple[str, Any]


@dataclass(frozen=True)
class Culprit:
    """The innermost part that does not pickle.

    Args:
        value: it.
        path: where it lies, from the outermost name on: `model.layers[0].lock`.
        function: the innermost function or class on the way, None where there is none.
        variable: what that calls it, or what leads to it.
    """

    value: Any
    path: str
    function: Any = None
    variable: str = ""


def find(value: Any, pickles: Callable[[Any], bool]) -> Culprit:
    """What of `value` does not pickle. `pickles` tries; it is asked once for each part on the way."""
    path, function, variable = "", None, ""
    seen = {id(value)}
    for _ in range(_DEPTH):
        part = next((part for part in _children(value) if id(part[1]) not in seen and not pickles(part[1])), None)
        if part is None:
            break
        owner, (label, value) = value, part
        seen.add(id(value))
        if isinstance(owner, FunctionType | type):
            function, variable, path = owner, label, f"{_called(owner)}: {label}"
        else:
            path += label if label.startswith("[") else f".{label}"
    return Culprit(value, path.lstrip(".") or "this", function, variable)


def explain(culprit: Culprit, error: BaseException) -> str:
    """The words for it."""
    kind = type(culprit.value).__name__
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    if culprit.function is None:
        what = f"{culprit.path} cannot be sent to the workers: {first}"
        return f"{what}\n  expected  what pickles: it holds {_a(kind)}, which belongs to this process\n  try       {_ADVICE}"
    line = _line_of(culprit.function, culprit.variable)
    owner = _called(culprit.function)
    where = _place(culprit.function)
    if isinstance(culprit.value, FunctionType | type):  # itself: a lambda of a C library, a class without a module
        what = f"{owner} ({where}) cannot be sent to the workers: it uses {culprit.variable}: {first}"
    else:
        inside = culprit.path.partition(f": {culprit.variable}")[2]
        what = f"{owner} ({where}) cannot be sent to the workers: its variable {culprit.variable}{inside} is {_a(kind)}: {first}"
    used = f"\n  used      in line {line[0]}: {line[1]}" if line is not None else ""
    return f"{what}{used}\n  expected  functions and classes whose variables pickle: each worker gets a copy of them\n  try       {_ADVICE}"


_ADVICE = "make it where it is used, in the function itself or in build() of a layer, so that each worker has its own"


# -- what is inside ---------------------------------------------------------------------------------------------------------------------


def _children(value: Any) -> Iterator[Child]:
    """The parts of a value that go into its pickle, with what a person calls them."""
    try:
        yield from _parts(value)
    except Exception:  # a strange object, which has no parts for us: it is the culprit itself
        return


def _parts(value: Any) -> Iterable[Child]:
    if isinstance(value, FunctionType):
        return _variables(value)
    if isinstance(value, MethodType):
        return [("__func__", value.__func__), ("__self__", value.__self__)]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, property):
        return [(name, getattr(value, name)) for name in ("fget", "fset", "fdel") if getattr(value, name) is not None]
    if isinstance(value, staticmethod | classmethod):
        return [("__func__", value.__func__)]
    if isinstance(value, type):
        return [(name, part) for name, part in vars(value).items() if name not in ("__dict__", "__weakref__")] + [
            ("bases", value.__bases__)
        ]
    if issubclass(type(value), ModuleType):
        return [(name, part) for name, part in vars(value).items() if name not in ("__builtins__", "__spec__", "__loader__")]
    if isinstance(value, dict):
        return [(f"[{key!r:.40}]", part) for key, part in value.items()] + [(f"[key {key!r:.40}]", key) for key in value]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{place}]", part) for place, part in enumerate(value)]
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value) if hasattr(value, field.name)]
    return _attributes(value)


def _variables(function: FunctionType) -> list[Child]:
    """Of its closure, of its module, and its defaults, as cloudpickle takes them along."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = []
    for name, cell in cells:
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # not set yet
            continue
    found += [(name, function.__globals__[name]) for name in _globals_of(function.__code__) if name in function.__globals__]
    defaults, arguments = function.__defaults__ or (), function.__code__.co_varnames[: function.__code__.co_argcount]
    found += zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)
    return [*found, *(function.__kwdefaults__ or {}).items(), *vars(function).items()]


def _attributes(value: Any) -> list[Child]:
    state = value.__getstate__()
    if isinstance(state, tuple) and len(state) == 2:  # (of the dict, of the slots)
        state = {**(state[0] or {}), **(state[1] or {})}
    parts = list(state.items()) if isinstance(state, dict) else [("state", state)]
    return [*parts, ("__class__", type(value))]


def _globals_of(code: CodeType) -> list[str]:
    names = [step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME")]
    names += [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _globals_of(constant)]
    return list(dict.fromkeys(names))


# -- for people -------------------------------------------------------------------------------------------------------------------------


def _called(thing: Any) -> str:
    name = thing.__qualname__.replace("<locals>.", "")
    return f"class {name}" if isinstance(thing, type) else f"{name}()"


def _place(thing: Any) -> str:
    if isinstance(thing, FunctionType):
        return f"{thing.__code__.co_filename}:{thing.__code__.co_firstlineno}"
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return f"of module {thing.__module__}"


def _line_of(thing: Any, variable: str) -> tuple[int, str] | None:
    """The first line of a function that names the variable, and its text."""
    if not isinstance(thing, FunctionType):
        return None
    number = _first_use(thing.__code__, variable)
    return None if number is None else (number, linecache.getline(thing.__code__.co_filename, number).strip())


def _first_use(code: CodeType, variable: str) -> int | None:
    line: int | None = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = step.positions.lineno if step.positions is not None and step.positions.lineno is not None else line
        if step.argval == variable and "LOAD" in step.opname:
            return line
    inner = [_first_use(constant, variable) for constant in code.co_consts if isinstance(constant, CodeType)]
    return next((number for number in inner if number is not None), None)


def _a(kind: str) -> str:
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
