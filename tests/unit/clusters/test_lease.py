"""Who loses a lease and who does not: the driver is busy, stopped, dead, out of reach, or has given the worker up."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from disttrain.clusters.ray.lease import Lease
from disttrain.clusters.ray.lease_server import ASK, FENCED, GRANTED, LeaseServer, is_stopped
from disttrain.errors import InfrastructureError

_LIMIT_S = 300.0

# A driver that serves leases, does what it is told, and says when it has.
_DRIVER = """
import ctypes, sys
sys.path[:0] = {path!r}
from disttrain.clusters.ray.lease_server import LeaseServer
server = LeaseServer("127.0.0.1")
print(server.address[1], server.token, flush=True)
for line in sys.stdin:
    if line == "busy\\n":
        print("busy", flush=True)
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter
"""


class Driver:
    def __init__(self) -> None:
        code = _DRIVER.format(path=[str(Path(__file__).parents[3])])
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port, self.token = self.hear().split()
        self.address = "127.0.0.1", int(port)

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def driver():
    made = Driver()
    yield made
    made.end()


@pytest.fixture
def server():
    made = LeaseServer("127.0.0.1")
    yield made
    made.close()


class Asking:
    """A worker that asks by hand."""

    def __init__(self, address: tuple[str, int], token: str, worker: str = "w0") -> None:
        self.line = socket.create_connection(address, timeout=_LIMIT_S)
        self.line.sendall(f"{token} {worker}\n".encode())

    def ask(self) -> bytes:
        self.line.sendall(ASK)
        return self.line.recv(1)


@pytest.fixture
def ask():
    made = []

    def connect(address, token, worker="w0"):
        made.append(Asking(address, token, worker))
        return made[-1].ask

    yield connect
    for one in made:
        one.line.close()


def run_out(address, token, length_s=1.0, worker="w0") -> str:
    """What a lease says as it ends."""
    said: queue.Queue[str] = queue.Queue()
    lease = Lease(worker, address, token, length_s, said.put)
    lease.start()
    try:
        return said.get(timeout=_LIMIT_S)
    finally:
        lease.end()


def test_a_driver_that_holds_its_interpreter_loses_nobody(driver, ask):
    mine = ask(driver.address, driver.token)
    assert mine() == GRANTED
    driver.say("busy")
    assert driver.hear() == "busy"
    assert [mine() for _ in range(20)] == [GRANTED] * 20
    assert ask(driver.address, driver.token, "newcomer")() == GRANTED


def test_a_stopped_driver_grants_nothing_until_it_goes_on(driver, ask):
    mine = ask(driver.address, driver.token)
    driver.process.send_signal(signal.SIGSTOP)
    while not is_stopped(driver.process.pid):
        pass
    assert mine() not in (GRANTED, FENCED)
    assert "the driver is stopped" in run_out(driver.address, driver.token)
    driver.process.send_signal(signal.SIGCONT)
    while is_stopped(driver.process.pid):
        pass
    assert mine() == GRANTED


def test_the_lease_ends_with_the_driver(driver):
    driver.process.kill()
    driver.process.wait()
    host, port = driver.address
    assert f"no word from the driver at {host}:{port}" in run_out(driver.address, driver.token)


def test_a_worker_that_nobody_answers_ends(unanswered):
    assert "no word from the driver" in run_out(unanswered, "token", length_s=0.1)


@pytest.fixture
def unanswered():
    """Connections are made, and nothing is ever said: a line that was cut, or a machine that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()


def test_a_worker_that_was_given_up_is_told_and_the_others_are_not(server, ask):
    mine, others = ask(server.address, server.token, "w0"), ask(server.address, server.token, "w1")
    assert (mine(), others()) == (GRANTED, GRANTED)
    server.fence("w0")
    while mine() != FENCED:
        pass
    assert others() == GRANTED
    assert "given up by the driver" in run_out(server.address, server.token, length_s=600.0)


def test_a_server_that_somebody_killed_comes_back_with_all_it_knew(server, ask):
    server.fence("w0")
    psutil.Process(server._process.pid).kill()
    while not server._process.ended:
        pass
    server.tend()
    assert ask(server.address, server.token, "w1")() == GRANTED
    mine = ask(server.address, server.token, "w0")
    while mine() != FENCED:
        pass


def test_who_does_not_know_the_token_is_not_answered(server, ask):
    assert ask(server.address, "guessed")() == b""
    assert ask(server.address, server.token)() == GRANTED


def test_the_server_ends_when_it_is_closed_twice(server):
    server.close()
    server.close()
    server.tend()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_a_server_that_cannot_listen_says_so():
    with pytest.raises(InfrastructureError, match=r"nothing can listen at 192\.0\.2\.77:\* \(.*assign"):
        LeaseServer("192.0.2.77")  # of a documentation net: nobody's
    assert not is_stopped(os.getpid())
