"""The torch modules that a layer calls: which train and which infer, and in which dtype they compute."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Resting = dict[str, list[str]]
"""By child, the modules within it that the script put into eval(), as paths; "" is the child itself."""


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.asleep: list[tuple[str, nn.Module, Resting]] = []


_thread = _OfThread()


def first_seen(owner: nn.Module, children: Mapping[str, nn.Module], resting: Resting) -> None:
    """Take note of children that the script put into eval(), in a layer that was not.

    A model that is loaded whole comes in eval(), and is meant to be trained: only a module without children, such as a batch normalization,
    or one of which every weight is frozen, stays as it is.
    """
    for name, child in children.items():
        if name not in resting and owner.training and not child.training:
            weights = list(child.parameters())
            frozen = bool(weights) and not any(weight.requires_grad for weight in weights)
            resting[name] = [""] if frozen or next(child.children(), None) is None else []


def follow(children: Mapping[str, nn.Module], resting: Resting, learns: bool) -> None:
    """Set the children's flags; within a child that trains, what the script put into eval() stays there."""
    for name, child in children.items():
        if child.training == learns:
            continue
        if not learns:
            resting[name] = [path for path, module in child.named_modules() if not module.training]
            child.train(False)
            if not torch.compiler.is_compiling():
                _thread.asleep.append((name, child, resting))
        elif "" not in resting.get(name, ()):
            kept = [module for path in resting.get(name, ()) if not (module := child.get_submodule(path)).training]
            child.train(True)
            for module in kept:
                module.train(False)


def wake() -> None:
    """After an outermost call of this thread: the flags as before, so that an eval() of the script can be told from ours."""
    if torch.compiler.is_compiling():
        return
    while _thread.asleep:
        name, child, resting = _thread.asleep.pop()
        follow({name: child}, resting, True)


def compute_in(children: Mapping[str, nn.Module], dtype: torch.dtype) -> None:
    """Let the children compute as under `torch.autocast`: weights stay as they are, and outputs come in `dtype`."""
    for child in children.values():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):  # nobody calls these
            compute_in(dict(child.named_children()), dtype)
        elif "_computes_in" not in child.__dict__:
            child.__dict__.update(_computes_in=dtype, _autocasts=[])
            child.register_forward_pre_hook(_enter, with_kwargs=True)
            child.register_forward_hook(_leave, always_call=True)


def _enter(module: Any, args: Any, kwargs: Any) -> Any:
    weight, dtype = next(module.parameters(), None), module._computes_in
    if weight is not None and weight.dtype is torch.float32:  # what the layer has cast already: autocast says what is computed in what
        args = tuple(_single(value, dtype) for value in args)
        kwargs = {name: _single(value, dtype) for name, value in kwargs.items()}
    autocast = torch.autocast("cpu" if weight is None else weight.device.type, dtype=dtype)
    autocast.__enter__()
    module._autocasts.append(autocast)
    return args, kwargs


def _single(value: Any, half: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype is half else value
    return type(value)(_single(item, half) for item in value) if type(value) in (list, tuple) else value


def _leave(module: Any, args: Any, outputs: Any) -> None:
    module._autocasts.pop().__exit__(None, None, None)
