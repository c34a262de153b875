"""Lists marked Keras are the first nine steps of the schedule in Keras 3.15.1."""

import json

import pytest

from disttrain.optimizers import schedules
from disttrain.optimizers.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

GOLDEN = [  # Keras
    (ExponentialDecay(0.1, 3, 0.5), [0.1, 0.07937, 0.062996, 0.05, 0.039685, 0.031498, 0.025, 0.019843, 0.015749]),
    (ExponentialDecay(0.1, 3, 0.5, staircase=True), [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025]),
    (InverseTimeDecay(0.1, 3, 0.5), [0.1, 0.085714, 0.075, 0.066667, 0.06, 0.054545, 0.05, 0.046154, 0.042857]),
    (InverseTimeDecay(0.1, 3, 0.5, staircase=True), [0.1, 0.1, 0.1, 0.066667, 0.066667, 0.066667, 0.05, 0.05, 0.05]),
    (PiecewiseConstantDecay([2, 5], [0.1, 0.2, 0.3]), [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3]),
    (PolynomialDecay(0.1, 4, power=2.0), [0.1, 0.056294, 0.025075, 0.006344, 0.0001, 0.0001, 0.0001, 0.0001, 0.0001]),
    (PolynomialDecay(0.1, 4, cycle=True), [0.1, 0.075025, 0.05005, 0.025075, 0.0001, 0.037563, 0.025075, 0.012587, 0.0001]),
    (CosineDecay(0.1, 6, alpha=0.1), [0.1, 0.093971, 0.0775, 0.055, 0.0325, 0.016029, 0.01, 0.01, 0.01]),
    (
        CosineDecay(0.01, 5, warmup_target=0.1, warmup_steps=3, alpha=0.2),
        [0.01, 0.04, 0.07, 0.1, 0.092361, 0.072361, 0.047639, 0.027639, 0.02],
    ),
    (
        CosineDecayRestarts(0.1, 2, m_mul=0.5, alpha=0.1),
        [0.1, 0.055, 0.055, 0.04841, 0.0325, 0.01659, 0.0325, 0.031644, 0.029205],
    ),
]


@pytest.mark.parametrize(("schedule", "expected"), GOLDEN)
def test_the_rate_of_each_step_is_that_of_keras(schedule, expected):
    assert [schedule(step) for step in range(9)] == pytest.approx(expected, abs=1e-6)
    assert all(isinstance(schedule(step), float) for step in range(9))


@pytest.mark.parametrize(("schedule", "expected"), GOLDEN)
def test_every_schedule_is_rebuilt_from_its_config(schedule, expected):
    config = json.loads(json.dumps(schedule.get_config()))
    again = schedules.get({"class_name": type(schedule).__name__, "config": config})
    assert [again(step) for step in range(9)] == [schedule(step) for step in range(9)]


def test_nothing_to_decay_over_is_refused():
    for make in (
        lambda: CosineDecay(0.1, 0),
        lambda: CosineDecayRestarts(0.1, 0),
        lambda: ExponentialDecay(0.1, -1, 0.5),
        lambda: PolynomialDecay(0.1, 0),
    ):
        with pytest.raises(ValueError, match=r"Decay.*\(.*decay_steps="):
            make()
    with pytest.raises(ValueError, match=r"CosineDecayRestarts\(t_mul=0"):
        CosineDecayRestarts(0.1, 5, t_mul=0)


def test_a_restart_comes_exactly_at_its_step():
    tripling = CosineDecayRestarts(1.0, 1, t_mul=3.0)  # at steps 1, 4, 13, 40, 121, ...; log(243) / log(3) is below 5 in floats
    assert [tripling(step) for step in (0, 1, 4, 13, 40, 121, 364, 1093)] == [1.0] * 8
    again_and_again = CosineDecayRestarts(1.0, 4, t_mul=1.0, m_mul=0.5, alpha=0.2)
    # (1 - alpha) * 0.5**restarts * cosine + alpha
    assert [again_and_again(step) for step in (0, 2, 4, 6, 8)] == pytest.approx([1.0, 0.6, 0.6, 0.4, 0.4])


def test_periods_that_shrink_come_to_an_end():
    shrinking = CosineDecayRestarts(1.0, 8, t_mul=0.5, alpha=0.1)  # 8 + 4 + 2 + ... = 16 steps
    assert [shrinking(step) for step in (8, 12, 14)] == [1.0] * 3
    assert [shrinking(step) for step in (16, 1000)] == pytest.approx([0.1] * 2)


def test_boundaries_and_values_must_fit():
    with pytest.raises(ValueError, match="2 boundaries, 2 values"):
        PiecewiseConstantDecay([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="expected increasing steps"):
        PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3])


def test_an_unknown_schedule_lists_the_nearest_first():
    with pytest.raises(ValueError, match=r"'CosinDecay': no such schedule.\n  expected  one of CosineDecay, "):
        schedules.get({"class_name": "CosinDecay", "config": {}})
