"""The first steps of every rule, worked by hand."""

import pytest
import torch

from disttrain.optimizers import (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lamb,
    Lion,
    Muon,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)

ONE_WEIGHT = [  # the weight 1 after the gradient 0.5, at learning rate 0.1
    (SGD(0.1), 0.95),  # 1 - 0.1 * 0.5
    (SGD(0.1, momentum=0.9), 0.95),  # v = -0.05
    (SGD(0.1, momentum=0.9, nesterov=True), 0.905),  # v = -0.05; 1 + 0.9 * -0.05 - 0.05
    (RMSprop(0.1), 0.683772),  # v = 0.1 * 0.25; 1 - 0.05 / sqrt(0.025)
    (RMSprop(0.1, centered=True), 0.666667),  # a = 0.05; 1 - 0.05 / sqrt(0.025 - 0.0025)
    (RMSprop(0.1, momentum=0.9), 0.683772),  # b = 0.05 / sqrt(0.025)
    (RMSprop(0.1, epsilon=0.2), 0.894591),  # 1 - 0.05 / sqrt(0.225): inside the root
    (Adam(0.1), 0.9),  # corrected for bias, m / sqrt(v) is 1
    (Adam(0.1, epsilon=0.1), 0.986346),  # 1 - 0.1 * sqrt(0.001) / 0.1 * 0.05 / (sqrt(0.00025) + 0.1)
    (AdamW(0.1), 0.8996),  # 1 - 1 * 0.004 * 0.1 - 0.1
    (Adagrad(0.1), 0.915485),  # a = 0.1 + 0.25; 1 - 0.05 / sqrt(0.35)
    (Adadelta(0.1, epsilon=0.01), 0.966667),  # a = 0.0125; d = 0.5 * sqrt(0.01) / sqrt(0.0225) = 1/3
    (Adamax(0.1), 0.9),  # m = 0.05, u = 0.5; 1 - 0.1 / 0.1 * 0.05 / 0.5
    (Nadam(0.1), 0.893721),  # u = 0.468, 0.48528; 1 - 0.1 * (0.024264 / 0.772889 + 0.266 / 0.532) / 0.5
    (Ftrl(0.1), 0.380962),  # z = 0.5 - (sqrt(0.35) - sqrt(0.1)) / 0.1 = -2.253802; -z / (sqrt(0.35) / 0.1)
    (Ftrl(0.1, l1_regularization_strength=0.5), 0.296447),  # (-0.5 + 2.253802) / 5.916080
    (Ftrl(0.1, l1_regularization_strength=3.0), 0.0),  # |z| below 3
    (Ftrl(0.1, l2_regularization_strength=1.0), 0.284712),  # 2.253802 / (5.916080 + 2)
    (Ftrl(0.1, beta=0.2), 0.284712),  # 2.253802 / (5.916080 + 0.2 / 0.1)
    (Ftrl(0.1, l2_shrinkage_regularization_strength=0.5), 0.211931),  # z = -2.253802 + 2 * 0.5 * 1
    (Lion(0.1), 0.9),  # 1 - 0.1 * sign(0.1 * 0.5)
    (ScheduleFreeAdamW(0.1), 0.9),  # x = z = 1; z = 0.9; x moves all the way to z
    (ScheduleFreeAdamW(0.1, warmup_steps=4), 0.975),  # a quarter of the rate
]


@pytest.mark.parametrize(("optimizer", "expected"), ONE_WEIGHT)
def test_the_first_step_is_the_one_worked_by_hand(optimizer, expected):
    weight = torch.tensor([1.0])
    optimizer.apply_to([weight], [torch.tensor([0.5])])
    assert float(weight) == pytest.approx(expected, abs=2e-6)


SECOND_STEPS = [  # the weight 1 after the gradients 0.5 and 0.5
    (SGD(0.1, momentum=0.9), 0.855),  # v = -0.045 - 0.05; 0.95 - 0.095
    (Adam(0.1), 0.8),
    (Adamax(0.1), 0.8),  # m = 0.095, u = 0.5; 0.9 - 0.1 / 0.19 * 0.19
    (Adagrad(0.1), 0.850935),  # a = 0.6; 0.915485 - 0.05 / sqrt(0.6)
    (Lion(0.1), 0.8),
    (ScheduleFreeAdamW(0.1), 0.845),  # z = 0.8, x = (0.9 + 0.8) / 2; 0.1 * 0.8 + 0.9 * 0.85
]


