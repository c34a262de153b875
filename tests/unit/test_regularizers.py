"""Regularizers, by hand."""

from __future__ import annotations

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
        (regularizers.l1_l2(), 0.06 + 0.14),
        ({"class_name": "L2", "config": {"l2": 0.5}}, 7.0),
        (regularizers.L1, 0.06),
        (lambda x: x.max(), 3.0),
    ],
)
def test_a_penalty_by_hand(identifier: Any, expected: float):
    assert regularizers.get(identifier)(W).item() == pytest.approx(expected)


def test_configs_come_back_and_none_stays_none():
    assert regularizers.get(None) is None and regularizers.serialize(None) is None
    assert regularizers.get(regularizers.serialize(regularizers.L1L2(0.1, 0.2))).get_config() == {"l1": 0.1, "l2": 0.2}


@pytest.mark.parametrize(("make", "message"), [(lambda: regularizers.get("l3"), "one of l"), (lambda: regularizers.L2(-1), "0 or more")])
def test_what_is_wrong_is_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
