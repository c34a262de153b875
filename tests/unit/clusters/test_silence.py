"""Who counts as silent, on a clock that stands still."""

from __future__ import annotations

from disttrain.clusters.ray.silence import Silence
from disttrain.testing.fake_clock import FakeClock


def listening(clock: FakeClock, silence: Silence, seconds: float) -> None:
    """As the listener does: ten times a second."""
    for _ in range(round(seconds * 10)):
        clock.advance(0.1)
        silence.listen()


def test_a_worker_is_silent_after_the_limit_and_since_it_was_last_heard():
    clock = FakeClock(100.0)
    silence = Silence(5.0, clock)
    silence.heard("w0")
    listening(clock, silence, 4.9)
    assert silence.silent() == []
    silence.heard("w1")
    listening(clock, silence, 0.2)
    assert silence.silent() == ["w0"] and silence.since("w0") == 100.0 and silence.since("w1") is None
    silence.heard("w0")
    assert silence.silent() == []
    silence.forget("w0")
    assert silence.since("w0") is None


def test_the_listeners_own_pause_is_nobodys_silence():
    clock = FakeClock(100.0)
    silence = Silence(5.0, clock)
    silence.heard("w0")
    listening(clock, silence, 3.0)
    clock.advance(25.0)  # a callback held the interpreter
    silence.listen()
    assert silence.silent() == []
    listening(clock, silence, 2.5)
    assert round(clock.monotonic_s() - silence.since("w0"), 1) == 5.5


def test_nobody_was_heard_in_the_future():
    clock = FakeClock(100.0)
    silence = Silence(5.0, clock)
    clock.advance(25.0)
    silence.heard("w0")
    silence.listen()
    clock.advance(0.5)
    listening(clock, silence, 5.0)
    assert silence.since("w0") == 125.0
