"""torch's schedulers in callbacks: what they count survives a restart as the callbacks' own counters do."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Any

from torch.optim import lr_scheduler

from disttrain.optimizers.plain_values import like, plain_dict


def schedulers_in(callbacks: Sequence[Any]) -> list[Any]:
    """Those in attributes of the callbacks, and those that functions of theirs, or of a script's own classes, name; in a fixed order."""
    found: dict[int, Any] = {}
    for callback in callbacks:
        for value in _reached(callback):
            if isinstance(value, lr_scheduler.LRScheduler):
                found.setdefault(id(value), value)
    return list(found.values())


def states_of(schedulers: Sequence[Any]) -> list[dict[str, Any]]:
    """What they count, in JSON types."""
    return [plain_dict(scheduler.state_dict()) for scheduler in schedulers]


def load_states(schedulers: Sequence[Any], states: Sequence[dict[str, Any]]) -> None:
    """The inverse of `states_of`, as far as there are as many."""
    for scheduler, state in zip(schedulers, states, strict=False):
        scheduler.load_state_dict(like(scheduler.state_dict(), state))


def _reached(callback: Any) -> Iterator[Any]:
    own = list(getattr(callback, "__dict__", {}).values())
    for kind in type(callback).__mro__:
        if kind.__module__.split(".")[0] not in ("disttrain", "builtins"):
            own += [value for value in vars(kind).values() if isinstance(value, types.FunctionType)]
    for value in own:
        yield value
        if isinstance(value, list | tuple):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, types.FunctionType):
            yield from _named_by(value)


def _named_by(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield function.__globals__[name]
