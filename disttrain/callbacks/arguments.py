"""Arguments of callbacks, checked where they enter."""

from __future__ import annotations

import difflib
import inspect
import math
import operator
from collections.abc import Sequence
from typing import Any


def whole_number(owner: object, argument: str, value: Any, least: int = 0) -> int:
    """`value` as an int; ValueError, with class and argument, unless it is a whole number of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{type(owner).__name__}({argument}={value!r}): expected a whole number, {least} or more.")
    return number


def real_number(owner: object, argument: str, value: Any, what: str = "a number") -> float:
    """`value`, a plain number; ValueError, which says `what` was expected, for anything else and for NaN."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if isinstance(plain, bool) or not isinstance(plain, int | float) or math.isnan(plain):
        raise ValueError(f"{type(owner).__name__}({argument}={value!r}): expected {what}.")
    return plain


def verbosity(owner: object, value: Any) -> int:
    """`verbose` as an int; True and False will do."""
    return whole_number(owner, "verbose", int(value) if isinstance(value, bool) else value)


def every(owner: object, argument: str, value: Any) -> str | int:
    """ "epoch", or a number of batches; ValueError for anything else."""
    if isinstance(value, str):
        if value == "epoch":
            return value
    elif not isinstance(value, bool) and hasattr(value, "__index__") and operator.index(value) >= 1:
        return operator.index(value)
    raise ValueError(
        f"{type(owner).__name__}({argument}={value!r}): Invalid value, Unrecognized save_freq. "
        "Expected 'epoch' or a number of batches, 1 or more."
    )


def one_of(owner: object, argument: str, value: Any, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`; ValueError otherwise, with the choices, nearest first."""
    if isinstance(value, str) and value in choices:
        return value
    known = nearest(str(value), choices)
    raise ValueError(f"{type(owner).__name__}({argument}={value!r}): no such {argument}.\n  expected  one of {known}, nearest first")


def function(owner: object, argument: str, value: Any, signature: str) -> Any:
    """`value`, if it can be called; ValueError otherwise, with the call that was expected."""
    if not callable(value):
        raise ValueError(f"{type(owner).__name__}({argument}={value!r}): expected a function, called as {signature}.")
    return value


def nearest(wrong: str, names: Sequence[str]) -> str:
    """The names as a list for an error, the most similar first."""
    return ", ".join(difflib.get_close_matches(wrong, names, n=max(1, len(names)), cutoff=0.0))


def refuse_unknown(cls: type, named: dict[str, Any]) -> None:
    """Raise TypeError for a keyword that the constructor of `cls` lacks: Python's own words, then the names it has, nearest first."""
    if not named:
        return
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_POSITIONAL]
    for name in named:
        if name not in names:
            known = f"one of {nearest(name, names)}, nearest first" if names else "no arguments"
            raise TypeError(f"{cls.__name__}.__init__() got an unexpected keyword argument {name!r}\n  expected  {known}")
