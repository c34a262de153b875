"""A simulated run against what can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from disttrain.errors import UsageError
from disttrain.simulation import Account, ClusterModel, advise, optimum_interval_s, simulate
from disttrain.simulation.model import Crowd
from disttrain.simulation.stretch import Pace

QUIET = ClusterModel(workers=64, step_s=2.0, checkpoint_s=60.0)


def runs(model: ClusterModel, seconds: float, seeds: int = 4, crowd: Crowd | None = None) -> Account:
    return Account.together(simulate(model, seconds, seed, crowd) for seed in range(seeds))


def test_without_failures_all_time_but_that_of_saves_and_callbacks_counts():
    account = simulate(replace(QUIET, save_stall_s=0.5, callback_s=3.0, epoch_steps=300), 1e6, seed=1)
    # 30 steps of 2.01 s reach the minute after the last save began; then the stall
    assert account.goodput == pytest.approx(60.0 / (30 * 2.01 + 0.5), rel=1e-4)
    assert account.shares["saves"] == pytest.approx(0.5 / (30 * 2.01 + 0.5), rel=1e-3)
    assert account.shares["callbacks"] == pytest.approx(account.goodput * 0.01 / 2.0, rel=1e-3)
    assert account.redone == account.recovering == account.waiting == account.slower == 0.0


def test_random_failures_with_spares_cost_each_a_recovery_and_half_a_step():
    model = replace(QUIET, mtbf_s=3600.0, spares=4, save_stall_s=0.0, detect_s=3.0, reform_s=5.0, state_bytes=4e9)
    account = runs(model, 5e5)
    recovery_s = 3.0 + 5.0 + 4.0 + 2.0 / 2
    assert account.goodput == pytest.approx(1 / (1 + recovery_s / 3600.0), abs=4e-4)  # spares fail too, which stops nobody
    assert account.rollbacks == 0 and account.slower == 0.0


def test_while_a_worker_is_missing_another_hosts_its_slice_and_steps_take_twice_as_long():
    model = replace(QUIET, mtbf_s=3600.0, start_s=60.0, save_stall_s=0.0)
    assert runs(model, 5e5).shares["slower"] == pytest.approx(0.5 * 60.0 / 3600.0, rel=0.15)
    finer = replace(model, virtual_workers=64 * 10)  # then ten of eleven slices' time is needed anyway
    assert runs(finer, 5e5).shares["slower"] == pytest.approx(1 / 11 * 60.0 / 3600.0, rel=0.15)


def test_a_loss_of_all_goes_back_to_the_newest_committed_checkpoint():
    model = replace(QUIET, outage_s=86400.0, checkpoint_s=1800.0, save_stall_s=0.0, state_bytes=200e9, start_s=0.0, min_workers=64)
    account = runs(model, 100 * 86400.0)
    # on average half an interval after a save began; the newest is the one before until it is written, 200 s later
    assert account.redone / account.outages == pytest.approx(1800.0 / 2 + 200.0 + 1.0, rel=0.1)
    assert account.outages == pytest.approx(400, rel=0.2) and account.rollbacks == pytest.approx(account.outages, abs=2)


@pytest.mark.parametrize(("workers", "stall_s"), [(1, 0.5), (1, 20.0), (64, 5.0)])
def test_the_best_interval_is_that_of_young_and_daly(workers, stall_s):
    model = ClusterModel(
        workers=workers, min_workers=workers, step_s=0.5, checkpoint_s=600.0, save_stall_s=stall_s, start_s=5.0, state_bytes=1e6,
        mtbf_s=7200.0 if workers == 1 else None, outage_s=None if workers == 1 else 7200.0,
    )  # fmt: skip
    advice = advise(model, seeds=8)
    formula_s = math.sqrt(2 * stall_s * 7200.0)
    assert advice.interval_s is not None and formula_s / 2.1 < advice.interval_s < formula_s * 2.1
    at_formula = next(choice.goodput for choice in advice.intervals if choice.value == advice.formula_s)
    assert at_formula == pytest.approx(max(choice.goodput for choice in advice.intervals), abs=0.002)
    # the waste at the optimum is about sqrt(2 stall / MTBF)
    stops = (5.0 + 1.0 + 0.5) / 7200.0
    assert 1 - at_formula == pytest.approx(math.sqrt(2 * stall_s / 7200.0) + stops, rel=0.2)


def test_the_formula_falls_back_to_the_mean_time_between_losses_where_a_save_takes_longer_than_two_of_them():
    assert optimum_interval_s(10.0, 5.0) == 5.0
    assert optimum_interval_s(0.2, 2592000.0) == pytest.approx(math.sqrt(2 * 0.2 * 2592000.0), rel=1e-3)


def test_a_crowd_stands_for_many_more_workers_than_are_simulated_one_by_one():
    model = replace(QUIET, workers=24, mtbf_s=600.0, start_s=60.0, virtual_workers=96, spares=1, min_workers=20)
    few, all_of_them = (runs(model, 1e5, 4, Crowd(model, size)) for size in (8, 24))
    for name, tolerance in (("counted", 0.01), ("slower", 0.3), ("recovering", 0.1)):
        assert few.shares[name] == pytest.approx(all_of_them.shares[name], rel=tolerance), name
    assert Crowd.of(replace(model, workers=16384, virtual_workers=16384)).size < 64


def test_with_too_few_for_min_workers_the_run_waits():
    model = replace(QUIET, mtbf_s=3600.0, start_s=60.0, min_workers=64, save_stall_s=0.0)
    account = runs(model, 5e5)
    assert account.slower == 0.0 and account.shares["waiting"] == pytest.approx(60.0 / (3600.0 + 60.0), rel=0.15)


def test_more_spares_are_advised_where_replacements_come_slowly():
    slow = replace(QUIET, mtbf_s=1800.0, start_s=600.0)
    advice = advise(slow, seeds=2, seconds=1e5)
    goodputs = {choice.value: choice.goodput for choice in advice.spares}
    assert advice.best_spares >= 1 and goodputs[advice.best_spares] > goodputs[0] + 0.05
    calm = advise(QUIET, seeds=1)
    assert calm.best_spares == 0 and calm.interval_s is None


def test_a_run_that_would_give_up_says_so_and_its_time_counts_for_nothing():
    account = simulate(replace(QUIET, outage_s=86400.0, start_s=3600.0), 20 * 86400.0, seed=3)
    assert "only 0 of 1 workers after 600 s" in account.message and account.given_up > 0.5 * account.seconds


def test_the_same_seed_gives_the_same_run():
    model = replace(QUIET, mtbf_s=1000.0, outage_s=20000.0)
    assert simulate(model, 1e5, seed=5) == simulate(model, 1e5, seed=5) != simulate(model, 1e5, seed=6)


@settings(max_examples=40, deadline=None)
@given(
    workers=st.integers(1, 40), fewer=st.integers(0, 40), spares=st.integers(0, 3), more=st.integers(0, 50), step_s=st.floats(0.01, 400.0),
    checkpoint_s=st.floats(1.0, 5000.0), mtbf_s=st.floats(20.0, 1e5), outage_s=st.floats(500.0, 1e5), start_s=st.floats(0.0, 400.0),
    detect_s=st.floats(0.0, 30.0), stall_s=st.floats(0.0, 30.0), seed=st.integers(0, 100),
)  # fmt: skip
def test_every_second_is_accounted_for_once(
    workers, fewer, spares, more, step_s, checkpoint_s, mtbf_s, outage_s, start_s, detect_s, stall_s, seed
):
    model = ClusterModel(
        workers=workers, virtual_workers=workers + more, min_workers=max(1, workers - fewer), spares=spares, step_s=step_s,
        checkpoint_s=checkpoint_s, mtbf_s=mtbf_s, outage_s=outage_s, start_s=start_s, detect_s=detect_s, save_stall_s=stall_s,
    )  # fmt: skip
    account = simulate(model, 20_000.0, seed)
    assert account.seconds == pytest.approx(20_000.0)
    assert all(share >= -1e-9 for share in account.shares.values())


@given(st.floats(0.05, 10.0), st.floats(0.0, 5.0), st.floats(0.1, 60.0), st.floats(0.0, 200.0), st.floats(0.0, 500.0))
def test_a_stretch_worked_out_at_once_is_the_one_walked_step_by_step(step_s, stall_s, every_s, since_s, seconds):
    stretch = Pace(step_s, stall_s, every_s).stretch(seconds, since_s)
    now, steps, saves, since_save = 0.0, 0, 0, since_s
    while now + step_s < seconds - 1e-6:
        now, steps, since_save = now + step_s, steps + 1, since_save + step_s
        if since_save >= every_s - 1e-7:
            if now + stall_s >= seconds - 1e-6:
                break
            now, saves, since_save = now + stall_s, saves + 1, stall_s
    assert abs(stretch.steps - steps) <= 1 and abs(stretch.saves - saves) <= 1  # one, where the border is met by a rounding
    assert stretch.steps * step_s + stretch.stall_s + stretch.partial_s == pytest.approx(seconds, abs=1e-6)
    assert 0 <= stretch.to_boundary_s <= max(step_s, stall_s) + 1e-6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, "--workers 0"),
        ({"min_workers": 65}, "--min-workers 65 is more than --workers 64"),
        ({"virtual_workers": 8}, "--virtual-workers 8 for --workers 64"),
        ({"spares": -1}, "--spares -1"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(QUIET, **changes)
