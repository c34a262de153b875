"""Modules with parametrizations, such as weight norm: torch gives each a class of its own, which does not pickle, and it can be made anew.

The two functions of torch that make it are private; they have been what they are since parametrizations exist.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize


def is_parametrized(value: Any) -> bool:
    """Is it such a module?"""
    return isinstance(value, nn.Module) and "parametrizations" in value.__dict__.get("_modules", ())


def reduce_parametrized(module: nn.Module) -> tuple[Any, ...]:
    """For `reducer_override`: the module as its own class has it, and then the class that torch makes of that."""
    own = type(module).__bases__[0]
    return _bare, (own,), dict(module.__dict__), None, None, _fill


def _bare(cls: Any) -> Any:
    return cls.__new__(cls)


def _fill(module: nn.Module, state: dict[str, Any]) -> None:
    module.__dict__.update(state)
    parametrize._inject_new_class(module)
    for name in module.parametrizations:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)
