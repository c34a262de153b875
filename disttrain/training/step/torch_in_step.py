"""torch's optimizers and schedulers inside a step of the script's own: their `step` stops for the sum over slices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from disttrain.errors import UsageError
from disttrain.optimizers.torch_optimizer import TorchOptimizer
from disttrain.optimizers.torch_scheduler import TorchScheduler

_MISSING = object()


@contextmanager
def stopped_at(
    optimizers: Mapping[str, Any],
    schedulers: Mapping[str, TorchScheduler],
    on_step: Callable[[str], None],
    on_schedule: Callable[[str, float | None], None],
    executing: Callable[[], bool],
) -> Iterator[None]:
    """Inside, `step()` of torch's optimizers and schedulers, by whatever reference, calls these instead.

    Args:
        executing: is the runtime itself at work in this thread, so that `step` is what it always was?
    """
    before: list[tuple[Any, Any]] = []

    def put(owner: Any, make: Callable[[Callable[..., Any]], Any]) -> None:
        before.append((owner, vars(owner).get("step", _MISSING)))
        vars(owner)["step"] = make(owner.step)

    try:
        for name, optimizer in optimizers.items():
            if isinstance(optimizer, TorchOptimizer):
                optimizer.real_step = optimizer.torch_optimizer.step
                put(optimizer.torch_optimizer, lambda real, name=name: _optimizer_step(name, real, on_step, executing))  # type: ignore[misc]
        for name, scheduler in schedulers.items():
            put(scheduler.scheduler, lambda real, name=name: _scheduler_step(name, real, on_schedule, executing))  # type: ignore[misc]
        yield
    finally:
        for owner, step in reversed(before):
            if step is _MISSING:
                vars(owner).pop("step", None)
            else:
                vars(owner)["step"] = step
        for optimizer in optimizers.values():
            if isinstance(optimizer, TorchOptimizer):
                optimizer.real_step = None


def _optimizer_step(name: str, real: Any, on_step: Callable[[str], None], executing: Callable[[], bool]) -> Any:
    def step(closure: Any = None) -> Any:
        if executing():
            return real()
        if closure is not None:
            raise UsageError(
                f"self.{name}.step(closure): a closure evaluates the loss inside the update, where other slices cannot follow.\n"
                f"  expected  loss.backward(), then self.{name}.step()"
            )
        on_step(name)
        return None

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]  # or a scheduler warns that it does not know this `step`
    return step


def _scheduler_step(name: str, real: Any, on_schedule: Callable[[str, float | None], None], executing: Callable[[], bool]) -> Any:
    def step(*args: Any, **kwargs: Any) -> None:
        if executing():
            real(*args, **kwargs)
            return
        given = [value for value in (*args, *kwargs.values()) if value is not None]
        if len(given) > 1:
            raise UsageError(f"self.{name}.step: {len(given)} values.\n  expected  step(), or step(value) with one measured value")
        on_schedule(name, float(given[0]) if given else None)

    return step


@contextmanager
def strangers_refused(known: Mapping[str, Any]) -> Iterator[None]:
    """Inside, a step of an optimizer that the model does not hold is an error: nobody could sum its gradients. So is a scaler."""
    thread = threading.get_ident()
    ours = {id(optimizer.torch_optimizer) for optimizer in known.values() if isinstance(optimizer, TorchOptimizer)}

    def look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if threading.get_ident() == thread and id(optimizer) not in ours:
            raise UsageError(
                f"torch.optim.{type(optimizer).__name__}.step() of an optimizer that is no attribute of the model: "
                "each slice would update by itself, and no checkpoint would hold its state.\n"
                "  expected  self.optimizer = ..., or a list or dict of optimizers in an attribute of the model"
            )

    hook = register_optimizer_step_pre_hook(look)
    scale = torch.amp.GradScaler.scale
    torch.amp.GradScaler.scale = _refused_if_enabled(scale, thread)  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.amp.GradScaler.scale = scale  # type: ignore[method-assign]
        hook.remove()


def _refused_if_enabled(scale: Callable[..., Any], thread: int) -> Any:
    """One that is disabled hands losses on, and is let be."""

    def refused(scaler: Any, outputs: Any) -> Any:
        if threading.get_ident() == thread and scaler.is_enabled():
            raise UsageError(
                "torch.amp.GradScaler in a step: it would look for infinities in the gradients of each slice, and its scale would be in "
                "no checkpoint.\n"
                "  expected  a scale that all slices share\n"
                "  try       torch.autocast(..., dtype=torch.bfloat16), which needs no scale; the policy mixed_float16, which scales by\n"
                "            itself; or GradScaler(enabled=False)"
            )
        return scale(scaler, outputs)

    return refused
