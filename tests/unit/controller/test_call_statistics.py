"""What happened in a call: all of it counts, the newest is listed."""

from __future__ import annotations

from disttrain.callbacks.goodput import summary
from disttrain.controller.telemetry import _KEPT, CallStatistics
from disttrain.telemetry import Recovery, Save
from disttrain.testing.fake_clock import FakeClock


def test_a_run_that_saves_for_weeks_lists_the_newest_saves_and_counts_them_all():
    clock = FakeClock()
    statistics = CallStatistics(wanted_workers=2, clock=clock)
    statistics.begin()
    for step in range(3 * _KEPT):
        statistics.saves.append(Save(step, 0.5, 0.25, 9))
    statistics.recoveries.append(Recovery(7, 12.0, 1))
    clock.advance(10_000.0)
    statistics.begin()  # said again, nothing changes
    health = statistics.health()
    assert len(health.saves) == _KEPT and health.earlier_saves == 2 * _KEPT and health.saves[-1].step == 3 * _KEPT - 1
    assert health.save_seconds == 0.25 * 3 * _KEPT and health.recovery_seconds == 12.0
    assert health.elapsed_seconds == 10_000.0
    assert f"checkpoints 7.5 % ({3 * _KEPT})" in summary(health)
