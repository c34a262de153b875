"""What a worker prints: whole lines, in order, bounded."""

from __future__ import annotations

import io

from disttrain.clusters.ray.prints import Prints, Tee
from disttrain.elastic.messages import Printed
from disttrain.testing.fake_clock import FakeClock


def collecting(bytes_per_second: int = 1024):
    clock, woken = FakeClock(100.0), []
    return clock, woken, Prints("w0", lambda: woken.append(clock.monotonic_s()), bytes_per_second, clock)


def test_lines_come_whole_and_neighbours_of_one_stream_together():
    _, _, prints = collecting()
    prints.add("stdout", "a\nb")
    prints.add("stdout", "c\n\nd")
    prints.add("stderr", "no\n")
    assert prints.take() == [Printed("w0", "stdout", "a\nbc\n"), Printed("w0", "stderr", "no")]
    assert prints.take() == []
    prints.add("stdout", "\n")
    assert prints.take() == [Printed("w0", "stdout", "d")]


def test_a_line_without_an_end_is_cut():
    _, _, prints = collecting(1 << 20)
    prints.add("stdout", "x" * 9000)
    assert [len(line) for line in prints.take()[0].text.split("\n")] == [4096, 4096]


def test_more_than_the_rate_is_dropped_and_the_number_told():
    clock, _, prints = collecting(1024)
    for _ in range(30):
        prints.add("stdout", "x" * 99 + "\n")
    kept, told = prints.take()
    assert len(kept.text.split("\n")) == 10
    assert told == Printed("w0", "stderr", "[20 lines were dropped: more than 1 KiB a second]")
    clock.advance(0.5)
    for _ in range(30):
        prints.add("stdout", "x" * 99 + "\n")
    assert len(prints.take()[0].text.split("\n")) == 5


def test_the_driver_is_woken_for_the_first_line_and_not_for_each():
    clock, woken, prints = collecting()
    prints.add("stdout", "half")
    assert woken == []
    prints.add("stdout", " a line\n")
    prints.add("stdout", "another\n")
    assert woken == [100.0]
    prints.take()
    prints.add("stdout", "right after: goes with what comes next\n")
    assert woken == [100.0]
    clock.advance(0.2)
    prints.add("stdout", "later\n")
    assert woken == [100.0, 100.2]


def test_a_stream_that_is_listened_to_is_itself_in_everything_else():
    _, _, prints = collecting()
    stream = io.StringIO()
    tee = Tee(stream, "stdout", prints)
    print("a line", file=tee, flush=True)
    tee.writelines(["b\n", "c\n"])
    assert stream.getvalue() == "a line\nb\nc\n" and prints.take() == [Printed("w0", "stdout", "a line\nb\nc")]
    assert tee.isatty() is False and tee.getvalue() == stream.getvalue()
