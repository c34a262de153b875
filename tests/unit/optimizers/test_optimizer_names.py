"""Optimizers by name, config and mistake."""

import json
import warnings

import pytest
import torch

from disttrain import optimizers
from disttrain.errors import UsageError
from disttrain.optimizers import SGD, Adam, AdamW, LossScaleOptimizer, RMSprop, ScheduleFreeAdamW, schedules
from disttrain.optimizers.schedules import CosineDecay, ExponentialDecay, LearningRateSchedule

RULES = sorted(set(optimizers.CLASSES) - {"LossScaleOptimizer"})


class Halving(LearningRateSchedule):
    """A schedule of the user's own."""

    def __init__(self, start: float) -> None:
        self.start = start

    def __call__(self, step: int) -> float:
        return self.start / 2**step

    def get_config(self):
        return {"start": self.start}


class Plain(optimizers.Optimizer):
    """An optimizer of the user's own, and an older one: its `from_config` is the base's."""

    def update(self, params, grads, slots, step, learning_rate):
        torch._foreach_add_(params, grads, alpha=-learning_rate)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_found_by_its_class_name_in_any_case(name):
    assert {type(optimizers.get(form)).__name__ for form in (name, name.lower(), name.upper())} == {name}
    assert optimizers.get(optimizers.CLASSES[name]).get_config()["name"] == optimizers.get(name).name


def test_names_in_configs_are_those_of_keras():
    named = [cls().name for cls in (SGD, Adam, AdamW, RMSprop, ScheduleFreeAdamW)]
    assert named == ["sgd", "adam", "adam_w", "rm_sprop", "schedule_free_adam_w"]
    assert LossScaleOptimizer(SGD()).name == "loss_scale_optimizer" and Adam(name="mine").name == "mine"


@pytest.mark.parametrize("name", RULES)
def test_a_config_of_every_argument_comes_back_the_same(name):
    optimizer = optimizers.CLASSES[name](
        ExponentialDecay(0.1, 2, 0.5), weight_decay=0.01, global_clipnorm=1.0, use_ema=True, ema_momentum=0.5,
        ema_overwrite_frequency=3, loss_scale_factor=2.0, gradient_accumulation_steps=4, name="mine",
    )  # fmt: skip
    config = json.loads(json.dumps(optimizers.serialize(optimizer)))
    again = optimizers.deserialize(config)
    assert type(again) is type(optimizer) and optimizers.serialize(again) == config
    assert config["module"] == "keras.optimizers" and config["registered_name"] is None


def test_a_loss_scale_config_holds_its_inner_optimizer():
    optimizer = LossScaleOptimizer(Adam(CosineDecay(0.1, 5)), initial_scale=4.0, dynamic_growth_steps=7)
    again = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizer))))
    assert isinstance(again, LossScaleOptimizer) and type(again.inner_optimizer) is Adam
    assert again.get_config() == optimizer.get_config() == LossScaleOptimizer.from_config(optimizer.get_config()).get_config()
    with pytest.raises(ValueError, match="needs inner_optimizer"):
        optimizers.get("LossScaleOptimizer")


def test_classes_of_ones_own_are_given_by_name():
    config = json.loads(json.dumps(optimizers.serialize(Plain(Halving(0.5)))))
    assert config["registered_name"] == "Plain" and config["config"]["learning_rate"]["class_name"] == "Halving"
    again = optimizers.get(config, custom_objects={"Plain": Plain, "Halving": Halving})
    again.iterations = 2
    assert type(again) is Plain and again.learning_rate == 0.125
    with pytest.raises(ValueError, match="'Plain': no such optimizer"):
        optimizers.get(config)
    with pytest.raises(ValueError, match=r"'Halving': no such schedule.*\n.*\n.*custom_objects"):
        optimizers.get(config, custom_objects={"Plain": Plain})
    packaged = {"class_name": "X", "registered_name": "pack>Halving", "config": {"start": 1.0}}
    assert type(schedules.deserialize(packaged, {"pack>Halving": Halving})) is Halving


def test_a_function_as_learning_rate_leaves_its_present_value_in_the_config():
    assert SGD(lambda: 0.3).get_config()["learning_rate"] == 0.3


def test_a_class_of_torch_is_refused_since_it_holds_no_parameters():
    with pytest.raises(ValueError, match=r"a class holds none.*\n.*torch.optim.SGD\(model.parameters.*\n.*disttrain.optimizers.SGD\(\)"):
        optimizers.get(torch.optim.SGD)


def test_an_optimizer_of_torch_is_taken_and_one_that_needs_a_closure_refused_by_name():
    weight = torch.nn.Parameter(torch.ones(1))
    assert optimizers.get(torch.optim.NAdam([weight], lr=0.5)).learning_rate == 0.5
    with pytest.raises(UsageError, match=r"torch.optim.LBFGS evaluates the loss several times"):
        optimizers.get(torch.optim.LBFGS([weight]))
    with pytest.raises(UsageError, match=r"SparseAdam needs sparse gradients"):
        optimizers.get(torch.optim.SparseAdam([weight]))


@pytest.mark.parametrize("identifier", [3, {"config": {}}, "", int])
def test_what_is_no_optimizer_is_refused(identifier):
    with pytest.raises(ValueError, match="optimizer="):
        optimizers.get(identifier)


def test_keras_2_s_decay_is_passed_over():
    with pytest.warns(UserWarning, match="pass a schedule as learning_rate"):
        SGD(decay=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SGD(decay=0.0)


def test_a_schedule_gives_way_to_another_schedule_or_a_function_only():
    optimizer = SGD(CosineDecay(0.1, 5))
    optimizer.learning_rate = Halving(0.5)
    assert optimizer.learning_rate == 0.5
    optimizer.learning_rate = lambda: 0.3
    assert optimizer.learning_rate == 0.3
    optimizer.learning_rate = 0.2
    assert optimizer.learning_rate == 0.2
