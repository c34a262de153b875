"""In which dtype weights are kept, and in which layers compute.

    dt.mixed_precision.set_global_policy("mixed_bfloat16")  # before the layers are made

keeps weights, gradients and optimizer state in float32 and computes in bfloat16, which halves what moves and fills the matrix units
of GPUs and recent CPUs. End a model with a layer of `dtype="float32"`, such as the softmax, so that the loss is exact.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch

from disttrain.identifiers import no_such_name

DTYPES: dict[str, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "bool": torch.bool,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "int8": torch.int8,
    "uint8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MIXED = {"mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float32` -> `"float32"`."""
    return _NAMES.get(dtype) or str(dtype).removeprefix("torch.")


class DTypePolicy:
    """What a layer computes in and keeps its weights in.

    Args:
        name: a dtype, for both; or `"mixed_bfloat16"`, `"mixed_float16"`: that for the computation, float32 for the weights.
            None is the global policy's.

    Example:
        >>> DTypePolicy("mixed_bfloat16").variable_dtype
        'float32'
    """

    def __init__(self, name: str | torch.dtype | None = None) -> None:
        if name is None:
            name = _global.name
        if isinstance(name, torch.dtype):
            name = dtype_name(name)
        if name not in _MIXED and name not in DTYPES:
            valid = [*DTYPES, *_MIXED]
            nearest = difflib.get_close_matches(str(name), valid, n=len(valid), cutoff=0.0)
            raise ValueError(f"dtype={name!r}: no such dtype or policy.\n  expected  one of {', '.join(nearest)}, nearest first")
        self.name: str = name

    @property
    def compute_dtype(self) -> str:
        """The dtype that inputs and weights are cast to for the computation."""
        return _MIXED.get(self.name, self.name)

    @property
    def variable_dtype(self) -> str:
        """The dtype that weights are kept in."""
        return "float32" if self.name in _MIXED else self.name

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the policy."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """The inverse of `get_config`."""
        return cls(config["name"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"


Policy = FloatDTypePolicy = DTypePolicy  # Keras's other names
_global: DTypePolicy = DTypePolicy("float32")


def get(dtype: Any) -> DTypePolicy:
    """A policy from a name, a torch dtype, a policy, Keras's config of one, or None for the global policy.

    Raises:
        ValueError: no such dtype or policy; the valid ones are listed, nearest first.
    """
    if isinstance(dtype, DTypePolicy):
        return dtype
    if isinstance(dtype, dict) and "DTypePolicy" in str(dtype.get("class_name")):
        dtype = (dtype.get("config") or {}).get("name")
    return DTypePolicy(dtype)


def serialize(policy: DTypePolicy) -> dict[str, Any]:
    """The policy as configs of layers hold it."""
    return {"module": "keras", "class_name": "DTypePolicy", "config": policy.get_config(), "registered_name": None}


def deserialize(config: Any) -> DTypePolicy:
    """The inverse of `serialize`."""
    return get(config)


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are made without `dtype`."""
    return _global


def set_dtype_policy(policy: Any) -> None:
    """Give layers that are made from now on, without `dtype`, this policy: a name, a dtype or a DTypePolicy."""
    global _global
    chosen = get(policy)
    if not DTYPES[chosen.compute_dtype].is_floating_point:
        raise ValueError(f"set_dtype_policy({policy!r}): expected a floating-point dtype or a mixed policy.")
    _global = chosen


global_policy = dtype_policy  # the names of keras.mixed_precision
set_global_policy = set_dtype_policy


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.mixed_precision", name, globals())
