"""Every optimizer beside Keras's: trajectories, variables in files, configs, schedules.

Both sides compute in float32. Keras rounds learning rates and bias corrections such as `1 - 0.999**t` to float32 too, here they are
Python floats; hence tolerances that are a fraction of the distance a weight can travel.
"""

from __future__ import annotations

import inspect
import json
import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain import optimizers as ours
from disttrain.optimizers import schedules as our_schedules

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's Variable.numpy() on NumPy 2
theirs, their_schedules = keras.optimizers, keras.optimizers.schedules

RULES = sorted(set(ours.CLASSES) - {"LossScaleOptimizer"})
# Keras's torch backend computes ScheduleFreeAdamW with the new z where its own comments, and the paper, say the old one.
LIKE_KERAS = [name for name in RULES if name != "ScheduleFreeAdamW"]
NAMES = ["hidden_kernel", "output_kernel", "embedding_table", "bias", "scalar"]


def between(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda value: round(value, 4))


def maybe(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=strategies)


BETAS = {"beta_1": between(0.5, 0.95), "beta_2": between(0.5, 0.99), "epsilon": st.sampled_from([1e-7, 1e-3])}
ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "SGD": maybe(momentum=between(0.0, 0.95), nesterov=st.booleans()),
    "RMSprop": maybe(rho=between(0.5, 0.95), momentum=between(0.0, 0.9), epsilon=st.sampled_from([1e-7, 1e-2]), centered=st.booleans()),
    "Adam": maybe(**BETAS, amsgrad=st.booleans()),
    "AdamW": maybe(**BETAS, amsgrad=st.booleans()),
    "Adagrad": maybe(initial_accumulator_value=between(0.0, 1.0), epsilon=st.sampled_from([1e-7, 1e-2])),
    "Adadelta": maybe(rho=between(0.5, 0.99), epsilon=st.sampled_from([1e-7, 1e-2])),
    "Adamax": maybe(**BETAS),
    "Nadam": maybe(**BETAS),
    "Ftrl": maybe(
        learning_rate_power=st.sampled_from([-0.5, -0.25, -1.0, 0.0]),
        initial_accumulator_value=between(0.125, 1.0),
        l1_regularization_strength=between(0.0, 1.0),
        l2_regularization_strength=between(0.0, 1.0),
        l2_shrinkage_regularization_strength=between(0.0, 1.0),
        beta=between(0.0, 1.0),
    ),
    "Lion": maybe(beta_1=between(0.5, 0.95), beta_2=between(0.5, 0.99)),
    "Lamb": maybe(**BETAS),
    "Adafactor": maybe(
        beta_2_decay=between(-1.0, -0.5), epsilon_2=st.sampled_from([1e-3, 0.5]), clip_threshold=between(0.25, 2.0),
        relative_step=st.booleans(),
    ),
    "Muon": maybe(
        adam_beta_1=between(0.5, 0.95), adam_beta_2=between(0.5, 0.99), adam_weight_decay=st.sampled_from([None, 0.1]),
        exclude_layers=st.sampled_from([["output"], ["^hidden", "bias"]]), exclude_embeddings=st.booleans(),
        adam_lr_ratio=between(0.5, 1.5), momentum=between(0.5, 0.95), ns_steps=st.integers(0, 5), nesterov=st.booleans(),
        rms_rate=st.sampled_from([None, 0.5]),
    ),
}  # fmt: skip
CLIPPING = st.sampled_from([{}, {"clipnorm": 0.5}, {"clipvalue": 0.25}, {"global_clipnorm": 0.75}])
COMMON = st.tuples(
    CLIPPING,
    maybe(
        weight_decay=between(0.0, 0.25),
        use_ema=st.booleans(),
        ema_momentum=between(0.0, 1.0),
        ema_overwrite_frequency=st.integers(1, 3),
        loss_scale_factor=between(0.5, 8.0),
        gradient_accumulation_steps=st.integers(2, 4),
    ),
).map(lambda pair: {**pair[0], **pair[1]})
SHAPES = st.lists(st.lists(st.integers(1, 5), max_size=3).map(tuple), min_size=1, max_size=len(NAMES))


