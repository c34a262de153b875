"""Regularizers, by hand."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch

from disttrain import regularizers

W = torch.tensor([[1.0, -2.0], [0.0, 3.0]])


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("l1", 0.01 * 6),
        ("l2", 0.01 * 14),
        ("L2", 0.01 * 14),
        (regularizers.L1L2(0.1, 0.2), 0.6 + 2.8),
        (regularizers.L1L2(), 0.0),
        (regularizers.l1_l2(0.01, 0.01), 0.06 + 0.14),
        ("l1l2", 0.0),
        (regularizers.L1(None), 0.06),
        (regularizers.L2(None), 0.14),
        (regularizers.L1L2(None, 0.2), 2.8),
        ("orthogonal_regularizer", 0.01 * 6 / (5**0.5 * 3)),  # |1 * 0 - 2 * 3| / (|row 0| * |row 1|)
        (regularizers.OrthogonalRegularizer(2.0, "columns"), 2.0 * 2 / 13**0.5),  # |1 * -2 + 0 * 3| / (1 * sqrt(13))
        ({"class_name": "L2", "config": {"l2": 0.5}}, 7.0),
        (regularizers.L1, 0.06),
        (lambda x: x.max(), 3.0),
    ],
)
def test_a_penalty_by_hand(identifier: Any, expected: float):
    assert regularizers.get(identifier)(W).item() == pytest.approx(expected)


def test_the_orthogonal_penalty_is_a_mean_over_pairs():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])  # |cos| = 0, 0.6, 0.8
    assert regularizers.OrthogonalRegularizer(0.3)(rows).item() == pytest.approx(0.3 * 1.4 / 3)


def test_one_row_alone_and_a_row_of_zeros_cost_nothing_and_have_a_finite_gradient():
    penalty = regularizers.OrthogonalRegularizer()
    assert penalty(torch.tensor([[1.0, 2.0]])).item() == 0.0
    x = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).requires_grad_()
    penalty(x).backward()
    assert penalty(x).item() == 0.0 and x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_the_gradient_of_the_orthogonal_penalty_is_that_of_its_formula(mode: str):
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(regularizers.OrthogonalRegularizer(1.0, mode), (x,))


@pytest.mark.parametrize("cls", regularizers.CLASSES.values())
def test_every_regularizer_comes_back_from_its_config(cls: Any):
    made = cls()
    again = regularizers.get(regularizers.serialize(made))
    assert type(again) is cls and again.get_config() == made.get_config()


def test_configs_come_back_and_none_stays_none():
    assert regularizers.get(None) is None and regularizers.serialize(None) is None
    assert regularizers.get(regularizers.serialize(regularizers.L1L2(0.1, 0.2))).get_config() == {"l1": 0.1, "l2": 0.2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regularizers.get("l3"), "one of l"),
        (lambda: regularizers.get(0.1), "regularizer=0.1: expected a name"),
        (lambda: regularizers.L2(-1), r"L2\(l2=-1\): expected a finite number, 0 or more"),
        (lambda: regularizers.L1(float("inf")), r"L1\(l1=inf\)"),
        (lambda: regularizers.L1L2(l2="0.1"), r"L1L2\(l2='0.1'\)"),
        (lambda: regularizers.OrthogonalRegularizer(mode="row"), "expected 'rows' or 'columns'"),
        (lambda: regularizers.OrthogonalRegularizer()(torch.ones(2, 2, 2)), "expected  a matrix"),
    ],
)
def test_what_is_wrong_is_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(regularizers).failed == 0
