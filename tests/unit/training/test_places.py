"""Where weights and samples lie changes no bit, on a processor where it could: beside other weights, frozen ones, off a border, alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, job_of, run_to_end
from off_border import off_border, push_off_borders
from place_bits import OtherBitsByPlace

import disttrain as dt
from disttrain import layers, optimizers
from disttrain.data import PyDataset

SAMPLES = np.random.default_rng(3).normal(size=(12, 10)).astype("float32")
TARGETS = np.random.default_rng(4).normal(size=(12, 2)).astype("float32")


class Squashed(optimizers.SGD):
    """A rule of a script's own, which takes no care of the ends of tensors."""

    def update(self, params, grads, slots, step, learning_rate):
        torch._foreach_add_(params, torch._foreach_sigmoid(grads), alpha=-learning_rate)


RULES: dict[str, Any] = {
    "Adam": lambda: optimizers.Adam(0.01),
    "SGD, momentum": lambda: optimizers.SGD(0.01, momentum=0.9),
    "Ftrl, power": lambda: optimizers.Ftrl(0.1, learning_rate_power=-0.3),
    "a rule of the script's own": lambda: Squashed(0.01),
}


class TwoBranches(dt.Model):
    """Two outputs that share nothing: what becomes of one branch never depends on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = [layers.Dense(7, "tanh"), layers.Dense(1)]
        self.second = [layers.Dense(5, "tanh"), layers.Dense(1)]

    def call(self, x):
        return torch.cat([self.first[1](self.first[0](x)), self.second[1](self.second[0](x))], -1)


def trained(rule: str, virtual_workers: int, *, frozen: bool) -> dict[str, bytes]:
    """The weights of the second branch, after a fit with the first one frozen or not."""
    dt.set_random_seed(1)
    model = TwoBranches()
    model(torch.from_numpy(SAMPLES))
    for layer in model.first:
        layer.trainable = not frozen
    model.compile(RULES[rule](), "mse")
    with OtherBitsByPlace():
        engine = run_to_end(alone(job_of(model, virtual_workers, SAMPLES, TARGETS, batch_size=6, epochs=3)))
    return {name: value for name, value in bits(engine).items() if name.startswith("model/second")}


@pytest.mark.parametrize("virtual_workers", [1, 2])
@pytest.mark.parametrize("rule", RULES)
def test_a_weight_ends_with_the_same_bits_whatever_is_trained_beside_it(rule: str, virtual_workers: int):
    beside, without = (trained(rule, virtual_workers, frozen=frozen) for frozen in (False, True))
    assert len(beside) == 4
    assert [name for name in beside if beside[name] != without[name]] == []


def small_model() -> Any:
    dt.set_random_seed(1)
    model = dt.Sequential([layers.Input((10,)), layers.Dense(33, "tanh"), layers.BatchNormalization(), layers.Dense(2)])
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    return model


def test_weights_off_a_border_give_the_bits_of_those_on_one():
    on, off = small_model(), small_model()
    push_off_borders(off)
    with OtherBitsByPlace():
        assert (off.predict(SAMPLES, batch_size=5, verbose=0) == on.predict(SAMPLES, batch_size=5, verbose=0)).all()
        push_off_borders(off)
        assert off.evaluate(SAMPLES, TARGETS, verbose=0) == on.evaluate(SAMPLES, TARGETS, verbose=0)
        push_off_borders(off)
        for model in (on, off):
            model.fit(SAMPLES, TARGETS, batch_size=5, epochs=2, shuffle=False, verbose=0)
    assert all((one == other).all() for one, other in zip(on.get_weights(), off.get_weights(), strict=True))


class Batches(PyDataset):
    """Batches as views into arrays, wherever those lie."""

    def __init__(self, x: Any, y: Any) -> None:
        super().__init__()
        self.x, self.y = x, y

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return self.x[4 * index : 4 * index + 4], self.y[4 * index : 4 * index + 4]


@pytest.mark.parametrize("kind", ["arrays", "views of tensors", "batches of arrays", "batches of tensors", "a dataset"])
def test_samples_off_a_border_give_the_bits_of_those_on_one(kind: str):
    x, y = off_border(SAMPLES, 4), off_border(TARGETS, 8)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    data: dict[str, tuple[Any, ...]] = {
        "arrays": (x, y),
        "views of tensors": tensors,
        "batches of arrays": (Batches(x, y),),
        "batches of tensors": (Batches(*tensors),),
        "a dataset": (torch.utils.data.TensorDataset(*tensors),),
    }
    given = data[kind]
    size = None if kind.startswith("batches") else 4
    plain, model = small_model(), small_model()
    with OtherBitsByPlace() as processor:
        plain.fit(SAMPLES, TARGETS, batch_size=4, epochs=1, shuffle=False, verbose=0)
        model.fit(*given, batch_size=size, epochs=1, shuffle=False, verbose=0)
        assert all((one == other).all() for one, other in zip(plain.get_weights(), model.get_weights(), strict=True))
    assert processor.starts == 0


@pytest.mark.parametrize("call", ["predict", "predict_on_batch", "called"])
def test_the_short_ways_to_predict_give_the_bits_of_the_long_one(call: str):
    model = small_model()
    x = off_border(SAMPLES[:1])
    with OtherBitsByPlace() as processor:
        expected = model.predict(SAMPLES[:1], callbacks=[], verbose=0)
        ways = {
            "predict": lambda: model.predict(x, verbose=0),
            "predict_on_batch": lambda: model.predict_on_batch(x),
            "called": lambda: model(x).detach().numpy(),
        }
        assert (ways[call]() == expected).all()
    assert processor.starts == 0
