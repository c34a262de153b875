"""The weights of a plain torch module out of a model, as that module itself would name them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from disttrain import watch
from disttrain.layers.core.torch_module import TorchModule
from disttrain.layers.layer import Layer


def module_state_dict(model: Layer, name: str | None = None) -> dict[str, Tensor]:
    """`state_dict()` of the module that a model holds: copies on the CPU, tied weights under each of their names.

    Args:
        name: of the layer or attribute; not needed where there is one.

    Raises:
        ValueError: there is none, there are several, or weights of the model are in none of them.
    """
    held = modules_of(model)
    if name is None and len(held) != 1:
        found = f"holds {', '.join(held)}" if held else "holds no plain torch module"
        raise ValueError(
            f"{model._described()}.module_state_dict(): the model {found}.\n"
            "  expected  one module, or its name\n"
            + (f"  try       module_state_dict({next(iter(held))!r})" if held else "  try       model.state_dict()")
        )
    if name is not None and name not in held:
        raise ValueError(f"module_state_dict({name!r}): no such module.\n  expected  one of {', '.join(held) or 'none: there is none'}")
    module = next(iter(held.values())) if name is None else held[name]
    watch.sync_before_read()
    return {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items() if isinstance(value, Tensor)}


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """The plain torch modules directly inside, by name."""
    found: dict[str, nn.Module] = {}
    for name, child in model._modules.items():
        if isinstance(child, TorchModule):
            found[name] = child.module
        elif child is not None and not isinstance(child, Layer):
            found[name] = child
    return found


def lacks_weights(model: Any) -> bool:
    """Is there a layer that has not made its weights? A chain, and a model without a `call`, have them when all inside have."""
    if model.built:
        return False
    if model._has_outputs() and not getattr(model, "_chain", ()):
        return True
    return any(isinstance(layer, Layer) and layer is not model and not layer.built for layer in model.modules())