class Pair:
    """The same variables under our optimizer and Keras's."""

    def __init__(self, mine: Any, keras_s: Any, shapes: list[tuple[int, ...]], seed: int = 0) -> None:
        self.mine, self.keras_s, self.random = mine, keras_s, np.random.default_rng(seed)
        values = [self.random.normal(size=shape).astype("float32") for shape in shapes]
        self.params = [torch.tensor(value) for value in values]
        self.variables = [keras.Variable(value, name=name) for value, name in zip(values, NAMES, strict=False)]
        mine.build(self.params, NAMES[: len(shapes)])
        keras_s.build(self.variables)

    def step(self) -> None:
        grads = [self.random.normal(size=param.shape).astype("float32") for param in self.params]
        self.mine.apply_to(self.params, [torch.tensor(grad) for grad in grads])
        self.keras_s.apply([torch.tensor(grad) for grad in grads], self.variables)

    def assert_close(self, tolerance: float, relative: float = 1e-4) -> None:
        for param, variable in zip(self.params, self.variables, strict=True):
            np.testing.assert_allclose(param.numpy(), variable.numpy(), rtol=relative, atol=tolerance)


def made(name: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(ours, name)(**arguments), getattr(theirs, name)(**arguments)


@pytest.mark.parametrize("name", LIKE_KERAS)
def test_weights_take_keras_s_way(name: str):
    @settings(max_examples=12)
    @given(ARGUMENTS[name], COMMON, SHAPES, st.sampled_from([0.001, 0.03, 0.5]), st.integers(5, 10), st.integers(0, 100))
    def check(own: dict[str, Any], common: dict[str, Any], shapes: list[tuple[int, ...]], rate: float, steps: int, seed: int) -> None:
        pair = Pair(*made(name, {"learning_rate": rate, **own, **common}), shapes, seed)
        for _ in range(steps):
            pair.step()
        pair.assert_close(tolerance=2e-6 + rate * steps * (5e-4 if name == "Muon" else 1e-4))
        pair.mine.finalize_variable_values(pair.params)
        pair.keras_s.finalize_variable_values(pair.variables)
        pair.assert_close(tolerance=2e-6 + rate * steps * (5e-4 if name == "Muon" else 1e-4))

    check()


@pytest.mark.parametrize("name", RULES)
def test_defaults_take_keras_s_way(name: str):
    pair = Pair(*made(name, {}), [(3, 4), (4,), (5, 2), (2, 2, 3), ()])
    for _ in range(10):
        pair.step()
        if name != "ScheduleFreeAdamW":
            pair.assert_close(tolerance=2e-6)
    for mine, variable in zip(pair.mine.keras_variables(), pair.keras_s.variables, strict=True):
        np.testing.assert_allclose(mine, variable.numpy(), rtol=1e-4, atol=1e-6, err_msg=variable.name)


def test_schedule_free_adamw_follows_the_paper():
    """z, and x as a sequence of its own; the optimizer keeps z and w, and gets x back from them."""
    optimizer, w = ours.ScheduleFreeAdamW(0.05, beta_1=0.8, beta_2=0.9, warmup_steps=3), torch.tensor([1.0, -2.0])
    z, x, v = (np.array([1.0, -2.0]) for _ in range(3))
    v *= 0.0
    random = np.random.default_rng(0)
    for t in range(1, 9):
        g = random.normal(size=2)
        v = 0.9 * v + 0.1 * g**2
        z = z - 0.05 * min(t / 3, 1.0) * g / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        x = (1 - 1 / t) * x + z / t
        optimizer.apply_to([w], [torch.tensor(g, dtype=torch.float32)])
        np.testing.assert_allclose(w.numpy(), 0.2 * z + 0.8 * x, rtol=1e-5, atol=1e-6)


def test_the_dynamic_loss_scale_takes_keras_s_way():
    mine = ours.LossScaleOptimizer(ours.Adam(0.1), initial_scale=4.0, dynamic_growth_steps=2)
    pair = Pair(mine, theirs.LossScaleOptimizer(theirs.Adam(0.1), initial_scale=4.0, dynamic_growth_steps=2), [(3,)])
    for bad in (False, False, True, False, True, True, False, False, False):
        grad = np.full(3, np.inf if bad else 0.5, "float32")
        pair.mine.apply_to(pair.params, [torch.tensor(grad)])
        pair.keras_s.apply([torch.tensor(grad)], pair.variables)
        pair.assert_close(tolerance=1e-4)
        for value, variable in zip(pair.mine.keras_variables(), pair.keras_s.variables, strict=True):
            np.testing.assert_allclose(value, variable.numpy(), rtol=1e-5, atol=1e-6, err_msg=variable.name)


# -- files --------------------------------------------------------------------------------------------------------------------------

FILED = [
    *((name, {}) for name in RULES),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "use_ema": True, "gradient_accumulation_steps": 2}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "use_ema": True}),
    ("Adam", {"amsgrad": True, "gradient_accumulation_steps": 3}),
    ("Muon", {"exclude_layers": ["output"], "use_ema": True}),
]


