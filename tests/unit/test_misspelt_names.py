"""A name that is not there is answered with the nearest that are, or with what to use."""

from __future__ import annotations

import importlib

import pytest

import disttrain as dt


@pytest.mark.parametrize(
    ("module", "wrong", "nearest"),
    [
        ("disttrain", "Sequental", "Sequential"),
        ("disttrain.layers", "Desne", "Dense"),
        ("disttrain.losses", "MeanSquareError", "MeanSquaredError"),
        ("disttrain.metrics", "BinaryAcuracy", "BinaryAccuracy"),
        ("disttrain.optimizers", "AdamWW", "AdamW"),
        ("disttrain.optimizers.schedules", "CosineDecy", "CosineDecay"),
        ("disttrain.callbacks", "EarlyStoping", "EarlyStopping"),
        ("disttrain.initializers", "HeNormel", "HeNormal"),
        ("disttrain.regularizers", "L1L3", "L1L2"),
        ("disttrain.constraints", "MaxNrm", "MaxNorm"),
        ("disttrain.activations", "sigmoidd", "sigmoid"),
        ("disttrain.models", "Sequentail", "Sequential"),
        ("disttrain.layers.ops", "reshap", "reshape"),
        ("disttrain.layers.random", "unifrm", "uniform"),
        ("disttrain.utils", "to_categorcal", "to_categorical"),
        ("disttrain.saving", "load_modl", "load_model"),
    ],
)
def test_the_nearest_names_are_in_the_message(module, wrong, nearest):
    with pytest.raises(AttributeError, match=rf"has no attribute '{wrong}'\n  nearest .*\b{nearest}\b"):
        getattr(importlib.import_module(module), wrong)
    with pytest.raises(ImportError, match=rf"cannot import name '{wrong}' from .*\n  nearest .*\b{nearest}\b"):
        exec(f"from {module} import {wrong}", {})


def test_what_is_like_no_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match=r"^module 'disttrain' has no attribute 'qqqqqq'$"):
        _ = dt.qqqqqq
    assert not hasattr(dt, "Sequental") and getattr(dt.layers, "Desne", None) is None


@pytest.mark.parametrize(("name", "instead"), [("datasets", "torchvision.datasets"), ("applications", "torchvision.models")])
def test_what_is_not_here_says_what_to_use(name, instead):
    with pytest.raises(AttributeError, match=rf"(?s)has no attribute '{name}'.*try .*{instead}"):
        getattr(dt, name)
