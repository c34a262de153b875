"""Layers inside other layers: a config holds the inner layer itself, which two wrappers must not share by accident."""

from __future__ import annotations

from typing import Any

from disttrain.layers.layer import Layer


def wrapped(layer: Any) -> Any:
    """`layer`, marked as being inside some wrapper."""
    if isinstance(layer, Layer):
        layer.__dict__["_wrapped"] = True
    return layer


def unshared(layer: Any) -> Any:
    """`layer`; if a wrapper holds it already, one of the same config and shapes with weights of its own.

    So `from_config(get_config())` shares no weights with the layer that the config is from.
    """
    if isinstance(layer, list | tuple):
        return [unshared(item) for item in layer]
    if not isinstance(layer, Layer) or not layer.__dict__.get("_wrapped", False):
        return layer
    return fresh_copy(layer)


def fresh_copy(layer: Layer, **changes: Any) -> Any:
    """A layer with the config of `layer` but for `changes`, built for the same shapes if `layer` is built, with weights of its own."""
    copy = type(layer).from_config({**layer.get_config(), **changes})
    shapes = layer.get_build_config()
    if shapes is not None:
        copy.build_from_config(shapes)
    return copy
