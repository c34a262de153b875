"""The store of a run: what it keeps for its members, and that it says nothing to anybody else."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch.distributed as dist

from disttrain.collectives.run_store import RunStore, StoreGone
from disttrain.collectives.store_server import StoreAddress, StoreServer, packed, proof, unpacked
from disttrain.errors import InfrastructureError

LIMIT_S = 600.0


@pytest.fixture(scope="module")
def server():
    made = StoreServer("127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def store(server):
    made = RunStore(server.address, f"{secrets.token_hex(4)}/")
    yield made
    made.close()


@pytest.fixture
def knock(server):
    """Connections of somebody who does not know the secret."""
    lines: list[socket.socket] = []

    def connect() -> socket.socket:
        lines.append(socket.create_connection((server.address.host, server.address.port), timeout=LIMIT_S))
        return lines[-1]

    yield connect
    for line in lines:
        line.close()


def hung_up(line: socket.socket) -> bool:
    try:
        while line.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


# -- what it keeps ------------------------------------------------------------------------------------------------------------------------


def test_what_one_member_sets_the_others_get(store, server):
    store.set("a", "text")
    store.set("b", b"\x00\xff")
    with closing(RunStore(server.address, store._prefix)) as other:
        assert other.get("a") == b"text" and other.multi_get(["a", "b"]) == [b"text", b"\x00\xff"]
        assert other.check(["a", "b"]) and not other.check(["a", "c"])
        assert [other.add("n", 2), store.add("n", 3)] == [2, 5] and other.get("n") == b"5"
        assert store.delete_key("a") and not store.delete_key("a") and not other.check(["a"])


def test_a_value_is_put_in_the_place_of_an_expected_one_only(store):
    assert store.compare_set("k", "", "first") == b"first"
    assert store.compare_set("k", "other", "second") == b"first"
    assert store.compare_set("k", "first", "second") == b"second"


def test_keys_under_different_prefixes_do_not_meet(store):
    store.under("x/").set("k", "1")
    assert not store.check(["k"]) and store.check(["x/k"]) and store.under("x/").get("k") == b"1"


def test_who_waits_goes_on_when_the_key_comes(store, server):
    def later() -> None:
        with closing(RunStore(server.address, store._prefix)) as other:
            other.set("late", "here")

    thread = threading.Thread(target=later)
    thread.start()
    assert store.get("late") == b"here"
    thread.join()


def test_a_wait_ends_with_its_limit_and_says_for_what(store):
    with pytest.raises(StoreGone, match="nobody has set never"):
        store.wait(["never"], timedelta(milliseconds=1))
    with pytest.raises(StoreGone):
        store.multi_get(["never"])


def test_torch_itself_takes_it_for_a_store(store):
    under = dist.PrefixStore("p", store)
    under.set("k", "v")
    assert under.get("k") == b"v" and under.check(["k"]) and store.check(["p/k"]) and under.add("n", 1) == 1


def test_fields_come_out_as_they_went_in_and_nothing_else_is_taken_for_them():
    fields = [b"", b"a", b"\x00" * 300]
    assert unpacked(packed(fields)) == fields
    for cut in (1, 3, 5, len(packed(fields)) - 1):
        with pytest.raises(ValueError):
            unpacked(packed(fields)[:cut])


# -- who may ------------------------------------------------------------------------------------------------------------------------------


def test_who_does_not_know_the_secret_is_hung_up_on_and_has_changed_nothing(store, server, knock):
    store.set("k", "mine")
    with pytest.raises(StoreGone, match="hung up"):
        RunStore(StoreAddress(server.address.host, server.address.port, b"guessed"))
    line = knock()
    ours = line.recv(32)
    request = packed([b"set", b"k", b"theirs"])
    line.sendall(bytes(32) + proof(b"guessed", b"client", ours, bytes(32)) + len(request).to_bytes(4, "big") + request)
    assert hung_up(line)
    assert store.get("k") == b"mine"


def test_a_client_of_torchs_own_store_learns_nothing(store, server):
    store.set("k", "mine")
    with pytest.raises(RuntimeError):
        stranger = dist.TCPStore(server.address.host, server.address.port, is_master=False, timeout=timedelta(seconds=1))
        stranger.get("k")
    assert store.get("k") == b"mine"


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\xff" * 100_000, os.urandom(4096)], ids=range(5))
def test_garbage_is_hung_up_on(garbage, store, knock):
    line = knock()
    try:
        line.sendall(garbage)
        line.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it was quicker
    assert hung_up(line)
    assert store.check([])


def test_a_member_that_speaks_nonsense_is_hung_up_on_alone(store, server):
    with closing(RunStore(server.address)) as other, pytest.raises(StoreGone):
        other._line.ask(b"no such thing")
    assert store.add("n", 1) == 1


def test_many_who_say_nothing_keep_no_member_out(server, knock):
    silent = [knock() for _ in range(200)]
    with closing(RunStore(server.address)) as member:
        assert member.num_keys() >= 0
    assert hung_up(silent[0])


def test_a_member_does_not_talk_to_a_server_that_does_not_know_the_secret():
    """Somebody has taken the port of a store that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as fake:
        heard = []

        def serve() -> None:
            line, _ = fake.accept()
            with line:
                line.sendall(bytes(32))
                heard.append(line.recv(4096))
                line.sendall(bytes(32))
                heard.append(line.recv(4096))

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(StoreGone, match="does not know the secret"):
            RunStore(StoreAddress("127.0.0.1", fake.getsockname()[1], b"secret"))
        thread.join()
    assert len(heard[0]) == 64 and heard[1] == b""


def test_the_secret_stands_in_no_words(server):
    assert server.address.secret.hex() not in repr(server.address) and repr(server.address.secret) not in repr(server.address)
    command = " ".join(psutil.Process(server._process.pid).cmdline())
    assert server.address.secret.hex() not in command
    assert server.address.secret.hex() not in str(psutil.Process(server._process.pid).environ())


# -- its life -----------------------------------------------------------------------------------------------------------------------------


def test_it_listens_at_its_own_address_alone(server):
    listening = [each.laddr for each in psutil.Process(server._process.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", server.address.port)]


def test_one_that_somebody_killed_comes_back_for_the_next_generation():
    own = StoreServer("127.0.0.1")
    old = RunStore(own.address)
    process = psutil.Process(own._process.pid)
    process.kill()
    while not own._process.ended:
        pass
    with pytest.raises(StoreGone):
        old.add("n", 1)
    with closing(RunStore(own.address)) as new:
        assert new.add("n", 1) == 1
    own.close()
    own.close()


def test_it_ends_with_its_driver():
    code = "import sys; sys.path[:0] = [{!r}]\nfrom disttrain.collectives.store_server import StoreServer\ns = StoreServer('127.0.0.1')\n"
    code += "print(s._process.pid, s.address.port, flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", code.format(str(Path(__file__).parents[3]))]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    server = psutil.Process(int(driver.stdout.readline().split()[0]))
    driver.kill()
    driver.communicate()
    psutil.wait_procs([server], timeout=LIMIT_S)
    assert not server.is_running()


def test_an_address_that_is_nobodys_is_told():
    server = StoreServer("192.0.2.77")  # of a documentation net
    with pytest.raises(InfrastructureError, match=r"nothing can listen at 192\.0\.2\.77"):
        server.address  # noqa: B018
    server.close()
