"""The clock and its stand-in."""

import pytest

from disttrain.clock import Clock, SystemClock
from disttrain.testing.fake_clock import FakeClock


def test_the_system_clock_never_goes_back_and_knows_the_century():
    clock: Clock = SystemClock()
    assert clock.monotonic_s() <= clock.monotonic_s()
    assert clock.wall_s() > 1_700_000_000


def test_a_fake_clock_stands_still_until_it_is_moved():
    clock: Clock = FakeClock(monotonic_s=10.0, wall_s=1000.0)
    assert (clock.monotonic_s(), clock.wall_s()) == (10.0, 1000.0)
    assert isinstance(clock, FakeClock)
    clock.advance(2.5)
    assert (clock.monotonic_s(), clock.wall_s()) == (12.5, 1002.5)


def test_setting_the_wall_clock_back_leaves_the_monotonic_one_alone():
    clock = FakeClock(monotonic_s=10.0, wall_s=1000.0)
    clock.set_wall(900.0)
    assert (clock.monotonic_s(), clock.wall_s()) == (10.0, 900.0)


def test_a_fake_clock_cannot_be_advanced_backwards():
    with pytest.raises(ValueError, match=r"FakeClock\.advance\(seconds=-1\): expected 0 or more"):
        FakeClock().advance(-1)
