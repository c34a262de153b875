"""Where Keras's masks stand in a graph. Here masks ride on tensors; in Keras each is computed by nodes of the graph, which count when
layers are put in order by their distance from the outputs. That order names the groups of weights in files, so it must be the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from disttrain.layers.core.embedding import Embedding
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten
from disttrain.layers.symbolic import Node, SymbolicTensor

Masks = dict[int, SymbolicTensor]  # id of a tensor -> its mask


class MaskNode:
    """A node that computes a mask, of an operation that is no layer."""

    __slots__ = ("inputs", "layer")

    def __init__(self, inputs: list[SymbolicTensor]) -> None:
        self.inputs = inputs
        self.layer = self


def mask_inputs(nodes: Iterable[Node]) -> dict[int, list[SymbolicTensor]]:
    """{id of a node: the masks that its layer is handed in Keras}, for nodes in the order in which they run."""
    masks: Masks = {}
    taken: dict[int, list[SymbolicTensor]] = {}
    for node in nodes:
        if node.layer._is_operation:
            continue
        given = _given_masks(node, masks)
        if given:
            taken[id(node)] = given
        for output, mask in zip(flatten(node.outputs), _output_masks(node, masks), strict=False):
            if mask is not None:
                masks[id(output)] = mask
    return taken


def _given_masks(node: Node, masks: Masks) -> list[SymbolicTensor]:
    """The masks that `call` takes and nobody gave."""
    signature = node.layer._signature
    found = []
    for argument, taker in signature.masks:
        place = signature.call_names.index(taker)
        if place < len(node.args) or node.kwargs.get(taker) is not None:
            continue
        at = signature.call_names.index(argument)
        value = node.args[at] if at < len(node.args) else node.kwargs.get(argument)
        found += [masks[id(leaf)] for leaf in flatten(value) if id(leaf) in masks]
    return found


def _output_masks(node: Node, masks: Masks) -> list[SymbolicTensor | None]:
    """The mask of each output, computed by as many nodes as Keras needs."""
    layer: Any = node.layer
    first = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    inputs = [leaf for leaf in flatten(first) if isinstance(leaf, SymbolicTensor)]
    own = [masks.get(id(leaf)) for leaf in inputs]
    name = type(layer).__name__
    if isinstance(layer, Embedding):
        return [_computed(inputs[0])] if getattr(layer, "mask_zero", False) and inputs else []
    if name == "Masking":
        return [_computed(_computed(inputs[0]))]  # not equal, then any
    if name == "Concatenate":
        return [_joined(inputs, own)] if any(mask is not None for mask in own) else []
    if name in _MERGING:
        return [_merged([mask for mask in own if mask is not None])] if own and all(mask is not None for mask in own) else []
    if not _hands_on(layer):
        return []
    explicit = node.kwargs.get("mask")
    return [explicit if isinstance(explicit, SymbolicTensor) else mask for mask in own[:1]]


_MERGING = frozenset({"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"})


def _hands_on(layer: Layer) -> bool:
    return bool(layer.supports_masking) and bool(getattr(layer, "return_sequences", True))


def _computed(*inputs: SymbolicTensor) -> SymbolicTensor:
    mask = SymbolicTensor((), "bool")
    mask.node = MaskNode(list(inputs))  # type: ignore[assignment]
    return mask


def _merged(masks: list[SymbolicTensor]) -> SymbolicTensor:
    """One or the other, two at a time."""
    mask = masks[0]
    for other in masks[1:]:
        mask = _computed(mask, other)
    return mask


def _joined(inputs: list[SymbolicTensor], masks: list[SymbolicTensor | None]) -> SymbolicTensor:
    """Masks of equal rank, one after the other, then any over the last axis."""
    parts = []
    for tensor, mask in zip(inputs, masks, strict=True):
        if mask is None:
            parts.append(_computed(tensor))  # ones
        else:
            parts.append(_computed(_computed(mask), _computed(tensor)))  # a new axis, or zeros of the tensor's shape
    return _computed(_computed(*parts))
