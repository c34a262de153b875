"""One slice of a call's first step and a piece of its update, computed for nobody's sum: a worker that gets other bits than the others
has another processor, other kernels, or a fault."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.checkpoint import fault_digest
from disttrain.data import StreamPlan
from disttrain.training.program import Kind, Position
from disttrain.training.step.custom_step import SUMS, ApplyRequest, CustomStep
from disttrain.training.step.engine import Engine
from disttrain.training.step.gradient_buffers import Contribution
from disttrain.training.step.scripted import Rounds
from disttrain.training.step.slice_work import SliceWork
from disttrain.training.step.state_digest import StateDigest, as_bytes
from disttrain.training.step.workspace import Workspace

_UPDATED = 1 << 16  # numbers of the update that are tried


def probe(engine: Engine) -> StateDigest | None:
    """The digest of the gradients, the losses and some of the update of slice 0 of the first step; the engine is left as it was.

    None where there is nothing to compare: a call that trains nothing, a loss that asks for the whole batch, or a step that raises, which
    the training itself will tell of in better words.
    """
    program, workspace, forward = engine.program, engine.workspace, engine.replica.forward
    position = program.at(0)
    script = forward.scripts.get(Kind.TRAIN)
    if not engine.trains or position.kind is not Kind.TRAIN or forward.asks or (script is not None and script.asks):
        return None
    if isinstance(program.plan(Kind.TRAIN), StreamPlan):
        return None  # its first batch is on its way to whoever is in the group
    state, totals, kept = workspace.state, workspace.totals.clone(), workspace.save_slice()
    workspace.forward.reads_ahead = False
    try:
        named = _slice(engine, position) if script is None else _own_step(workspace, script, position)
        names = tuple(named)
        return StateDigest(b"".join(fault_digest(as_bytes(named[name])) for name in names), names)
    except Exception:
        return None
    finally:
        workspace.forward.reads_ahead = True
        workspace.restore_slice(kept)
        workspace.totals.copy_(totals)  # where metrics count straight into them
        for param in state.params:
            param.grad = None


def _slice(engine: Engine, position: Position) -> dict[str, Tensor]:
    """What slice 0 gives, and what the first update would make of it alone."""
    workspace, state = engine.workspace, engine.workspace.state
    before = workspace.forward.before = state.snapshot()
    contribution = SliceWork(workspace, position).contribute(0, before)
    named = {f"gradient/{name}": view for name, view in zip(state.names, contribution.views, strict=True)}
    return named | {"losses and metrics": contribution.side_channel, **_update(engine, contribution)}


def _own_step(workspace: Workspace, script: CustomStep, position: Position) -> dict[str, Tensor]:
    """What slice 0 of a step of the script's own asks to be updated by, and what it logs; its updates are left out."""
    rounds, scratch = Rounds(workspace, script, position), script.scratch.save()
    named: dict[str, Tensor] = {}

    def instead(request: ApplyRequest) -> None:
        update = script.updates[request.mark - 1]
        grads = [grad.detach().clone() for grad in request.grads]
        for number, grad in zip(update.numbers, grads, strict=True):
            named[f"gradient/{workspace.state.names[number]}{f' of update {request.mark}' if request.mark > 1 else ''}"] = grad
        rounds.sums = grads if update.name == SUMS else rounds.sums

    try:
        with script.installed():
            logs, _ = rounds.slice(0, instead, None)
        return {**named, "losses and metrics": torch.tensor(logs, dtype=torch.float64)}
    finally:
        script.scratch.restore(scratch)
        rounds.roll_back()


def _update(engine: Engine, contribution: Contribution) -> dict[str, Any]:
    """What a rule of ours that treats all numbers alike makes of the first of them."""
    state = engine.workspace.state
    if not state.optimizers or not state.optimizers[0].flat or not state.flat_params:
        return {}
    chosen = state.optimizers[0]
    optimizer: Any = chosen.optimizer
    if not type(optimizer).__module__.startswith("disttrain."):
        return {}  # a rule of the script's own may keep more than it says
    params = [state.flat_params[0][:_UPDATED].clone()]
    slots = {slot: [flats[0][:_UPDATED].clone()] for slot, flats in chosen.flat_slots.items()}
    counters = optimizer.state_dict()
    try:
        with torch.no_grad():
            optimizer.apply_to(params, [contribution.flats[0][:_UPDATED].to(params[0].dtype, copy=True)], slots)
    finally:
        optimizer.load_state_dict(counters)
    return {"update/weights": params[0], **{f"update/{slot}": tensors[0] for slot, tensors in slots.items()}}
