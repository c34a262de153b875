"""Modules of torch that do by themselves what a training does here: each refused by name, with what to do."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from disttrain.errors import UsageError

# By class and where it is from: what it does by itself, and what to write.
_WRAPPERS = {
    ("DataParallel", "torch.nn"): ("copies itself to devices and cuts batches", "net.module, and disttrain launch --workers N"),
    ("DistributedDataParallel", "torch.nn"): ("sums gradients over processes", "net.module, and disttrain launch --workers N"),
    ("FullyShardedDataParallel", "torch.distributed"): (
        "spreads its weights over processes",
        "the module inside it: each worker has it whole",
    ),
    ("SyncBatchNorm", "torch.nn"): (
        "takes statistics over processes",
        "nn.BatchNorm2d and its like: statistics are those of a slice, on any number of workers",
    ),
    ("OptimizedModule", "torch._dynamo"): ("was compiled alone", "the module itself, and model.compile(..., jit_compile=True)"),
    ("ScriptModule", "torch.jit"): ("is a program, which does not travel to workers", "the module that it was scripted from"),
}


def refuse_wrappers(model: nn.Module) -> None:
    """Raise for a module that would split, sum or compile by itself.

    Raises:
        UsageError: with its place in the model.
    """
    for path, module in model.named_modules():
        cls: Any = type(module)
        known = _wrapper(cls)
        if known is not None:
            kind, does, instead = known
            raise UsageError(
                f"{path or 'the model'} is a {kind} of torch, which {does}: the runtime does that here.\n"
                f"  expected  a plain module\n  try       {instead}"
            )


@functools.cache
def _wrapper(cls: Any) -> tuple[str, str, str] | None:
    """(what it is, what it does by itself, what to write), None for a plain class."""
    for kind in cls.__mro__:
        known = _WRAPPERS.get((kind.__name__, ".".join(kind.__module__.split(".")[:2])))
        if known is not None:
            return kind.__name__, *known
    return None
