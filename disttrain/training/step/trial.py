"""Trying code out on an example: what it changes beside what it returns, with everything put back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from disttrain.errors import UsageError
from disttrain.training.step.attributes import Attributes, Scratch
from disttrain.training.step.model_state import ModelState
from disttrain.training.step.writes import Writes

_SHOWN = 4


@dataclass
class Findings:
    """What a trial has found.

    Args:
        result: what the code returned.
        moved: the parameters that it writes into itself.
        carried: the attributes, by their paths, whose value after a run hangs on that before it.
        once: those that it sets once, if what it does beside that happens once too.
        scratch: those that it leaves changed, though nothing hangs on them.
    """

    result: Any
    moved: list[nn.Parameter] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)
    once: list[str] = field(default_factory=list)
    scratch: Scratch = field(default_factory=Scratch)


def tried(model: nn.Module, state: ModelState, work: Callable[[], Any]) -> Findings:
    """Run `work` once, and a second time if it leaves attributes changed; parameters, buffers and attributes are as before then.

    An attribute that is as it was after the first run when the second ends holds what the step itself computes, and is no state.
    """
    attributes = Attributes(model)
    kept, values = attributes.kept(), attributes.values()
    try:
        result, moved, replaced = _watched(model, state, work)
        after = attributes.values()
        changed = _different(values, after)
        if not changed:
            return Findings(result, moved)
        _, moved_again, replaced_again = _watched(model, state, work)
        again = attributes.values()
        carried = _different(after, again)
        once = [] if (moved_again, replaced_again) == (moved, replaced) or carried else changed
        return Findings(result, moved, carried, once, attributes.holders(changed))
    finally:
        kept()


def may_change_state(model: nn.Module) -> bool:
    """Is there code in it of which it is not known what it changes?"""
    renormed = (isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None for module in model.modules())
    return Attributes(model).any or any(renormed)


def _watched(model: nn.Module, state: ModelState, work: Callable[[], Any]) -> tuple[Any, list[nn.Parameter], list[str]]:
    """`work()`, the parameters that it wrote into, and the buffers that it replaced by others; all of them back."""
    params, before = list(model.parameters()), state.snapshot()
    buffers = _buffers(model)
    with Writes(params) as writes:
        try:
            result = work()
        finally:
            replaced = state.note_replaced(buffers)
            state.restore(before)
            changed = writes.undo()
            state.note_given_memory([params[number] for number in writes.replaced])
    return result, [params[number] for number in changed], replaced


def _buffers(model: nn.Module) -> list[tuple[str, nn.Module, str, Any]]:
    return [
        (f"{path}.{name}" if path else name, module, name, buffer)
        for path, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]


def _different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The paths of what differs, without those inside another."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def refuse_carried(findings: Findings, where: str, virtual_workers: int) -> None:
    """Tell of attributes that steps hand on from one to the next where no slice, worker or checkpoint knows of them.

    Raises:
        UsageError: with several slices, each of which would see another value.
    """
    names = _listed(findings.carried)
    if findings.carried:
        _tell(
            virtual_workers,
            f"{where} changes {names} from step to step. That is no weight, buffer or metric, so it would be changed once for each slice "
            "of a batch, be another on each worker, and be in no checkpoint.\n"
            "  expected  state of a step in weights, buffers or metrics\n"
            "  try       self.register_buffer(name, torch.tensor(0)) or add_weight(trainable=False), changed in place;\n"
            "            self.optimizer.iterations, which counts the steps; or a callback's on_train_batch_end, once for each step",
        )
    if findings.once:
        _tell(
            virtual_workers,
            f"{where} sets {_listed(findings.once)} once, and changes weights or buffers in the same run only. "
            "That flag is in no checkpoint, and the first slice would do for all.\n"
            "  expected  a flag in a buffer, or a start that is computed before fit()\n"
            "  try       run the model once on samples of your choice before fit(), and leave the flag alone in the step",
        )


def refuse_moved(moved: Sequence[nn.Parameter], where: str, model: nn.Module, remedy: str) -> None:
    """Raise for parameters that are written into where no slice's change could be brought together with the others'."""
    if moved:
        raise UsageError(
            f"{where} writes into {_listed(names_of(model, moved))} itself, each slice by its own samples.\n"
            f"  expected  weights that the optimizer changes, and other state in buffers\n  try       {remedy}"
        )


def names_of(model: nn.Module, params: Sequence[nn.Parameter]) -> list[str]:
    """What the parameters are called."""
    names = {id(param): name for name, param in nn.Module.named_parameters(model)}
    return [names.get(id(param), "a weight") for param in params]


def _tell(virtual_workers: int, message: str) -> None:
    if virtual_workers > 1:
        raise UsageError(message)
    warnings.warn(message.split("\n", maxsplit=1)[0], stacklevel=3)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"self.{name}" for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} others" if len(names) > _SHOWN else shown
