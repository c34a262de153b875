"""What a checkpoint holds of optimizers, back into those of a model: the one of `compile`, and those of a step of the script's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from disttrain.training.step.optimizer_slots import arrange_slots, trained_weights
from disttrain.training.step.step_owners import counting_in, optimizers_of

Slots = dict[str, dict[str, Tensor]]  # by slot and weight

_MAIN = "optimizer"


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds of them.

    Args:
        slots: by the attribute of the model that holds the optimizer.
        main: the `state_dict()` of the one whose updates are the steps of the training; empty where nothing was trained.
        others: by attribute, the `state_dict()` of the others, and of torch's schedulers.
    """

    slots: dict[str, Slots] = field(default_factory=dict)
    main: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def kept_in(arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Kept:
    """That of a checkpoint's arrays, `<attribute>/<slot>/<weight>`, and of its `meta`."""
    slots: dict[str, Slots] = {}
    for name, tensor in arrays.items():
        attribute, *rest = name.split("/", 2)
        if len(rest) == 2 and attribute not in ("model", "callbacks"):
            slots.setdefault(attribute, {}).setdefault(rest[0], {})[rest[1]] = tensor
    return Kept(slots, meta.get("optimizer") or {}, meta.get("other_optimizers") or {})


def restore_optimizers(model: Any, kept: Kept, source: str) -> None:
    """Each by its attribute; one that does not fit, or is not there, is told in a warning and starts afresh, as with files."""
    owners = counting_in(model)
    counters = dict(kept.others)
    if kept.main:
        counters.setdefault(_name_of_main(model, kept), kept.main)
    params, names = trained_weights(model)
    for attribute in sorted({*counters, *kept.slots}):
        slots, state = kept.slots.get(attribute, {}), counters.get(attribute)
        if not slots and not (state or {}).get("iterations", 1):
            continue  # it has done nothing
        problem = "the model has none" if attribute not in owners else "its counters are missing" if state is None else None
        if problem is None:
            problem = _restore(owners[attribute], slots, dict(state or {}), params, names, every=attribute == _MAIN)
        if problem is not None:
            which = "the optimizer" if attribute == _MAIN else f"the optimizer {attribute!r}"
            warnings.warn(f"{which} starts afresh, since the state in {source} does not fit: {problem}", stacklevel=4)


def _name_of_main(model: Any, kept: Kept) -> str:
    """The attribute that holds the optimizer whose counters stand in `main`: all others are named."""
    for known in (optimizers_of(model), kept.slots):
        left = [name for name in known if name not in kept.others]
        if len(left) == 1:
            return left[0]
    return _MAIN


def _restore(
    owner: Any, slots: Slots, state: dict[str, Any], params: list[Any], names: list[str], *, every: bool
) -> str | None:  # fmt: skip
    """One optimizer or scheduler; what does not fit, if anything.

    Args:
        every: it updates all weights that training changes, whether it keeps anything for them or not.
    """
    held = {weight for tensors in slots.values() for weight in tensors}
    if strange := sorted(held.difference(names)):
        return f"it is for {strange[0]}, which is no weight that training changes"
    if hasattr(owner, "build") and (held or every):
        own = [(name, param) for name, param in zip(names, params, strict=True) if name in held or (every and not held)]
        own_names = [name for name, _ in own]
        owner.build([param for _, param in own], own_names)
        expected = {
            f"{slot}/{name}": tensor.shape for slot, made in owner.slots.items() for name, tensor in zip(own_names, made, strict=True)
        }
        given = {f"{slot}/{name}": tensor.shape for slot, tensors in slots.items() for name, tensor in tensors.items()}
        if expected != given:
            return min(name for name in {*expected, *given} if expected.get(name) != given.get(name))
        arrange_slots(owner, [param for _, param in own], own_names, slots)
    owner.load_state_dict(state)
    return None
