"""Numbers marked Keras come from Keras 3.15.1 on its torch backend: five updates of two variables."""

import copy
import json

import pytest
import torch
from torch import Tensor

from disttrain import optimizers
from disttrain.optimizers import SGD, Adagrad, Adam, AdamW, Lion, Muon, RMSprop
from disttrain.optimizers.base import Optimizer
from disttrain.optimizers.schedules import ExponentialDecay


def variables() -> list[Tensor]:
    return [torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([0.1, -0.2])]


def gradients(step: int) -> list[Tensor]:
    return [torch.tensor([[0.5, -1.0], [2.0, 0.01]]) * ((-1) ** step * (step + 1) / 3), torch.tensor([0.3 * (step - 1), -0.7])]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def after_five(optimizer: Optimizer) -> list[Tensor]:
    params = variables()
    for step in range(5):
        optimizer.apply_to(params, gradients(step))
    return params


TRAJECTORIES = [  # Keras
    (lambda: SGD(), [0.995, -1.99, 0.48, 2.9999, 0.085, -0.165]),
    (lambda: SGD(momentum=0.9), [0.995421, -1.990843, 0.481686, 2.999908, 0.083755, -0.107991]),
    (lambda: SGD(momentum=0.9, nesterov=True), [0.990879, -1.981759, 0.463517, 2.999818, 0.07038, -0.082192]),
    (lambda: SGD(ExponentialDecay(0.1, 2, 0.5), momentum=0.9), [0.969007, -1.938013, 0.376026, 2.99938, 0.119398, 0.416251]),
    (lambda: SGD(clipnorm=0.5), [0.998909, -1.997818, 0.495636, 2.999978, 0.092799, -0.178943]),
    (lambda: SGD(clipvalue=0.2), [0.998333, -1.998, 0.498, 2.9999, 0.096, -0.19]),
    (lambda: SGD(global_clipnorm=0.5), [0.999183, -1.998366, 0.496732, 2.999984, 0.0987, -0.191248]),
    (lambda: SGD(weight_decay=0.1), [0.99001, -1.98002, 0.477505, 2.98493, 0.084501, -0.164072]),
    (lambda: Adam(0.1), [0.90326, -1.903259, 0.403258, 2.903344, 0.137098, 0.299995]),
    (lambda: Adam(0.1, epsilon=0.1), [0.992148, -1.986475, 0.478055, 2.999807, 0.084991, -0.066578]),
    (lambda: Adam(0.1, amsgrad=True), [0.90326, -1.903259, 0.403258, 2.903344, 0.137065, 0.299995]),
    (lambda: AdamW(0.1), [0.901395, -1.899396, 0.402393, 2.897483, 0.136686, 0.299994]),
    (lambda: RMSprop(0.1), [0.726156, -1.726152, 0.226152, 2.737582, -0.338345, 0.864528]),
    (
        lambda: RMSprop(0.1, momentum=0.5, centered=True, epsilon=1e-2),
        [0.835885, -1.728158, 0.13124, 2.991899, -0.43682, 1.704722],
    ),
    (lambda: Adagrad(0.1), [0.953755, -1.937155, 0.423078, 2.996849, -0.037611, 0.106963]),
    (lambda: Lion(0.1), [0.9, -1.9, 0.4, 2.9, 0.0, 0.3]),
]


@pytest.mark.parametrize(("make", "expected"), TRAJECTORIES)
def test_five_updates_end_where_keras_ends(make, expected):
    # 5e-6: Keras rounds Adam's bias corrections, such as 1 - 0.999, to float32
    assert flat(after_five(make())).tolist() == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("make", [make for make, _ in TRAJECTORIES if not make().needs_variables])
def test_one_flat_tensor_gives_the_same_as_its_variables(make):
    optimizer = make()
    params = flat(variables())
    for step in range(5):
        optimizer.apply_to([params], [flat(gradients(step))])
    assert torch.equal(params, flat(after_five(make())))


