"""A copy of a model to look at, without what training left on it."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

_OF_TRAINING = (
    "optimizer",
    "history",
    "_compile_loss",
    "_compile_metrics",
)  # slots and the newest loss with its graph, which cannot be copied


def copied(model: Any) -> Any:
    """The model and the models inside it, with weights of their own and nothing to train them with.

    Raises:
        Exception: whatever copying says of what a model may hold.
    """
    left_out: dict[int, Any] = {}
    for module in nn.Module.modules(model):
        for name in _OF_TRAINING:
            held = module.__dict__.get(name)
            if held is not None:
                left_out[id(held)] = False  # None would mean to deepcopy that it has to be copied
    made = copy.deepcopy(model, left_out)
    for module in nn.Module.modules(made):
        for name in _OF_TRAINING:
            if module.__dict__.get(name) is False:
                module.__dict__[name] = None
    return made
