"""Gates and states of recurrent layers at every step, computed from the layer's own weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers import masking
from disttrain.layers.recurrent.bidirectional import Bidirectional
from disttrain.layers.recurrent.gru import GRUCell
from disttrain.layers.recurrent.lstm import LSTMCell
from disttrain.layers.recurrent.rnn import RNN
from disttrain.layers.recurrent.simple_rnn import SimpleRNNCell
from disttrain.layers.structure import flatten
from disttrain.viewers.packing import ViewError

Steps = dict[str, np.ndarray]  # (time, units) each, by name


def has_gates(layer: Any) -> bool:
    """Can `gates` tell something of this layer?"""
    return all(type(inner.cell) in (LSTMCell, GRUCell) for inner in _walkers(layer)) if has_states(layer) else False


def has_states(layer: Any) -> bool:
    """Can `states` tell something of this layer?"""
    inner = _walkers(layer)
    return bool(inner) and all(isinstance(one, RNN) and type(one.cell) in (LSTMCell, GRUCell, SimpleRNNCell) for one in inner)


def gates(layer: Any, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Steps:
    """The gates of every step for the first sample, by name: (time, units), in the order of the layer's outputs.

    LSTM: "input", "forget", "candidate", "output"; GRU: "update", "reset", "candidate"; each between the limits of its activation. Of a
    `Bidirectional` those of both directions, "forward ..." and "backward ...", along time. Steps that a mask hides are zeros.

    Args:
        x: (batch, time, features).
        mask: (batch, time), True where a step counts.
        initial_state: what the layer was given, else None.

    Raises:
        ViewError: the layer has no gates.
    """
    if not has_gates(layer):
        raise ViewError(f"The layer {layer.name!r} is a {type(layer).__name__}, which has no gates to show.")
    return _both(layer, x, mask, initial_state)[0]


def states(layer: Any, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Steps:
    """The state after every step for the first sample: "hidden", and for LSTM also "cell". See `gates`.

    Raises:
        ViewError: the layer has no such state.
    """
    if not has_states(layer):
        raise ViewError(f"The layer {layer.name!r} is a {type(layer).__name__}, which has no state to show.")
    return _both(layer, x, mask, initial_state)[1]


def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """`x`, `mask` and `initial_state` of a recorded call."""
    given = {**dict(zip(("sequences", "initial_state", "mask"), args, strict=False)), **kwargs}
    x = given["sequences"]
    mask = given.get("mask")
    return {"x": x, "mask": masking.mask_of(x) if mask is None else mask, "initial_state": given.get("initial_state")}


def _walkers(layer: Any) -> list[Any]:
    if isinstance(layer, Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer] if isinstance(layer, RNN) else []


def _both(layer: Any, x: Tensor, mask: Tensor | None, initial_state: Any) -> tuple[Steps, Steps]:
    if not isinstance(layer, Bidirectional):
        return _walk(layer, x, mask, initial_state)
    there, back = layer._halves(initial_state)
    found: tuple[Steps, Steps] = ({}, {})
    for prefix, one, start in (("forward", layer.forward_layer, there), ("backward", layer.backward_layer, back)):
        for steps, part in zip(found, _walk(one, x, mask, start.get("initial_state")), strict=True):
            for name, values in part.items():
                steps[f"{prefix} {name}"] = values[::-1] if one.go_backwards else values
    return found


@torch.no_grad()
def _walk(layer: Any, x: Tensor, mask: Tensor | None, initial_state: Any) -> tuple[Steps, Steps]:
    """(gates, states) of one layer, a step at a time, in the order of the walk."""
    cell = layer.cell
    dtype = cell.kernel.dtype  # also under mixed precision, where the layer itself computes in halves
    before = [state[:1].to(dtype) for state in flatten(layer._first_states(x, initial_state))]
    x = x[:1].to(dtype)
    counts = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask[:1].to(x.device, torch.bool)
    if layer.go_backwards:
        x, counts = x.flip(1), counts.flip(1)
    gates: dict[str, list[Tensor]] = {}
    states: dict[str, list[Tensor]] = {}
    for time, projected in enumerate(cell.project(x.transpose(0, 1), None).unbind(0)):
        found, after = _step(cell, projected, before)
        if counts[0, time]:
            before = after
        else:
            found = {name: torch.zeros_like(value) for name, value in found.items()}
        for name, value in found.items():
            gates.setdefault(name, []).append(value)
        for name, value in zip(("hidden", "cell"), before, strict=False):
            states.setdefault(name, []).append(value)
    return _arrays(gates), _arrays(states)


def _step(cell: Any, projected: Tensor, before: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
    """(gates, new states) of one step: what the cell's own `step` computes, with the gates kept."""
    hidden = before[0]
    if isinstance(cell, LSTMCell):
        i, f, c, o = cell.recur(hidden, None, projected).chunk(4, -1)
        i, f, o = (cell.recurrent_activation(gate) for gate in (i, f, o))
        c = cell.activation(c)
        carry = f * before[1] + i * c
        return {"input": i, "forget": f, "candidate": c, "output": o}, [o * cell.activation(carry), carry]
    if isinstance(cell, GRUCell):
        x_z, x_r, x_h = projected.chunk(3, -1)
        if cell.reset_after:
            h_z, h_r, h_h = cell.recur(hidden, None, None if cell.bias is None else cell.bias[1]).chunk(3, -1)
            z, r = cell.recurrent_activation(x_z + h_z), cell.recurrent_activation(x_r + h_r)
            candidate = cell.activation(x_h + r * h_h)
        else:
            k_z, k_r, k_h = cell.recurrent_kernel.chunk(3, -1)
            z, r = cell.recurrent_activation(x_z + hidden @ k_z), cell.recurrent_activation(x_r + hidden @ k_r)
            candidate = cell.activation(x_h + (r * hidden) @ k_h)
        return {"update": z, "reset": r, "candidate": candidate}, [z * hidden + (1 - z) * candidate]
    return {}, cell.step(projected, [hidden], None)[1]


def _arrays(steps: dict[str, list[Tensor]]) -> Steps:
    return {name: torch.cat(values).float().cpu().numpy() for name, values in steps.items()}
