"""Dropout in recurrent layers: one mask for all steps of a call, drawn from the key of the slice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context


def trained(layer: L.Layer, x: Any, key: int = 1, **call: Any) -> Any:
    with call_context(CallContext(training=True, key=key)):
        return layer(x, **call)


def test_the_input_mask_is_the_same_at_every_step_and_scales_what_is_left():
    layer = L.SimpleRNN(
        3, None, dropout=0.5, use_bias=False, return_sequences=True, recurrent_initializer="zeros", kernel_initializer="identity"
    )
    y = trained(layer, torch.ones(8, 6, 3))
    assert torch.equal(y[:, :1].expand_as(y), y) and set(y.unique().tolist()) == {0.0, 2.0}


def test_the_state_mask_is_the_same_at_every_step():
    layer = L.SimpleRNN(
        4, None, recurrent_dropout=0.5, use_bias=False, return_sequences=True, kernel_initializer="zeros", recurrent_initializer="identity"
    )
    y = trained(layer, torch.ones(4, 3, 1), initial_state=torch.ones(4, 4))
    assert set(y[:, 0].unique().tolist()) == {0.0, 2.0}
    assert torch.equal(y[:, 2], 4 * y[:, 0])


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU])
def test_masks_are_drawn_for_each_gate_once_there_is_recurrent_dropout(cls: Any):
    shared, apart, asked = cls(2, dropout=0.5), cls(2, dropout=0.5, recurrent_dropout=0.5), cls(2, dropout=0.5, implementation=1)
    gates = shared.cell.gates
    with call_context(CallContext(training=True, key=1)):
        assert [None if m is None else tuple(m.shape) for m in shared.cell.draw_masks((3, 1), (3, 2), True)] == [(3, 1), None]
        assert [tuple(m.shape) for m in apart.cell.draw_masks((3, 1), (3, 2), True)] == [(gates, 3, 1), (gates, 3, 2)]
        assert asked.cell.draw_masks((3, 1), (3, 2), True)[0].shape == (gates, 3, 1)
    assert shared.cell.draw_masks((3, 1), (3, 2), False) == (None, None)


@pytest.mark.parametrize("reset_after", [False, True])
def test_masks_for_each_gate_that_are_alike_do_what_one_for_all_does(reset_after: bool):
    torch.manual_seed(0)
    cell = L.GRUCell(3, reset_after=reset_after, bias_initializer="random_normal")
    cell.build((None, 2))
    x, h = torch.randn(4, 2), torch.randn(4, 3)
    of_x, of_h = torch.randint(0, 2, (4, 2)).float(), torch.randint(0, 2, (4, 3)).float()
    one, _ = cell.step(cell.project(x, of_x), [h], of_h)
    three, _ = cell.step(cell.project(x, of_x.expand(3, 4, 2)), [h], of_h.expand(3, 4, 3))
    torch.testing.assert_close(one, three)


@pytest.mark.parametrize("cls", [L.LSTM, L.GRU, L.SimpleRNN])
@pytest.mark.parametrize("recurrent", [0.0, 0.3])
def test_a_key_gives_the_same_masks_and_another_key_or_seed_others(cls: Any, recurrent: float):
    layer, x = cls(3, dropout=0.4, recurrent_dropout=recurrent), torch.ones(4, 3, 5)
    first = trained(layer, x)
    assert torch.equal(trained(layer, x), first) and not torch.equal(trained(layer, x, key=2), first)
    seeded = cls.from_config({**layer.get_config(), "seed": 4})
    seeded.build((None, 3, 5))
    seeded.set_weights(layer.get_weights())
    assert not torch.equal(trained(seeded, x), first)


def test_fused_and_step_by_step_draw_the_same_masks():
    layer, x = L.LSTM(3, dropout=0.4, return_sequences=True), torch.randn(4, 3, 5)
    fused = trained(layer, x)
    layer.use_cudnn = False
    torch.testing.assert_close(trained(layer, x), fused, atol=1e-6, rtol=1e-5)


def test_without_training_nothing_is_dropped():
    layer, x = L.GRU(3, dropout=0.5, recurrent_dropout=0.5), torch.ones(2, 3, 1)
    plain = L.GRU(3)
    plain.build((None, 3, 1))
    layer(x)
    plain.set_weights(layer.get_weights())
    torch.testing.assert_close(layer(x), plain(x))


def test_a_rate_of_one_drops_everything():
    layer = L.LSTM(3, dropout=1.0)
    assert not trained(layer, torch.ones(2, 3, 1), initial_state=[torch.zeros(2, 3)] * 2).isnan().any()
    assert torch.equal(trained(layer, torch.ones(2, 3, 1)), trained(layer, 5 * torch.ones(2, 3, 1)))


@pytest.mark.parametrize("rate", [-0.1, 1.5, True, "half"])
def test_a_rate_that_is_no_share_is_refused(rate: Any):
    with pytest.raises(ValueError, match=r"LSTM\(dropout=.*expected a number from 0 to 1"):
        L.LSTM(2, dropout=rate)
