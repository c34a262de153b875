"""Models: layers that train together, and the files that hold them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from disttrain.identifiers import no_such_name
from disttrain.layers import Input
from disttrain.layers.core.lambda_layer import read_by
from disttrain.models.model import Model
from disttrain.models.sequential import Sequential

if TYPE_CHECKING:
    from disttrain.models.clone import clone_model
    from disttrain.models.plot import plot_model
    from disttrain.models.saving import load_model, model_from_json, save_model
    from disttrain.models.transfer import transfer_weights

# What comes after the training loads on first use.
_LATER = {
    "clone_model": "clone",
    "load_model": "saving",
    "model_from_json": "saving",
    "plot_model": "plot",
    "save_model": "saving",
    "transfer_weights": "transfer",
}

read_by(lambda: import_module("disttrain.models.saving.any_object").deserialize_any)  # late: files load where one is read or written

__all__ = ["Input", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "plot_model", "save_model", "transfer_weights"]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise no_such_name("disttrain.models", name, __all__)
    globals()[name] = value = getattr(import_module(f"disttrain.models.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
