"""What script and workers print is kept in the run directory: lines, with whose they are, and no more than a bound."""

from __future__ import annotations

import json

from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.prints import Prints
from disttrain.testing.fake_clock import FakeClock


def kept(prints: Prints) -> list[tuple[str, str]]:
    lines: list[str] = []
    prints.write(lines.extend)
    return [(line["source"], line["text"]) for line in map(json.loads, lines)]


def test_what_is_drawn_anew_in_place_is_kept_once_as_it_stood_at_its_end():
    prints = Prints(FakeClock())
    for data in (b"one\ntw", b"o\n\r\x1b[K1/2 --", b"\r\x1b[K2/2 ++", b"\n"):
        prints.overhear("<stdout>", data)
    assert kept(prints) == [("script", "one"), ("script", "two"), ("script", "2/2 ++")]


def test_a_workers_line_is_kept_once_with_its_rank():
    prints = Prints(FakeClock())
    prints.add("w2", "stderr", "a\nb", rank=1)
    prints.overhear("<stdout>", b"[disttrain] (w2) a\n")
    lines: list[str] = []
    prints.write(lines.extend)
    found = [json.loads(line) for line in lines]
    assert [(line["source"], line["rank"], line["stream"], line["text"]) for line in found] == [
        ("w2", 1, "stderr", "a"), ("w2", 1, "stderr", "b"),
    ]  # fmt: skip


def test_more_than_the_bound_is_not_kept_and_that_is_said():
    prints = Prints(FakeClock(), kept_bytes=1 << 20)
    for _ in range(20_000):
        prints.add("w0", "stdout", "x" * 100)
    found = kept(prints)
    assert found[-1] == ("script", "[more is not kept: 1 MiB of this attempt are]") and len(found) < 10_000


def test_what_storage_does_not_take_stays_and_is_read_back_in_order(tmp_path):
    directory = RunDirectory(str(tmp_path / "run"))
    directory.begin(fresh=True)
    prints = Prints(FakeClock())
    prints.add("w0", "stdout", "first")

    def away(lines: list[str]) -> None:
        raise OSError("away")

    try:
        prints.write(away)
    except OSError:
        prints.add("w0", "stdout", "second")
    prints.write(directory.add_prints)
    assert [line["text"] for line in directory.prints()] == ["first", "second"]
