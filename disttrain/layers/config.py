"""Configs of layers: what a constructor accepts, and what files of Keras hold beyond it."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

# Keys of Keras's configs for abilities that are not here, with the value that means "not used": dropped then, refused otherwise.
_NEUTRAL: dict[str, Any] = {
    "autocast": True,
    "lora_alpha": None,
    "lora_rank": None,
    "mask_zero": False,
    "quantization_config": None,
    "ragged": False,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "rms_scaling": False,
    "sparse": False,
    "stateful": False,
    "synchronized": False,
    "use_cudnn": "auto",
    "zero_output_for_mask": False,
}


@cache
def _arguments(cls: type) -> frozenset[str]:
    found: set[str] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        found |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break  # nothing reaches the bases but what this constructor hands on itself
    return frozenset(found)


def accepted_arguments(cls: type) -> set[str]:
    """The arguments that a constructor takes, and hands on to its bases."""
    return set(_arguments(cls))


def known_arguments() -> set[str]:
    """The arguments that every layer has."""
    return {"activity_regularizer", "autocast", "dtype", "input_dim", "input_shape", "name", "trainable"}


_WRITES_NO_ARGUMENTS = ("disttrain.layers.layer", "disttrain.models.model")  # where get_config knows those of every layer alone


def unwritten_arguments(cls: Any) -> frozenset[str]:
    """The arguments of a constructor that the class's get_config leaves to the base."""
    return _unwritten(cls)


@cache
def _unwritten(cls: Any) -> frozenset[str]:
    if cls.get_config.__module__ not in _WRITES_NO_ARGUMENTS or cls.__module__ in _WRITES_NO_ARGUMENTS:
        return frozenset()
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # the first is the object, whatever it is called
    own = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return frozenset((own | accepted_arguments(cls)) - known_arguments() - {"inputs", "outputs"})


def simple_arguments(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """What a constructor is given for its unwritten arguments, defaults included; None if that is not all plain values."""
    try:
        bound = inspect.signature(cls.__init__).bind(None, *args, **kwargs)
    except TypeError:
        return None  # the constructor is about to say so
    bound.apply_defaults()
    given = {**bound.arguments, **kwargs}
    values = {name: given[name] for name in unwritten_arguments(cls) if name in given}
    return values if all(_is_plain(value) for value in values.values()) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def for_constructor(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    """`config` without keys for unused abilities of Keras.

    Raises:
        ValueError: a key asks for an ability that is not here.
    """
    accepted = accepted_arguments(cls)
    kept = {}
    for key, value in config.items():
        if key in accepted:
            kept[key] = value
        elif key in known_arguments() or (key.endswith("_constraint") and value is None):
            continue  # a constructor without **kwargs leaves name, dtype and the like at their defaults
        elif key in _NEUTRAL or key.endswith("_constraint"):
            if value != _NEUTRAL.get(key) and key != "renorm_momentum":
                raise ValueError(f"{cls.__name__}({key}={value!r}) is not supported: only {key}={_NEUTRAL.get(key)!r} is.")
        else:
            kept[key] = value  # the constructor names it in its error
    return kept
