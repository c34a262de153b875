"""Every public name of Keras is here too, or an error says what to use."""

from __future__ import annotations

import os

import pytest

os.environ["KERAS_BACKEND"] = "torch"

import keras

import disttrain as dt

MODULES = [
    "",
    "activations",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "ops.image",
    "optimizers",
    "optimizers.schedules",
    "random",
    "regularizers",
    "saving",
    "tree",
    "utils",
]


@pytest.mark.parametrize("module", MODULES)
def test_a_name_of_keras_is_here_or_says_what_to_use(module):
    theirs, ours = keras, dt
    for part in module.split(".") if module else ():
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    lacking = {}
    for name in sorted(name for name in dir(theirs) if not name.startswith("_") and name != "src"):
        try:
            getattr(ours, name)
        except AttributeError as error:
            if "\n  try  " not in str(error):
                lacking[name] = str(error)
    assert lacking == {}