@pytest.mark.parametrize(("name", "arguments"), FILED, ids=str)
def test_state_goes_over_to_keras_and_back(name: str, arguments: dict[str, Any]):
    shapes = [(3, 4), (2, 2), (5, 2), (4,), ()]
    pair = Pair(*made(name, arguments), shapes)
    for _ in range(4):
        pair.step()
    kept = [variable.numpy() for variable in pair.keras_s.variables]
    assert [(v.shape, v.dtype) for v in pair.mine.keras_variables()] == [(v.shape, v.dtype) for v in kept]

    fresh = getattr(ours, name)(**arguments)
    fresh.set_keras_variables(pair.params, kept, NAMES)
    for mine, value in zip(fresh.keras_variables(), kept, strict=True):
        np.testing.assert_allclose(mine, value, rtol=1e-6, err_msg="read from Keras")

    receiver = Pair(*made(name, arguments), shapes)
    receiver.keras_s.set_weights(fresh.keras_variables())
    for variable, value in zip(receiver.keras_s.variables, kept, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6, err_msg="written for Keras")

    pair.mine = fresh
    for param, variable in zip(pair.params, pair.variables, strict=True):
        param.copy_(torch.tensor(variable.numpy()))
    if name == "ScheduleFreeAdamW":
        return
    for _ in range(4):
        pair.step()
    pair.assert_close(tolerance=5e-6)


# -- configs ------------------------------------------------------------------------------------------------------------------------


def plain(config: Any) -> Any:
    """JSON types, learning rates rounded to float32 as Keras keeps them, origins left out."""
    if isinstance(config, dict):
        kept = {key: plain(value) for key, value in config.items() if key not in ("module", "registered_name")}
        if isinstance(kept.get("learning_rate"), float):
            kept["learning_rate"] = float(np.float32(kept["learning_rate"]))
        return kept
    return json.loads(json.dumps(config))


@pytest.mark.parametrize("name", RULES)
def test_configs_are_read_on_both_sides(name: str):
    @settings(max_examples=10)
    @given(ARGUMENTS.get(name, maybe(**BETAS)), COMMON, st.booleans())
    def check(own: dict[str, Any], common: dict[str, Any], scheduled: bool) -> None:
        mine, keras_s = made(name, {**own, **common})
        if scheduled:
            mine.learning_rate = our_schedules.CosineDecay(0.1, 5, warmup_target=0.2)
            keras_s.learning_rate = their_schedules.CosineDecay(0.1, 5, warmup_target=0.2)
        mine.name = keras_s.name = "same"
        assert plain(ours.serialize(mine)) == plain(theirs.serialize(keras_s))
        read = keras.saving.deserialize_keras_object(json.loads(json.dumps(ours.serialize(mine))))
        assert type(read) is type(keras_s) and plain(read.get_config()) == plain(keras_s.get_config())
        back = ours.get(json.loads(json.dumps(theirs.serialize(keras_s))))
        assert type(back) is type(mine) and plain(back.get_config()) == plain(mine.get_config())

    check()