@pytest.mark.parametrize("make", [lambda: Adam(0.1), lambda: Adam(0.1, amsgrad=True), lambda: SGD(0.1, momentum=0.9)])
def test_the_fused_kernels_follow_the_plain_rule(make, monkeypatch):
    fused = flat(after_five(make()))
    for module in ("adam", "sgd"):
        monkeypatch.setattr(f"disttrain.optimizers.{module}.fused", lambda params: False)
    assert torch.allclose(fused, flat(after_five(make())), rtol=1e-6, atol=1e-7)


def test_adam_follows_its_formula_in_double_precision():
    params = [p.double() for p in variables()]
    optimizer, weight, m, v = Adam(0.1), params[1].clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for step in range(5):
        optimizer.apply_to(params, [g.double() for g in gradients(step)])
        g = gradients(step)[1].double()
        m, v = m + (g - m) * (1 - 0.9), v + (g**2 - v) * (1 - 0.999)
        weight -= 0.1 * (1 - 0.999 ** (step + 1)) ** 0.5 / (1 - 0.9 ** (step + 1)) * m / (v.sqrt() + 1e-7)
    assert torch.allclose(params[1], weight, rtol=1e-12)


@pytest.mark.parametrize("make", [lambda: Adam(), lambda: SGD(momentum=0.9), lambda: RMSprop(), lambda: Adagrad(), lambda: Lion()])
def test_equal_inputs_give_equal_bits(make):
    generator = torch.Generator().manual_seed(0)
    start, grads = torch.randn(10_007, generator=generator), [torch.randn(10_007, generator=generator) for _ in range(3)]
    ends = []
    for _ in range(2):
        optimizer, param = make(), start.clone()
        for grad in grads:
            optimizer.apply_to([param], [grad.clone()])
        ends.append(param)
    assert torch.equal(*ends)


def test_the_gradients_that_are_handed_over_are_left_as_they_are():
    for make, _ in TRAJECTORIES:
        grads = gradients(1)
        make().apply_to(variables(), grads)
        assert all(torch.equal(a, b) for a, b in zip(grads, gradients(1), strict=True))


def test_the_runtime_may_hand_over_slots_of_its_own_arrangement():
    optimizer, twin = Adam(0.1), Adam(0.1)
    optimizer.build(variables())
    params, slots = flat(variables()), {slot: [torch.zeros(6)] for slot in optimizer.slot_names}
    for step in range(5):
        optimizer.apply_to([params], [flat(gradients(step))], slots)
    assert torch.equal(params, flat(after_five(twin)))
    assert torch.equal(slots["velocity"][0], flat(twin.slots["velocity"]))
    assert not flat(optimizer.slots["velocity"]).any()


def test_momentum_keeps_the_rate_of_each_gradient():
    optimizer, param = SGD(1.0, momentum=0.5), torch.zeros(1)
    optimizer.apply_to([param], [torch.ones(1)])  # v = -1
    optimizer.learning_rate = 0.1
    optimizer.apply_to([param], [torch.ones(1)])  # v = -0.5 - 0.1; with the rate outside it would be 0.1 * -1.5
    assert float(param) == pytest.approx(-1.6)


def test_weights_decay_before_the_update_and_apart_from_the_gradient():
    optimizer, param = SGD(0.5, weight_decay=0.1), torch.tensor([2.0])
    optimizer.apply_to([param], [torch.tensor([1.0])])
    assert float(param) == pytest.approx(2.0 * 0.95 - 0.5)


def test_variables_can_be_excluded_from_weight_decay():
    by_tensor, by_name, params, named = SGD(0.5, weight_decay=0.1), SGD(0.5, weight_decay=0.1), variables(), variables()
    by_tensor.exclude_from_weight_decay(var_list=[params[1]])
    by_name.exclude_from_weight_decay(var_names=["bias"])
    by_name.build(named, ["dense/kernel", "dense/bias"])
    zeros = [torch.zeros_like(p) for p in params]
    by_tensor.apply_to(params, zeros)
    by_name.apply_to(named, zeros)
    assert by_tensor.needs_variables
    for result in (params, named):
        assert flat(result).tolist() == pytest.approx([0.95, -1.9, 0.475, 2.85, 0.1, -0.2])
    with pytest.raises(ValueError, match="before the optimizer is built"):
        by_name.exclude_from_weight_decay(var_names=["kernel"])