@pytest.mark.parametrize(("optimizer", "expected"), SECOND_STEPS)
def test_the_second_step_remembers_the_first(optimizer, expected):
    weight = torch.tensor([1.0])
    for _ in range(2):
        optimizer.apply_to([weight], [torch.tensor([0.5])])
    assert float(weight) == pytest.approx(expected, abs=5e-6)


def test_lamb_steps_are_as_long_as_the_weight_is():
    weight = torch.tensor([3.0, 4.0])
    Lamb(0.1).apply_to([weight], [torch.tensor([0.5, -0.5])])
    # u = (1, -1), |w| / |u| = 5 / sqrt(2) = 3.535534
    assert weight.tolist() == pytest.approx([3.0 - 0.3535534, 4.0 + 0.3535534], abs=1e-5)


@pytest.mark.parametrize(("weight", "gradient"), [(0.0, 0.5), (1.0, 0.0)])
def test_lambs_ratio_is_1_where_a_length_is_0(weight, gradient):
    param = torch.full((2,), weight)
    Lamb(0.1).apply_to([param], [torch.full((2,), gradient)])
    assert param.tolist() == pytest.approx([weight - (0.1 if gradient else 0.0)] * 2, abs=1e-5)


def test_adafactor_divides_a_matrix_by_rows_and_columns():
    weight = torch.ones(2, 2)
    Adafactor(0.1).apply_to([weight], [torch.tensor([[1.0, 2.0], [3.0, 4.0]])])
    # squares ((1, 4), (9, 16)): r = (2.5, 12.5), c = (5, 10), v = r / 7.5 * c = ((5/3, 10/3), (25/3, 50/3)); rms(u) is below 1
    expected = [1 - 0.1 * 0.6**0.5, 1 - 0.1 * 1.2**0.5, 1 - 0.1 * 1.08**0.5, 1 - 0.1 * 0.96**0.5]
    assert weight.reshape(-1).tolist() == pytest.approx(expected, abs=1e-6)


def test_adafactor_steps_by_the_size_of_the_weights_and_clips():
    weight, clipped = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0])
    Adafactor(0.1).apply_to([weight], [torch.tensor([0.5, -0.5])])
    Adafactor(0.1, clip_threshold=0.5).apply_to([clipped], [torch.tensor([0.5, -0.5])])
    # u = (1, -1), rms(w) = sqrt(12.5)
    assert weight.tolist() == pytest.approx([3.0 - 0.3535534, 4.0 + 0.3535534], abs=1e-6)
    assert clipped.tolist() == pytest.approx([3.0 - 0.3535534 / 2, 4.0 + 0.3535534 / 2], abs=1e-6)


@pytest.mark.parametrize(
    ("ns_steps", "expected"),
    [
        (0, [0.6, 0.8]),  # the direction, of length 1
        (1, [1.193269, 0.976482]),  # 3.4445 x - 4.7750 x**3 + 2.0315 x**5
    ],
)
def test_muon_moves_a_matrix_along_its_orthogonalized_momentum(ns_steps, expected):
    weight = torch.zeros(2, 2)
    Muon(0.1, ns_steps=ns_steps).apply_to([weight], [torch.diag(torch.tensor([3.0, 4.0]))])
    steps = [-0.1 * 2**0.5 * 0.2 * value for value in expected]
    assert weight.tolist() == [pytest.approx([steps[0], 0.0], abs=1e-6), pytest.approx([0.0, steps[1]], abs=1e-6)]


def test_muons_newton_schulz_brings_singular_values_near_1():
    weight = torch.zeros(5, 3)
    Muon(1.0, rms_rate=None).apply_to([weight], [torch.randn(5, 3, generator=torch.Generator().manual_seed(0))])
    values = torch.linalg.svdvals(weight)
    assert ((values > 0.6) & (values < 1.3)).all()
