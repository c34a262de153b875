"""Constraints, by hand."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch

from disttrain import constraints

W = torch.tensor([[3.0, 0.3, 0.0], [-4.0, 0.4, 0.0]])  # columns of norm 5, 0.5 and 0


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("max_norm", [[1.2, 0.3, 0.0], [-1.6, 0.4, 0.0]]),  # 5 -> 2
        (constraints.MaxNorm(1), [[0.6, 0.3, 0.0], [-0.8, 0.4, 0.0]]),
        (constraints.MaxNorm(0), [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        ("NonNeg", [[3.0, 0.3, 0.0], [0.0, 0.4, 0.0]]),
        ("unit_norm", [[0.6, 0.6, 0.0], [-0.8, 0.8, 0.0]]),
        ("min_max_norm", [[0.6, 0.3, 0.0], [-0.8, 0.4, 0.0]]),
        (constraints.MinMaxNorm(1.0, 3.0), [[1.8, 0.6, 0.0], [-2.4, 0.8, 0.0]]),
        (constraints.MinMaxNorm(1.0, 3.0, rate=0.5), [[2.4, 0.45, 0.0], [-3.2, 0.6, 0.0]]),  # 5 -> 4, 0.5 -> 0.75
        ({"class_name": "MaxNorm", "config": {"max_value": 1.0, "axis": 0}}, [[0.6, 0.3, 0.0], [-0.8, 0.4, 0.0]]),
        (constraints.non_neg, [[3.0, 0.3, 0.0], [0.0, 0.4, 0.0]]),
        (constraints.Constraint, W.tolist()),
        (lambda w: -w, (-W).tolist()),
    ],
)
def test_a_projection_by_hand(identifier: Any, expected: list[list[float]]):
    found = constraints.get(identifier)
    assert found is not None
    torch.testing.assert_close(found(W), torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [[0, 1, 2], (0, 1, 2), [-4, -3, -2]])
def test_the_norm_of_a_filter_runs_over_several_axes(axis: Any):
    kernel = torch.full((2, 2, 4, 3), 0.5)  # each filter has norm 2
    torch.testing.assert_close(constraints.MaxNorm(1.0, axis=axis)(kernel), kernel / 2)


@pytest.mark.parametrize("name", sorted(constraints.CLASSES))
def test_every_constraint_keeps_shape_and_dtype_and_comes_back_from_its_config(name: str):
    constraint = constraints.CLASSES[name]()
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert constraint(weight).shape == weight.shape and constraint(weight).dtype == weight.dtype
    again = constraints.get(constraints.serialize(constraint))
    assert type(again) is type(constraint) and again.get_config() == constraint.get_config()


def test_arguments_come_back_from_the_config():
    made = constraints.MinMaxNorm(0.5, 2.0, rate=0.7, axis=(0, 1))
    assert made.get_config() == {"min_value": 0.5, "max_value": 2.0, "rate": 0.7, "axis": [0, 1]}
    assert constraints.get(constraints.serialize(made)).get_config() == made.get_config()


def test_none_stays_none_and_what_the_module_does_not_know_stays_itself():
    def halved(w: torch.Tensor) -> torch.Tensor:
        return w / 2

    assert constraints.get(None) is None and constraints.serialize(None) is None
    assert constraints.get(halved) is halved and constraints.serialize(halved) is halved


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constraints.get("maxnorm"), r"constraint='maxnorm': no such constraint.\n  expected  one of max_norm"),
        (lambda: constraints.get({"class_name": "MaxNrom", "config": {}}), "expected  one of MaxNorm"),
        (lambda: constraints.get(3), "constraint=3: expected a name such as 'non_neg'"),
        (lambda: constraints.MaxNorm(-1.0), r"MaxNorm\(max_value=-1.0\): expected a finite number, 0 or more"),
        (lambda: constraints.MaxNorm(float("nan")), r"max_value=nan"),
        (lambda: constraints.UnitNorm(axis="0"), r"UnitNorm\(axis='0'\)"),
        (lambda: constraints.UnitNorm(axis=[0.5]), r"UnitNorm\(axis=\[0.5\]\)"),
        (lambda: constraints.MinMaxNorm(2.0, 1.0), "expected min_value <= max_value"),
        (lambda: constraints.MinMaxNorm(rate=1.5), "from 0 to 1"),
    ],
)
def test_what_is_wrong_is_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(constraints).failed == 0
