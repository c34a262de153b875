"""Masks, which ride on tensors: bool, True where a step counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from disttrain.layers.structure import flatten

if TYPE_CHECKING:
    from disttrain.layers.signature import Signature


def mask_of(value: Any) -> Tensor | None:
    """The mask that a tensor carries, or None."""
    return getattr(value, "_keras_mask", None)


def masks_of(structure: Any) -> Any:
    """The mask of a tensor; for a list or tuple of tensors the list of theirs, for a dict the dict; None where nothing has one."""
    if isinstance(structure, list | tuple) and not isinstance(structure, PackedSequence):
        masks = [masks_of(item) for item in structure]
        return None if all(mask is None for mask in masks) else masks
    if isinstance(structure, dict):
        found = {key: masks_of(item) for key, item in structure.items()}
        return None if all(mask is None for mask in found.values()) else found
    return mask_of(structure)


def any_mask(args: list[Any], kwargs: dict[str, Any]) -> bool:
    """Does any tensor among the arguments carry a mask?"""
    return any(mask_of(leaf) is not None for leaf in flatten([args, list(kwargs.values())]))


def hand_over(signature: Signature, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Give `call` the masks of its arguments, where it takes them and the caller gave none."""
    for argument, taker in signature.masks:
        place = signature.call_names.index(taker)
        if place < len(args) or kwargs.get(taker) is not None:
            continue
        at = signature.call_names.index(argument)
        mask = masks_of(args[at] if at < len(args) else kwargs.get(argument))
        if mask is not None:
            kwargs[taker] = mask


def like(source: Tensor, result: Tensor) -> Tensor:
    """`result` with the mask of `source`, of which it is a copy in another dtype or shape."""
    mask = mask_of(source)
    if mask is not None and result is not source:
        result._keras_mask = mask  # type: ignore[attr-defined]
    return result


def put_on(outputs: Any, masks: Any) -> bool:
    """Let each output without a mask carry its own of `masks`; True if one does now."""
    if masks is None:
        return False
    leaves = flatten(outputs)
    own = flatten(masks) if isinstance(masks, list | tuple | dict) else [masks]
    for output, mask in zip(leaves, own, strict=False):
        if isinstance(output, Tensor) and mask is not None and mask_of(output) is None:
            output._keras_mask = mask  # type: ignore[attr-defined]
    return any(mask_of(leaf) is not None for leaf in leaves)
