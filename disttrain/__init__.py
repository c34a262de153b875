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

import sys
from importlib import import_module
from types import ModuleType
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
    "DTypePolicy": "disttrain.mixed_precision",
    "Initializer": "disttrain.initializers",
    "Input": "disttrain.layers",
    "Layer": "disttrain.layers",
    "Loss": "disttrain.losses",
    "Metric": "disttrain.metrics",
    "Model": "disttrain.models",
    "Optimizer": "disttrain.optimizers",
    "PyDataset": "disttrain.data",
    "Regularizer": "disttrain.regularizers",
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
    "set_device": "disttrain.training.local.device",
    "set_determinism": "disttrain.determinism",
    "set_random_seed": "disttrain.seeds",
    "set_virtual_workers": "disttrain.training.local.runner",
    "transfer_weights": "disttrain.models",
    "unpack_x_y_sample_weight": "disttrain.data.packing",
}
_MODULES = {
    "dtype_policies": "disttrain.mixed_precision",
    "ops": "disttrain.layers.ops",
    "random": "disttrain.layers.random",
}  # that lie deeper

# Where Keras has a module that gathers names from all over: {its name: {name in it: (module, name there)}}.
_GATHERED = {
    "config": {
        "dtype_policy": ("disttrain.mixed_precision", "dtype_policy"),
        "set_dtype_policy": ("disttrain.mixed_precision", "set_dtype_policy"),
    },
    "saving": {
        "custom_object_scope": ("disttrain.models.saving", "custom_objects"),
        "deserialize_keras_object": ("disttrain.models.saving.any_object", "deserialize_any"),
        "load_model": ("disttrain.models.saving", "load_model"),
        "load_weights": ("disttrain.models.saving", "load_weights"),
        "register_keras_serializable": ("disttrain.models.saving", "register"),
        "save_model": ("disttrain.models.saving", "save_model"),
        "save_weights": ("disttrain.models.saving", "save_weights"),
        "serialize_keras_object": ("disttrain.models.saving", "serialize_object"),
    },
    "utils": {
        "PyDataset": ("disttrain.data", "PyDataset"),
        "Sequence": ("disttrain.data", "PyDataset"),
        "clear_session": ("disttrain.layers", "clear_session"),
        "custom_object_scope": ("disttrain.models.saving", "custom_objects"),
        "deserialize_keras_object": ("disttrain.models.saving.any_object", "deserialize_any"),
        "pack_x_y_sample_weight": ("disttrain.data.packing", "pack_x_y_sample_weight"),
        "pad_sequences": ("disttrain.data.encoding", "pad_sequences"),
        "plot_model": ("disttrain.models", "plot_model"),
        "register_keras_serializable": ("disttrain.models.saving", "register"),
        "serialize_keras_object": ("disttrain.models.saving", "serialize_object"),
        "set_random_seed": ("disttrain.seeds", "set_random_seed"),
        "to_categorical": ("disttrain.data.encoding", "to_categorical"),
        "unpack_x_y_sample_weight": ("disttrain.data.packing", "unpack_x_y_sample_weight"),
    },
}


class _Gathered(ModuleType):
    """A module of names that live elsewhere, each loaded on first use."""

    def __init__(self, name: str, names: dict[str, tuple[str, str]]) -> None:
        super().__init__(f"disttrain.{name}", f"The names of Keras's `{name}` that are here.")
        self.__all__ = sorted(names)

    def __getattr__(self, name: str) -> Any:
        names = _GATHERED[self.__name__.removeprefix("disttrain.")]
        if name in names:
            module, there = names[name]
            return getattr(import_module(module), there)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return list(self.__all__)


for _name, _names in _GATHERED.items():
    globals()[_name] = sys.modules[f"disttrain.{_name}"] = _Gathered(_name, _names)  # for `from disttrain.utils import ...` too
del _name, _names

__all__ = sorted([*_GATHERED, *_MODULES, *_NAMES, *_ROOMS, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"disttrain.{name}")
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    if name == "__version__":
        return import_module("importlib.metadata").version("disttrain")  # late: 10 ms
    raise AttributeError(f"module 'disttrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
