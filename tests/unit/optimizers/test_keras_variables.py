"""State listed as Keras lists it. The parity tests hold the lists against Keras's own."""

import numpy as np
import pytest
import torch

from disttrain.optimizers import SGD, Adafactor, Adam, LossScaleOptimizer, Muon, Nadam, RMSprop
from disttrain.optimizers.base import Optimizer
from disttrain.optimizers.schedules import CosineDecay

PARAMS = [torch.zeros(3, 2), torch.zeros(2)]

NUMBERS = "iteration learning_rate"
ORDERS = [
    (lambda: SGD(), NUMBERS),
    (lambda: SGD(CosineDecay(0.1, 5), momentum=0.9), "iteration momentum/kernel momentum/bias"),
    (lambda: SGD(lambda: 0.1), "iteration"),
    (
        lambda: Adam(amsgrad=True),
        f"{NUMBERS} momentum/kernel velocity/kernel momentum/bias velocity/bias velocity_hat/kernel velocity_hat/bias",
    ),
    (
        lambda: RMSprop(momentum=0.9, centered=True),
        f"{NUMBERS} velocity/kernel velocity/bias momentum/kernel momentum/bias average_gradient/kernel average_gradient/bias",
    ),
    (
        lambda: SGD(momentum=0.9, use_ema=True, gradient_accumulation_steps=2),
        f"{NUMBERS} average/kernel average/bias gradient_accumulator/kernel gradient_accumulator/bias momentum/kernel momentum/bias",
    ),
    (lambda: Nadam(), f"{NUMBERS} momentum/kernel velocity/kernel momentum/bias velocity/bias u_product"),
    (lambda: Muon(), f"{NUMBERS} momentum/kernel momentum/bias velocity/bias"),
    (lambda: Adafactor(), f"{NUMBERS} row/kernel column/kernel velocity/kernel row/bias column/bias velocity/bias"),
    (
        lambda: LossScaleOptimizer(SGD(momentum=0.9)),
        f"{NUMBERS} step_counter dynamic_scale inner_iteration inner_learning_rate momentum/kernel momentum/bias",
    ),
]


@pytest.mark.parametrize(("make", "expected"), ORDERS)
def test_variables_come_in_keras_s_order(make, expected):
    optimizer: Optimizer = make()
    optimizer.build(PARAMS)
    names = [name for name, _ in optimizer.named_variables(["kernel", "bias"])]
    assert names == expected.split()
    assert len(optimizer.variables) == len(optimizer.keras_variables()) == len(names)


def test_before_building_there_are_only_the_numbers():
    assert [name for name, _ in Adam().named_variables()] == ["iteration", "learning_rate"]


def test_values_are_written_into_slots_and_numbers():
    optimizer = Adam()
    values = [np.int32(7), np.float32(0.25), *(np.full(shape, k, "float32") for k, shape in enumerate([(3, 2), (3, 2), (2,), (2,)]))]
    optimizer.set_keras_variables(PARAMS, values)
    assert (optimizer.iterations, optimizer.learning_rate) == (7, 0.25)
    assert optimizer.slots["velocity"][0].tolist() == [[1.0] * 2] * 3 and optimizer.slots["momentum"][1].tolist() == [2.0, 2.0]
    again = optimizer.keras_variables()
    assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(values, again, strict=True))
    again[2][:] = 5.0
    assert not (optimizer.slots["momentum"][0] == 5.0).any()  # copies


def test_values_that_do_not_fit_change_nothing():
    optimizer = Adam()
    optimizer.build(PARAMS)
    values = optimizer.keras_variables()
    with pytest.raises(
        ValueError, match=r"set_weights of Adam, which has 6 variables, with 2 values.\n  expected  iteration, learning_rate, momentum/0"
    ):
        optimizer.load_variables(values[:2])
    values[0], values[5] = np.int32(9), np.zeros((3, 3), "float32")
    with pytest.raises(ValueError, match=r"variable 5, 'velocity/1', has shape \(2,\), the value given \(3, 3\)"):
        optimizer.set_weights(values)
    assert optimizer.iterations == 0


def test_adafactors_mean_square_is_made_of_rows_and_columns():
    optimizer, param = Adafactor(), torch.ones(2, 2)
    optimizer.build([param])
    assert [value.shape for value in optimizer.keras_variables()] == [(), (), (2,), (2,), (2, 2)]
    assert not optimizer.keras_variables()[4].any()
    optimizer.apply_to([param], [torch.tensor([[1.0, 2.0], [3.0, 4.0]])])
    rows, columns, product = optimizer.keras_variables()[2:]
    assert rows.tolist() == pytest.approx([2.5, 12.5]) and columns.tolist() == pytest.approx([5.0, 10.0])
    assert product.reshape(-1).tolist() == pytest.approx([5 / 3, 10 / 3, 25 / 3, 50 / 3])


def test_muon_leaves_to_adamw_what_its_names_and_shapes_say():
    params = [torch.zeros(2, 2) for _ in range(3)] + [torch.zeros(2), torch.zeros(2, 2, 2)]
    names = ["hidden.kernel", "embedding.embeddings", "output.kernel", "hidden.bias", "conv.kernel"]
    optimizer = Muon(exclude_layers=["^output"])
    optimizer.build(params, names)
    with_velocity = [name for name, _ in optimizer.named_variables(names) if name.startswith("velocity")]
    assert with_velocity == [f"velocity/{name}" for name in names[1:]]
    keen = Muon(exclude_embeddings=False)
    keen.build(params, names)
    assert [name for name, _ in keen.named_variables(names) if name.startswith("velocity")] == [
        "velocity/hidden.bias",
        "velocity/conv.kernel",
    ]
    with pytest.raises(ValueError, match="expected a list"):
        Muon(exclude_layers="output")


def test_bfloat16_state_is_written_as_float32():
    optimizer = Adam()
    optimizer.build([torch.ones(2, dtype=torch.bfloat16)])
    assert optimizer.keras_variables()[2].dtype == np.float32


def test_variables_are_live_and_have_the_methods_of_keras():
    optimizer, weight = SGD(0.1, momentum=0.9), torch.ones(2, requires_grad=True)
    optimizer.apply([torch.ones(2)], [weight])
    count, rate, velocity = optimizer.variables
    count.assign(7)
    rate.assign_add(0.4)
    velocity.assign([5.0, 6.0])
    assert int(optimizer.iterations) == 7 and round(float(optimizer.learning_rate), 6) == 0.5
    assert optimizer.slots["momentum"][0].tolist() == [5.0, 6.0]
    assert count.path == "sgd/iteration" and type(velocity.value + 1) is torch.Tensor


def test_gradients_may_be_arrays_in_pairs_too():
    weight = torch.ones(2)
    Adafactor(0.1).apply_gradients([(np.ones(2, "float32"), weight)])
    assert weight.tolist() != [1.0, 1.0]
