"""Keras-like models on PyTorch, trained data-parallel by Ray actors, bit for bit the same whichever workers die.

    import disttrain as dt
    from disttrain import layers

    model = dt.Sequential([dt.Input((8, 8, 1)), layers.Conv2D(32, 3, activation="relu"), layers.Flatten(),
                           layers.Dense(10, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=256, epochs=10)

`python train.py` trains in this process; `disttrain launch train.py --workers 4` trains the same script on four Ray actors.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Names load on first use: a command such as `disttrain status` must not wait for torch.
_ROOMS = (
    "activations",
    "callbacks",
    "constraints",
    "errors",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "optimizers",
    "regularizers",
)
_NAMES = {
    "Callback": "disttrain.callbacks",
    "Input": "disttrain.layers",
    "Layer": "disttrain.layers",
    "Model": "disttrain.models",
    "PyDataset": "disttrain.data",
    "RunConfig": "disttrain.launch",
    "Sequential": "disttrain.models",
    "clear_session": "disttrain.layers",
    "clone_model": "disttrain.models",
    "custom_objects": "disttrain.models.saving",
    "distribute": "disttrain.launch",
    "load_model": "disttrain.models",
    "model_from_json": "disttrain.models",
    "pack_x_y_sample_weight": "disttrain.data.packing",
    "plot_model": "disttrain.models",
    "register": "disttrain.models.saving",
    "save_model": "disttrain.models",
    "set_random_seed": "disttrain.seeds",
    "set_virtual_workers": "disttrain.training.runner",
    "transfer_weights": "disttrain.models",
    "unpack_x_y_sample_weight": "disttrain.data.packing",
}
_MODULES = {"ops": "disttrain.layers.ops"}  # that lie deeper

__all__ = sorted([*_MODULES, *_NAMES, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"disttrain.{name}")
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'disttrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