def test_the_config_of_a_loss_scale_is_read_on_both_sides():
    keras_s = theirs.LossScaleOptimizer(theirs.Nadam(0.5, name="n"), initial_scale=8.0, dynamic_growth_steps=3, name="s")
    mine = ours.get(theirs.serialize(keras_s))
    assert isinstance(mine, ours.LossScaleOptimizer) and type(mine.inner_optimizer) is ours.Nadam
    assert plain(theirs.deserialize(ours.serialize(mine)).get_config()) == plain(keras_s.get_config())


@pytest.mark.parametrize("name", ours.CLASSES)
def test_arguments_stand_in_keras_s_order_with_its_defaults(name: str):
    def known(cls: Any) -> list[tuple[str, Any]]:
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return [(p.name, p.default) for p in inspect.signature(cls.__init__).parameters.values() if p.kind not in variadic]

    assert known(getattr(ours, name)) == known(getattr(theirs, name))


# -- schedules ----------------------------------------------------------------------------------------------------------------------

RATE, LENGTH, FACTOR = between(0.001, 1.0), st.integers(1, 40), between(0.25, 2.0)
SCHEDULES = {
    "ExponentialDecay": st.builds(
        dict, initial_learning_rate=RATE, decay_steps=LENGTH, decay_rate=FACTOR, staircase=st.booleans()
    ),
    "InverseTimeDecay": st.builds(dict, initial_learning_rate=RATE, decay_steps=LENGTH, decay_rate=FACTOR, staircase=st.booleans()),
    "PiecewiseConstantDecay": st.lists(LENGTH, min_size=1, max_size=4, unique=True).map(
        lambda steps: {"boundaries": sorted(steps), "values": [0.5**k for k in range(len(steps) + 1)]}
    ),
    "PolynomialDecay": st.builds(
        dict, initial_learning_rate=RATE, decay_steps=LENGTH, end_learning_rate=between(0.0, 0.5), power=FACTOR, cycle=st.booleans()
    ),
    "CosineDecay": st.builds(
        dict, initial_learning_rate=RATE, decay_steps=LENGTH, alpha=between(0.0, 1.0), warmup_target=st.none() | RATE, warmup_steps=LENGTH
    ),
    "CosineDecayRestarts": st.builds(
        dict, initial_learning_rate=RATE, first_decay_steps=LENGTH, t_mul=st.sampled_from([1.0, 1.5, 2.0]), m_mul=FACTOR,
        alpha=between(0.0, 1.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_keras_s_rates(name: str):
    @settings(max_examples=20)
    @given(SCHEDULES[name], st.lists(st.integers(0, 100), min_size=1, max_size=6))
    def check(arguments: dict[str, Any], steps: list[int]) -> None:
        mine, keras_s = getattr(our_schedules, name)(**arguments), getattr(their_schedules, name)(**arguments)
        for step in steps:
            if not at_a_jump(mine, step):
                assert mine(step) == pytest.approx(float(keras_s(step)), rel=2e-4, abs=1e-6), step
        assert our_schedules.serialize(mine) == their_schedules.serialize(keras_s)
        assert our_schedules.deserialize(their_schedules.serialize(keras_s)).get_config() == mine.get_config()

    check()


def at_a_jump(schedule: Any, step: int) -> bool:
    """Does the rate jump so near this step that float32, which Keras divides in, may fall on the other side?"""
    if isinstance(schedule, our_schedules.PiecewiseConstantDecay):
        return False
    return abs(schedule(step + 1e-4) - schedule(max(0.0, step - 1e-4))) > 1e-2 * abs(schedule(step)) + 1e-6
