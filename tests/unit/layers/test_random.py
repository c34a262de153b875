"""`disttrain.random`: draws of a step are functions of the step; the distributions are those that are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from disttrain import layers, random
from disttrain.layers.context import CallContext, call_context
from disttrain.models import Input, Sequential

DRAWS: dict[str, Callable[..., Any]] = {
    "categorical": lambda seed: random.categorical(torch.zeros(2, 9), 4, seed=seed),
    "dropout": lambda seed: random.dropout(torch.ones(5, 5), 0.5, seed=seed),
    "normal": lambda seed: random.normal((3, 4), seed=seed),
    "randint": lambda seed: random.randint((3, 4), 0, 99, seed=seed),
    "shuffle": lambda seed: random.shuffle(torch.arange(40), seed=seed),
    "truncated_normal": lambda seed: random.truncated_normal((3, 4), seed=seed),
    "uniform": lambda seed: random.uniform((3, 4), seed=seed),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_number_draws_the_same_again_and_a_source_draws_on(name: str):
    draw, source, twin = DRAWS[name], random.SeedGenerator(1), random.SeedGenerator(1)
    assert torch.equal(draw(1), draw(1))
    first, second = draw(source), draw(source)
    assert not torch.equal(first, second) and torch.equal(first, draw(twin)) and torch.equal(second, draw(twin))


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("seed", [None, 3])
def test_within_a_step_a_draw_depends_on_the_step_alone(name: str, seed: int | None):
    source = None if seed is None else random.SeedGenerator(seed)

    def drawn(key: int) -> torch.Tensor:
        with call_context(CallContext(training=True, key=key)):
            DRAWS[name](source)
            return DRAWS[name](source)

    once = drawn(5)
    DRAWS[name](source)
    assert torch.equal(once, drawn(5)) and not torch.equal(once, drawn(6))


def test_draws_have_the_distribution_that_is_asked_for():
    assert abs(random.normal((20000,), 3.0, 2.0, seed=1).mean() - 3) < 0.1
    assert abs(random.truncated_normal((20000,), 1.0, 2.0, seed=1) - 1).max() <= 4
    assert random.uniform((2000,), 2.0, 3.0, seed=1).min() >= 2
    assert set(random.randint((200,), 1, 4, seed=1).tolist()) == {1, 2, 3}
    assert set(random.categorical(torch.tensor([[0.0, -99.0, 0.0]]), 100, seed=1).flatten().tolist()) == {0, 2}
    assert set(random.dropout(torch.ones(99), 0.75, seed=1).tolist()) == {0.0, 4.0}
    assert len(set(random.dropout(torch.ones(4, 9), 0.5, noise_shape=(None, 1), seed=1)[0].tolist())) == 1
    assert sorted(random.shuffle(torch.arange(9), seed=1).tolist()) == list(range(9))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: random.dropout(torch.ones(2), 2.0), "rate=2.0"),
        (lambda: random.dropout(torch.ones(2), 0.5, noise_shape=(1, 1)), "expected 1 sizes"),
        (lambda: random.randint((2,), 3, 3), "expected minval below maxval"),
        (lambda: random.categorical(torch.zeros(3), 1), r"expected \(batch, classes\)"),
        (lambda: random.normal((2,), dtype="int32"), "floating-point"),
        (lambda: random.normal((2,), seed="a"), "seed='a'"),
        (lambda: random.SeedGenerator(-1), "seed=-1"),
    ],
)
def test_mistakes_are_named(draw: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=message):
        draw()


def test_a_layer_of_ones_own_with_a_source_trains_the_same_twice():
    class Noisy(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.source = random.SeedGenerator(7)

        def call(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + random.normal(inputs.shape, seed=self.source)

    def trained() -> np.ndarray:
        model = Sequential([Input((3,)), Noisy(), layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 3), "float32"), np.ones((8, 1), "float32"), batch_size=4, epochs=2, verbose=0)
        return model.get_weights()[0]

    assert np.array_equal(trained(), trained())
