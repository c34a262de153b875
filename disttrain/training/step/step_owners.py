"""Who may change weights in a step: optimizers of ours and of torch, and torch's schedulers, wherever the model holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from disttrain.errors import UsageError
from disttrain.optimizers import Optimizer
from disttrain.optimizers.torch_optimizer import TorchOptimizer
from disttrain.optimizers.torch_scheduler import TorchScheduler

_KEPT = "_torch_optimizers"  # those of torch that the model holds, each as one of ours; always the same ones


def optimizers_of(model: Any) -> dict[str, Any]:
    """The optimizers that the model or a module in it holds, by attribute, in lists and dicts too: `opt`, `opts.0`, `gan.opts.d`."""
    found: dict[str, Any] = {}
    taken: set[int] = set()
    theirs: list[tuple[str, torch.optim.Optimizer]] = []
    for name, value in _attributes(model):
        if isinstance(value, Optimizer):
            if id(value) not in taken and name != _KEPT and not name.startswith(f"{_KEPT}."):
                taken.add(id(value))
                found[name] = value
        elif isinstance(value, torch.optim.Optimizer):
            theirs.append((name, value))
    seen = {id(optimizer.torch_optimizer) for optimizer in found.values() if isinstance(optimizer, TorchOptimizer)}
    for name, optimizer in theirs:
        if id(optimizer) not in seen:
            seen.add(id(optimizer))
            found[name] = _adapted(model, optimizer)
    return found


def _adapted(model: Any, optimizer: torch.optim.Optimizer) -> TorchOptimizer:
    kept: list[TorchOptimizer] = vars(model).setdefault(_KEPT, [])
    for one in kept:
        if one.torch_optimizer is optimizer:
            return one
    kept.append(TorchOptimizer(optimizer))
    return kept[-1]


def schedulers_of(model: Any) -> dict[str, TorchScheduler]:
    """torch's schedulers, found likewise."""
    found: dict[int, tuple[str, Any]] = {}
    for name, value in _attributes(model):
        if isinstance(value, lr_scheduler.LRScheduler):
            found.setdefault(id(value), (name, value))
    return {name: TorchScheduler(value) for name, value in found.values()}


def counting_in(model: Any) -> dict[str, Any]:
    """All of these, each with a `state_dict()` in JSON types."""
    return {**optimizers_of(model), **schedulers_of(model)}


def check_holdings(name: str, optimizer: Any, model: nn.Module) -> None:
    """Raise where an optimizer of torch's holds a parameter that the model does not."""
    if not isinstance(optimizer, TorchOptimizer):
        return
    own = {id(param) for param in model.parameters()}
    strangers = [param for param in optimizer.holds() if id(param) not in own]
    if strangers:
        kind = type(optimizer.torch_optimizer).__name__
        raise UsageError(
            f"{name}={kind}(...) of torch.optim holds a parameter of shape {tuple(strangers[0].shape)} that is none of the model's"
            f" (and {len(strangers) - 1} others).\n"
            "  expected  parameters of this model, which checkpoints hold and workers share\n"
            f"  try       self.net = net in the model, then torch.optim.{kind}(model.parameters()), once its layers are built"
        )


def _attributes(model: Any) -> Iterator[tuple[str, Any]]:
    """What modules hold beside their children, weights and hooks, the model's own first; lists and dicts are looked into."""
    for prefix, module in model.named_modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("_forward") and not name.startswith("_backward") and name not in _NOT_HELD:
                yield from _items(f"{prefix}.{name}" if prefix else name, value, 0)


_NOT_HELD = frozenset({"_modules", "_parameters", "_buffers", "_compile_arguments", "_nodes", "_graph", "history"})


def _items(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list | tuple):
        if depth < 3:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in list(pairs):
                yield from _items(f"{name}.{key}", item, depth + 1)
    else:
        yield name, value
