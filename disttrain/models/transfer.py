"""Weights from one model into another, by the names of layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch

from disttrain.layers.layer import Layer


def transfer_weights(source: Any, target: Any, skip_mismatch: bool = False) -> list[str]:
    """Copy the weights of each layer of `source` into the layer of that name in `target`; returns the names.

    Layers are looked for in models inside too, where the model itself has no namesake. Those without a namesake are left alone.

    Args:
        skip_mismatch: warn of layers whose weights differ in number or shape, and leave them alone.

    Raises:
        ValueError: a layer's weights differ; nothing is changed then. Or no layer has a namesake.
    """
    theirs: dict[str, Layer] = {}
    for layer in _layers(source):
        theirs.setdefault(layer.name, layer)
    pairs, problems = [], []
    for layer in _matching(target, theirs):
        one, two = layer.weights, theirs[layer.name].weights
        if [weight.shape for weight in one] == [weight.shape for weight in two]:
            pairs.append((layer, one, two))
        else:
            shapes = [[tuple(weight.shape) for weight in weights] for weights in (two, one)]
            problems.append(f"{layer.name}: {shapes[0]} in {source.name}, {shapes[1]} in {target.name}")
    if problems and not skip_mismatch:
        raise ValueError("transfer_weights: weights that do not fit:\n  " + "\n  ".join(problems))
    if not pairs:
        raise ValueError(f"transfer_weights: no layer of {target._described()} is called like one of {source._described()}.")
    for problem in problems:
        warnings.warn(f"transfer_weights: left alone, {problem}", stacklevel=2)
    with torch.no_grad():
        for _, one, two in pairs:
            for weight, value in zip(one, two, strict=True):
                weight.copy_(value)
    return [layer.name for layer, _, _ in pairs]


def _layers(model: Any) -> Iterator[Layer]:
    """Layers with weights, at every depth of models inside models; outer ones first."""
    for layer in model.layers:
        if layer.weights:
            yield layer
    for layer in model.layers:
        if hasattr(layer, "get_layer"):
            yield from _layers(layer)


def _matching(model: Any, theirs: dict[str, Layer]) -> Iterator[Layer]:
    for layer in model.layers:
        if layer.name in theirs and layer.weights:
            yield layer
        elif hasattr(layer, "get_layer"):
            yield from _matching(layer, theirs)
