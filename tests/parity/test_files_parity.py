"""Files both ways: what Keras saved opens here, what is saved here opens in Keras, and both compute the same."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras_parity import tensors
from layer_case import Case, all_cases

import disttrain as dt
from disttrain import layers as L
from disttrain.layers.structure import flatten, map_structure

# Keras's own, when it writes its variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Keras makes these models but cannot run them; what is wrong there stands beside.
KERAS_FAILS = {
    "LayerNormalization, inner axes",  # torch's layer_norm is handed the wrong shape
}


def by_class() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = defaultdict(list)
    for name, case in all_cases().items():
        if case.keras and name not in KERAS_FAILS:
            found[name.split(",")[0]].append(case)
    return dict(found)


BY_CLASS = by_class()


def model_of(api: Any, cases: list[Case]) -> tuple[Any, list[Any]]:
    """(one functional model with every case of a layer, its inputs as data); `api` is `keras` or `disttrain`."""
    inputs, data, outputs = [], [], []
    for case in cases:
        args = list(case.inputs) if case.spread else [case.inputs]
        made = map_structure(lambda x: api.Input(x.shape[1:], dtype=str(x.dtype)) if isinstance(x, np.ndarray) else x, args)
        settings = {key: value for key, value in (case.call or {}).items() if not isinstance(value, np.ndarray)}
        outputs += flatten(case.make(api.layers)(*made, **settings))
        inputs += [leaf for leaf, value in zip(flatten(made), flatten(args), strict=True) if isinstance(value, np.ndarray)]
        data += [value for value in flatten(args) if isinstance(value, np.ndarray)]
    return api.Model(inputs, outputs), tensors(data)


def same_outputs(ours: Any, theirs: Any, data: Any, tolerance: float = 1e-5) -> None:
    with torch.no_grad():
        mine = [torch.as_tensor(leaf) for leaf in flatten(ours(data))]
        other = [torch.as_tensor(leaf) for leaf in flatten(theirs(data))]
    assert [tuple(leaf.shape) for leaf in mine] == [tuple(leaf.shape) for leaf in other]
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_layer_goes_through_files_both_ways(name: str, tmp_path: Path):
    cases = BY_CLASS[name]
    tolerance = max(case.tolerance for case in cases)
    theirs, data = model_of(keras, cases)
    theirs.save(tmp_path / "theirs.keras")
    ours = dt.load_model(tmp_path / "theirs.keras")
    same_outputs(ours, theirs, data, tolerance)
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    same_outputs(again, theirs, data, tolerance)
    own, _ = model_of(dt, cases)
    own.load_weights(tmp_path / "theirs.keras")
    same_outputs(own, theirs, data, tolerance)
    own.save_weights(tmp_path / "own.weights.h5")
    theirs.load_weights(tmp_path / "own.weights.h5")
