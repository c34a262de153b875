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
    "data",
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
    "FloatDTypePolicy": "disttrain.mixed_precision",
    "Initializer": "disttrain.initializers",
    "Input": "disttrain.layers",
    "InputSpec": "disttrain.layers",
    "KerasTensor": "disttrain.layers.symbolic",
    "Layer": "disttrain.layers",
    "Loss": "disttrain.losses",
    "Metric": "disttrain.metrics",
    "Model": "disttrain.models",
    "Optimizer": "disttrain.optimizers",
    "PyDataset": "disttrain.data",
    "Regularizer": "disttrain.regularizers",
    "RunConfig": "disttrain.launch",
    "Sequential": "disttrain.models",
    "Variable": "disttrain.variables",
    "clear_session": "disttrain.layers",
    "clone_model": "disttrain.models",
    "custom_objects": "disttrain.models.saving",
    "distribute": "disttrain.launch",
    "load_model": "disttrain.models",
    "name_scope": "disttrain.variables",
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
    "tree": "disttrain.layers.tree",
}  # that lie deeper

# Where Keras has a module that gathers names from all over: {its name: {name in it: (module, name there)}}.
_GATHERED = {
    "backend": {
        "backend": ("disttrain.layers.settings", "backend"),
        "clear_session": ("disttrain.layers", "clear_session"),
        "epsilon": ("disttrain.layers.settings", "epsilon"),
        "floatx": ("disttrain.layers.settings", "floatx"),
        "get_uid": ("disttrain.layers.settings", "get_uid"),
        "image_data_format": ("disttrain.layers.settings", "image_data_format"),
        "is_float_dtype": ("disttrain.layers.settings", "is_float_dtype"),
        "is_int_dtype": ("disttrain.layers.settings", "is_int_dtype"),
        "is_keras_tensor": ("disttrain.layers.settings", "is_keras_tensor"),
        "result_type": ("disttrain.layers.settings", "result_type"),
        "set_epsilon": ("disttrain.layers.settings", "set_epsilon"),
        "set_floatx": ("disttrain.layers.settings", "set_floatx"),
        "set_image_data_format": ("disttrain.layers.settings", "set_image_data_format"),
        "standardize_dtype": ("disttrain.layers.settings", "standardize_dtype"),
    },
    "config": {
        "backend": ("disttrain.layers.settings", "backend"),
        "disable_traceback_filtering": ("disttrain.layers.settings", "disable_traceback_filtering"),
        "dtype_policy": ("disttrain.mixed_precision", "dtype_policy"),
        "enable_flash_attention": ("disttrain.layers.settings", "enable_flash_attention"),
        "enable_interactive_logging": ("disttrain.layers.settings", "enable_interactive_logging"),
        "epsilon": ("disttrain.layers.settings", "epsilon"),
        "floatx": ("disttrain.layers.settings", "floatx"),
        "image_data_format": ("disttrain.layers.settings", "image_data_format"),
        "is_flash_attention_enabled": ("disttrain.layers.settings", "is_flash_attention_enabled"),
        "is_interactive_logging_enabled": ("disttrain.layers.settings", "is_interactive_logging_enabled"),
        "is_nnx_enabled": ("disttrain.layers.settings", "is_nnx_enabled"),
        "is_traceback_filtering_enabled": ("disttrain.layers.settings", "is_traceback_filtering_enabled"),
        "set_backend": ("disttrain.layers.settings", "set_backend"),
        "set_dtype_policy": ("disttrain.mixed_precision", "set_dtype_policy"),
        "set_epsilon": ("disttrain.layers.settings", "set_epsilon"),
        "set_floatx": ("disttrain.layers.settings", "set_floatx"),
        "set_image_data_format": ("disttrain.layers.settings", "set_image_data_format"),
    },
    "saving": {
        "CustomObjectScope": ("disttrain.models.saving", "custom_objects"),
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
        "CustomObjectScope": ("disttrain.models.saving", "custom_objects"),
        "Progbar": ("disttrain.callbacks.progbar", "Progbar"),
        "PyDataset": ("disttrain.data", "PyDataset"),
        "Sequence": ("disttrain.data", "PyDataset"),
        "array_to_img": ("disttrain.pictures.files", "array_to_img"),
        "clear_session": ("disttrain.layers", "clear_session"),
        "custom_object_scope": ("disttrain.models.saving", "custom_objects"),
        "deserialize_keras_object": ("disttrain.models.saving.any_object", "deserialize_any"),
        "enable_interactive_logging": ("disttrain.layers.settings", "enable_interactive_logging"),
        "image_dataset_from_directory": ("disttrain.pictures.folder", "image_dataset_from_directory"),
        "img_to_array": ("disttrain.pictures.files", "img_to_array"),
        "is_interactive_logging_enabled": ("disttrain.layers.settings", "is_interactive_logging_enabled"),
        "is_keras_tensor": ("disttrain.layers.settings", "is_keras_tensor"),
        "load_img": ("disttrain.pictures.files", "load_img"),
        "normalize": ("disttrain.data.encoding", "normalize"),
        "pack_x_y_sample_weight": ("disttrain.data.packing", "pack_x_y_sample_weight"),
        "pad_sequences": ("disttrain.data.encoding", "pad_sequences"),
        "plot_model": ("disttrain.models", "plot_model"),
        "register_keras_serializable": ("disttrain.models.saving", "register"),
        "save_img": ("disttrain.pictures.files", "save_img"),
        "serialize_keras_object": ("disttrain.models.saving", "serialize_object"),
        "set_random_seed": ("disttrain.seeds", "set_random_seed"),
        "split_dataset": ("disttrain.data.splitting", "split_dataset"),
        "standardize_dtype": ("disttrain.layers.settings", "standardize_dtype"),
        "text_dataset_from_directory": ("disttrain.data.text_folder", "text_dataset_from_directory"),
        "timeseries_dataset_from_array": ("disttrain.data.timeseries", "timeseries_dataset_from_array"),
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
        no_such_name = import_module("disttrain.identifiers").no_such_name  # late: see below
        raise no_such_name(self.__name__, name, names)

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
    no_such_name = import_module("disttrain.identifiers").no_such_name  # late: most commands never need it
    raise no_such_name("disttrain", name, __all__)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
