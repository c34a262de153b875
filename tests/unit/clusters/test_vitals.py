"""What Ray itself consists of is seen to go: real sockets, whose other end closes as a process's does."""

from __future__ import annotations

import socket

import pytest

from disttrain.clusters.ray.vitals import Line, Vitals
from disttrain.testing.fake_clock import FakeClock


def listening(family: int, tmp_path) -> tuple[socket.socket, str]:
    listener = socket.socket(family)
    listener.bind(str(tmp_path / "raylet") if family == socket.AF_UNIX else ("127.0.0.1", 0))
    listener.listen()
    name = listener.getsockname()
    return listener, name if isinstance(name, str) else f"{name[0]}:{name[1]}"


@pytest.fixture(params=[socket.AF_UNIX, socket.AF_INET], ids=["a raylet", "a GCS"])
def server(request, tmp_path):
    listener, address = listening(request.param, tmp_path)
    with listener:
        yield listener, address


def test_a_line_is_up_as_long_as_somebody_holds_its_other_end(server):
    listener, address = server
    line = Line(address)
    assert line.is_up()
    other, _ = listener.accept()
    other.send(b"a greeting")
    assert line.is_up() and line.is_up()
    other.close()
    listener.close()
    assert not line.is_up()


def test_a_connection_that_is_closed_by_who_lives_is_made_anew(server):
    listener, address = server
    line = Line(address)
    assert line.is_up()
    listener.accept()[0].close()
    assert line.is_up()
    line.close()


def test_what_is_away_for_longer_than_it_may_is_named_and_stays_gone(server, tmp_path):
    listener, address = server
    clock = FakeClock()
    vitals = Vitals({"the part": (Line(address), 40.0)}, clock)
    vitals.look()
    listener.accept()[0].close()
    listener.close()
    clock.advance(30.0)
    vitals.look()
    assert vitals.trouble is None
    clock.advance(11.0)
    vitals.look()
    assert vitals.trouble == f"the part at {address} is gone, for 41 s now"
    vitals.close()


def test_its_thread_looks_by_itself_and_ends(server):
    listener, address = server
    vitals = Vitals({"the part": (Line(address), 40.0)})
    vitals.start()
    listener.accept()[0].close()  # it has come
    vitals.close()
    vitals.close()