def test_clipping_limits_each_variable_or_all_together():
    grads = [torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4]), torch.zeros(2)]
    assert flat(SGD(clipnorm=1.0).clip(grads)).tolist() == pytest.approx([0.6, 0.8, 0.3, 0.4, 0.0, 0.0])
    assert flat(SGD(clipvalue=0.35).clip(grads)).tolist() == pytest.approx([0.35, 0.35, 0.3, 0.35, 0.0, 0.0])
    together = SGD(global_clipnorm=1.0).clip(grads)
    assert float(flat(together).norm()) == pytest.approx(1.0)
    assert torch.equal(flat(SGD(global_clipnorm=100.0).clip(grads)), flat(grads))
    assert flat(SGD(global_clipnorm=1.0).clip([torch.tensor([float("inf"), 1.0])])).isnan().any()
    with pytest.raises(ValueError, match=r"SGD\(clipnorm=1.0, clipvalue=2.0\): Only one of `clipnorm`"):
        SGD(clipnorm=1.0, clipvalue=2.0)


def test_a_variable_without_a_gradient_is_left_alone():
    optimizer, params = Adam(0.1, weight_decay=0.5), variables()
    optimizer.apply_gradients([(None, params[0]), (torch.ones(2), params[1])])
    assert torch.equal(params[0], variables()[0]) and not torch.equal(params[1], variables()[1])
    assert not optimizer.slots["velocity"][0].any()
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        optimizer.apply_to(params, [None, None])


@pytest.mark.parametrize("make", [lambda: Muon(0.1), lambda: SGD(0.1, weight_decay=0.5)], ids=["Muon", "SGD"])
def test_a_part_of_the_variables_is_updated_as_among_all(make):
    names = ["a.kernel", "b.kernel", "c.bias"]
    start = [torch.eye(2), torch.eye(2) * 2.0, torch.ones(2)]
    grads = [torch.ones(2, 2), torch.ones(2, 2), torch.ones(2)]
    whole, part = make(), make()
    results = []
    for optimizer in (whole, part):
        params = [tensor.clone() for tensor in start]
        optimizer.exclude_from_weight_decay(var_names=["a", "bias"])
        optimizer.build(params, names)
        results.append(params)
    whole.apply_to(results[0], [None, grads[1], grads[2]])
    slots = {slot: tensors[1:] for slot, tensors in part.slots.items()}
    part.apply_to(results[1][1:], grads[1:], slots, numbers=[1, 2])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    with pytest.raises(ValueError, match=r"2 of the 3 variables.*\n.*numbers="):
        part.apply_to(results[1][1:], grads[1:], slots)


def test_other_variables_than_those_of_build_are_refused():
    optimizer = Adam()
    optimizer.build(variables())
    with pytest.raises(ValueError, match="1 variables, but 2 of slot 'momentum'"):
        optimizer.apply_to(variables()[:1], gradients(0)[:1])


def test_the_learning_rate_can_be_set_unless_it_is_a_schedule():
    optimizer = Adam(0.1)
    optimizer.learning_rate = 0.05
    assert optimizer.learning_rate == 0.05 and not optimizer.has_schedule
    scheduled = Adam(ExponentialDecay(0.1, 1, 0.5))
    assert scheduled.has_schedule
    with pytest.raises(TypeError, match="created with a `LearningRateSchedule`, ExponentialDecay"):
        scheduled.learning_rate = 0.1
    scheduled.iterations = 2
    assert scheduled.learning_rate == 0.025
    assert SGD(lambda: 0.3).learning_rate == 0.3


