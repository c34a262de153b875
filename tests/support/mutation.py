"""A module with one line of it changed, to show that a check sees that line."""

from __future__ import annotations

import inspect
import types


def mutated(module: types.ModuleType, line: str, instead: str) -> types.ModuleType:
    """A copy of `module` with `instead` in the place of `line`, which is in it once."""
    source = inspect.getsource(module)
    assert source.count(line) == 1, f"{module.__name__} has {line!r} {source.count(line)} times: expected once, the mutation is out of date"
    copy = types.ModuleType(f"{module.__name__}_mutated")
    exec(compile(source.replace(line, instead), copy.__name__, "exec"), copy.__dict__)
    return copy
