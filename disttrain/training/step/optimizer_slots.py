"""The slots of an optimizer belong to weights by name: with other weights to train they stay with theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def trained_weights(model: Any) -> tuple[list[nn.Parameter], list[str]]:
    """The weights that training changes, in the order of the optimizer, and what they are called in `state_dict()`."""
    names = {id(tensor): name for name, tensor in model.named_weights()}
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return weights, [names.get(id(weight), f"unnamed.{number}") for number, weight in enumerate(weights)]


def slots_by_weight(optimizer: Any) -> dict[str, dict[str, Tensor]]:
    """`{slot: {weight: tensor}}` as the optimizer was arranged last; empty where nobody has arranged it."""
    slots = optimizer.slots  # first: to look at them may bring those of the workers, arranged as they are there
    names = getattr(optimizer, "_arranged_for", None)
    if not names or any(len(tensors) != len(names) for tensors in slots.values()):
        return {}
    return {slot: dict(zip(names, tensors, strict=True)) for slot, tensors in slots.items()}


def arrange_slots(
    optimizer: Any, params: Sequence[Tensor], names: Sequence[str], kept: Mapping[str, Mapping[str, Tensor]] | None = None
) -> None:
    """Give `optimizer` slots for `params`, called `names`. Values are those of `kept`, or of its own slots; a new weight's are fresh."""
    names = tuple(names)
    held = slots_by_weight(optimizer)
    known = getattr(optimizer, "_arranged_for", names)
    fits = optimizer.built and all(len(tensors) == len(names) for tensors in optimizer.slots.values())
    if kept is None and fits and known == names:
        optimizer._arranged_for = names
        return
    kept = held if kept is None else kept
    optimizer.build(params, list(names))
    optimizer._arranged_for = names
    with torch.no_grad():
        for slot, tensors in optimizer.slots.items():
            for name, tensor in zip(names, tensors, strict=True):
                value = kept.get(slot, {}).get(name)
                if value is not None and value.shape == tensor.shape:
                    tensor.copy_(value)