@pytest.mark.parametrize("rate", [-0.1, float("nan"), "fast", None, True])
def test_a_learning_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="learning_rate="):
        Adam(rate)


def test_a_resumed_optimizer_goes_on_as_if_nothing_had_happened():
    for make, _ in TRAJECTORIES:
        straight, params = make(), variables()
        for step in range(2):
            straight.apply_to(params, gradients(step))
        state = json.loads(json.dumps(straight.state_dict()))
        kept = {name: tensor.clone() for name, tensor in straight.named_slots(["kernel", "bias"]).items()}
        resumed, again = make(), copy.deepcopy(params)
        resumed.build(again)
        resumed.load_state_dict(state)
        for name, tensor in resumed.named_slots(["kernel", "bias"]).items():
            tensor.copy_(kept[name])
        for step in range(2, 5):
            straight.apply_to(params, gradients(step))
            resumed.apply_to(again, gradients(step))
        assert all(torch.equal(a, b) for a, b in zip(params, again, strict=True))


def test_slots_are_named_by_slot_and_variable():
    optimizer = RMSprop(momentum=0.5, centered=True)
    optimizer.build(variables())
    assert list(optimizer.named_slots(["k", "b"])) == [
        f"{slot}/{name}" for slot in ("velocity", "momentum", "average_gradient") for name in ("k", "b")
    ]
    adagrad = Adagrad()
    adagrad.build(variables())
    assert adagrad.slots["accumulator"][1].tolist() == pytest.approx([0.1, 0.1])


def test_building_again_keeps_the_count():
    optimizer = SGD()
    after_five(optimizer)
    optimizer.build(variables())
    assert optimizer.iterations == 5


@pytest.mark.parametrize("name", sorted(set(optimizers.BY_NAME) - {"lossscaleoptimizer", "multioptimizer"}))
def test_every_optimizer_is_rebuilt_from_its_config(name):
    optimizer = optimizers.BY_NAME[name](learning_rate=ExponentialDecay(0.1, 2, 0.5), clipnorm=1.0)
    config = json.loads(json.dumps(optimizer.get_config()))
    again = optimizers.get({"class_name": type(optimizer).__name__, "config": config})
    assert again.get_config() == optimizer.get_config()
    assert again.learning_rate == optimizer.learning_rate


def test_a_config_of_keras_is_read():
    config = {
        "name": "adam", "learning_rate": 0.01, "weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None,
        "use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None, "loss_scale_factor": None,
        "gradient_accumulation_steps": None, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-5, "amsgrad": True,
    }  # fmt: skip
    optimizer = optimizers.get({"class_name": "Adam", "config": config})
    assert (optimizer.beta_1, optimizer.amsgrad, optimizer.learning_rate) == (0.8, True, 0.01)


def test_unknown_and_impossible_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Adam\(beta1=0.8\): no such argument.\n  expected  one of beta_1, "):
        Adam(beta1=0.8)
    with pytest.raises(ValueError, match=r"momentum=2"):
        SGD(momentum=2.0)


def test_get_takes_names_in_any_case_classes_and_instances():
    assert type(optimizers.get("Adam")) is Adam and type(optimizers.get("RMSPROP")) is RMSprop
    assert type(optimizers.get(Lion)) is Lion
    optimizer = SGD()
    assert optimizers.get(optimizer) is optimizer
    with pytest.raises(ValueError, match=r"'adm': no such optimizer.\n  expected  one of adam, "):
        optimizers.get("adm")


def test_a_subclass_of_adam_may_bring_a_rule_of_its_own():
    class Doubled(optimizers.Adam):
        def update(self, params, grads, slots, step, learning_rate):
            torch._foreach_add_(params, grads, alpha=-2 * learning_rate)

    weight = torch.ones(3)
    Doubled(0.5).apply_to([weight], [torch.ones(3)])
    assert weight.tolist() == [0.0, 0.0, 0.0]
