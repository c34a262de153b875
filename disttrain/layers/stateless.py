"""A layer as a function of its weights: a call with other values in their place, which leaves the layer as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from disttrain.arrays import as_tensor
from disttrain.variables import State, Variable, as_variable


def stateless_call(
    layer: Any, trainable: Sequence[Any], non_trainable: Sequence[Any], args: Any, kwargs: dict[str, Any], return_losses: bool
) -> Any:  # fmt: skip
    """(outputs, non-trainable values after the call), and with `return_losses` the losses: see `Layer.stateless_call`."""
    if not layer.built:
        raise ValueError(
            f"To call stateless_call, {type(layer).__name__} must be built (i.e. its variables must have been already created). "
            "You can build it by calling it on some data."
        )
    learned, kept = layer.trainable_variables, layer.non_trainable_variables
    for name, given, own in (("trainable_variables", trainable, learned), ("non_trainable_variables", non_trainable, kept)):
        if len(given) != len(own):
            raise ValueError(
                f"Argument `{name}` must be a list of tensors corresponding 1:1 to {type(layer).__name__}().{name}. "
                f"Received list with length {len(given)}, but expected {len(own)} variables."
            )
    stand_ins: dict[int, Any] = {id(own): as_tensor(value).as_subclass(Variable) for own, value in zip(learned, trainable, strict=True)}
    states = [as_variable(as_tensor(value).detach().clone(), State) for value in non_trainable]
    stand_ins |= {id(own): state for own, state in zip(kept, states, strict=True)}
    with _in_their_place(layer, stand_ins):
        outputs = layer(*args, **kwargs)
        losses = layer.losses if return_losses else []
    after = [state.as_subclass(Tensor) for state in states]
    return (outputs, after, losses) if return_losses else (outputs, after)


@contextmanager
def _in_their_place(layer: nn.Module, stand_ins: dict[int, Any]) -> Iterator[None]:
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in layer.modules():
            for store in (module._parameters, module._buffers):
                for key, tensor in list(store.items()):
                    if id(tensor) in stand_ins:
                        replaced.append((store, key, tensor))
                        store[key] = stand_ins[id(tensor)]
        yield
    finally:
        for store, key, tensor in replaced:
            store[key] = tensor
