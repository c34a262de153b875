"""Each layer through the shared harness."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from layer_case import VEC, Case, all_cases
from torch import nn

from disttrain import layers as L

CASES = all_cases()
FIRST = {name.split(",")[0]: case for name, case in reversed(CASES.items())}  # tracing is slow: one case of each class


@pytest.mark.parametrize("name", CASES)
def test_a_layer_keeps_the_promises_of_the_harness(name: str, harness: Any):
    harness.check_layer(CASES[name])


@pytest.mark.parametrize("name", sorted(name for name, case in FIRST.items() if case.traced))
def test_a_layer_can_be_compiled_and_exported(name: str, harness: Any):
    harness.check_traces(FIRST[name])


def test_every_layer_that_files_may_name_runs_through_the_harness():
    of_text = {"StringLookup", "TextVectorization"}  # see preprocessing/test_text_layers.py
    assert {name.split(",")[0] for name in CASES} == set(L.CLASSES) - {"InputLayer"} - of_text


@pytest.mark.parametrize(
    "make",
    [
        lambda L: L.Lambda(_halved),
        lambda L: L.TorchModule(nn.Linear(4, 2)),
        lambda L: L.TorchModule(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), name="net"),
    ],
)
def test_layers_that_are_code_keep_all_promises_but_being_saved(make: Any, harness: Any):
    harness.check_layer(Case(make, VEC), savable=False)


def _halved(x: torch.Tensor) -> torch.Tensor:
    return x[:, :2] / 2
