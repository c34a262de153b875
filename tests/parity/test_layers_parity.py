"""Every case of every layer beside the same layer of Keras."""

from __future__ import annotations

import keras
import pytest
from keras_parity import assert_same_layer
from layer_case import all_cases

CASES = {name: case for name, case in all_cases().items() if case.keras}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_what_keras_computes(name: str):
    case = CASES[name]
    assert_same_layer(
        case.make,
        case.inputs,
        case.call,
        spread=case.spread,
        training=not case.drawn,
        gradients=case.differentiable,
        tolerance=case.tolerance,
    )


def test_keras_is_the_version_whose_numbers_were_checked():
    assert keras.backend.backend() == "torch" and int(keras.__version__.split(".")[0]) == 3
