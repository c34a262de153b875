"""One slice of a call's first step and a piece of its update, computed for nobody's sum: a worker that gets other bits than the others
has another processor, other kernels, or a fault."""

from __future__ import annotations

from typing import Any

import torch

from disttrain.checkpoint import fault_digest
from disttrain.data import StreamPlan
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.gradient_buffers import Contribution
from disttrain.training.step.slice_work import SliceWork
from disttrain.training.step.state_digest import StateDigest, as_bytes

_UPDATED = 1 << 16  # numbers of the update that are tried


def probe(engine: Engine) -> StateDigest | None:
    """The digest of the gradients, the losses and some of the update of slice 0 of the first step; the engine is left as it was.

    None where there is nothing to compare: a call that trains nothing, a step of the script's own, a loss that asks for the whole batch, or
    a step that raises, which the training itself will tell of in better words.
    """
    program, workspace = engine.program, engine.workspace
    position = program.at(0)
    if not engine.trains or position.kind is not Kind.TRAIN or Kind.TRAIN in engine.replica.forward.scripts or engine.replica.forward.asks:
        return None
    if isinstance(program.plan(Kind.TRAIN), StreamPlan):
        return None  # its first batch is on its way to whoever is in the group
    state, totals, kept = workspace.state, workspace.totals.clone(), workspace.save_slice()
    before = workspace.forward.before = state.snapshot()
    work = SliceWork(workspace, position)
    workspace.forward.reads_ahead = False
    try:
        contribution = work.contribute(0, before)
        named = {f"gradient/{name}": view for name, view in zip(state.names, contribution.views, strict=True)}
        named |= {"losses and metrics": contribution.side_channel, **_update(engine, contribution)}
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
            optimizer.apply_to(params, [contribution.flats[0][:_UPDATED].clone()], slots)
    finally:
        optimizer.load_state_dict(counters)
    return {"update/weights": params[0], **{f"update/{slot}": tensors[0] for slot, tensors in slots.items()}}
