"""How each kind of weight of a layer starts, what it costs and what it may become: initializer, regularizer and constraint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from disttrain import constraints, initializers, regularizers
from disttrain.layers.layer import Layer


def keep_settings(layer: Layer, **kinds: Sequence[Any]) -> None:
    """Set `<kind>_initializer`, `<kind>_regularizer` and `<kind>_constraint` of `layer`, each from a name, a config or an object.

    Args:
        kinds: kind of weight -> (initializer, regularizer, constraint); a kind that is not given all three has None for the others.
    """
    for kind, (initializer, regularizer, constraint) in kinds.items():
        setattr(layer, f"{kind}_initializer", initializers.get(initializer))
        setattr(layer, f"{kind}_regularizer", regularizers.get(regularizer))
        setattr(layer, f"{kind}_constraint", constraints.get(constraint))


def add_configured(layer: Layer, name: str, shape: Sequence[int], kind: str | None = None, **options: Any) -> Any:
    """The weight `name` of `shape`, with the settings of `kind`, which is its name unless told; `options` go to `add_weight`."""
    kind = kind or name
    initializer = options.pop("initializer", None) or getattr(layer, f"{kind}_initializer")
    regularizer, constraint = getattr(layer, f"{kind}_regularizer"), getattr(layer, f"{kind}_constraint")
    return layer.add_weight(name, tuple(shape), initializer, regularizer, constraint=constraint, **options)


def settings_config(layer: Layer, *kinds: str) -> dict[str, Any]:
    """The settings of these kinds of weights, for `get_config`."""
    config: dict[str, Any] = {}
    for kind in kinds:
        config[f"{kind}_initializer"] = initializers.serialize(getattr(layer, f"{kind}_initializer"))
        config[f"{kind}_regularizer"] = regularizers.serialize(getattr(layer, f"{kind}_regularizer"))
        config[f"{kind}_constraint"] = constraints.serialize(getattr(layer, f"{kind}_constraint"))
    return config


def refuse_adapters(owner: str, kwargs: dict[str, Any]) -> None:
    """Take Keras's arguments for low-rank adapters and quantized weights out of `kwargs`, unless one is used.

    Raises:
        ValueError: one of them is not None.
    """
    for argument in ("lora_rank", "lora_alpha", "quantization_config", "gptq_unpacked_column_size"):
        value = kwargs.pop(argument, None)
        if value is not None:
            raise ValueError(
                f"{owner}({argument}={value!r}) is not supported: weights are trained or frozen whole, in a float dtype. Leave it None."
            )
