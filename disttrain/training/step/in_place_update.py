"""The update by the gradients that the parameters hold themselves, without moving more than must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.training.step.model_state import ModelState, OptimizerState


class InPlaceUpdate:
    """One optimizer over all parameters of a model.

    A rule that treats every number alike is handed each parameter as it lies in the flat memory, with the zeros behind it up to the next
    one: then every tensor is a whole number of vector rounds, as the fused kernels like it, and only the gradients of parameters that end
    inside a round are copied.
    """

    def __init__(self, state: ModelState, chosen: OptimizerState) -> None:
        self._params, self._optimizer = state.params, chosen.optimizer
        self._padded: list[tuple[Tensor, Tensor] | None] = [None] * len(state.params)  # (gradient with its zeros, the gradient in it)
        if not chosen.flat:
            self._targets: Sequence[Tensor] = state.params
            self._slots = chosen.optimizer.slots
            self._flat = False
            return
        self._flat = True
        self._targets = state.space.rooms(state.flat_params)
        self._slots = {slot: chosen.space.rooms(flats) for slot, flats in chosen.flat_slots.items()}
        for number, (param, target) in enumerate(zip(state.params, self._targets, strict=True)):
            if target.numel() != param.numel():
                room = torch.zeros_like(target)
                self._padded[number] = (room, room[: param.numel()].view(param.shape))

    def apply(self) -> None:
        """Update, and let go of the gradients; a parameter that the loss does not depend on has a gradient of zeros."""
        grads: list[Any] = []
        views: list[Tensor] = []
        ragged: list[Tensor] = []
        for param, padded, target in zip(self._params, self._padded, self._targets, strict=True):
            grad = param.grad
            if padded is not None:
                room, view = padded
                if grad is None:
                    view.zero_()
                else:
                    views.append(view)
                    ragged.append(grad)
                grads.append(room)
            elif grad is None:
                grads.append(torch.zeros_like(target))
            else:
                grads.append(grad.reshape(-1) if self._flat else grad)
            param.grad = None
        if views:
            torch._foreach_copy_(views, ragged)
        if grads:
            self._optimizer.apply_to(self._targets, grads, self._slots)
