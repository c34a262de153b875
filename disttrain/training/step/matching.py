"""Is a state that is to be taken over the state of this very model? A copy must not be broadcast, cast, or left out in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disttrain.errors import CheckpointMismatch

_SHOWN = 8


def check_arrays(
    own: Mapping[str, Any], given: Mapping[str, Any], *, partly: bool = False, source: str = "the state to go on from"
) -> None:
    """Hold each given array against the state's own, by name, shape and dtype.

    Args:
        own, given: tensors by name.
        partly: those that are not given stay as they are.
        source: where they come from, for the error.

    Raises:
        CheckpointMismatch: names what differs.
    """
    problems = [f"{name}: not in the model, {_form(given[name])} in the state" for name in given if name not in own]
    if not partly:
        problems += [f"{name}: {_form(own[name])} in the model, not in the state" for name in own if name not in given]
    problems += [
        f"{name}: {_form(own[name])} in the model, {_form(value)} in the state"
        for name, value in given.items()
        if name in own and _form(own[name]) != _form(value)
    ]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise CheckpointMismatch(
            f"{source} is that of another model:\n  "
            + "\n  ".join([*problems[:_SHOWN], *more])
            + "\n  try       the model as it was, another --run-dir, or --restart to begin anew"
        )


def _form(tensor: Any) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
