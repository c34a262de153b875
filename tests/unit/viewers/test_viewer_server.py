"""The viewer as it runs: its socket, its thread, its end, and requests that no browser would send."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request

import pytest
from launching import heed_ctrl_c

from disttrain.errors import UsageError
from disttrain.layers import Dense, Input
from disttrain.models import Sequential
from disttrain.viewers import server
from disttrain.viewers.door import listen


def small() -> Sequential:
    return Sequential([Input((3,)), Dense(2)])


@pytest.fixture
def viewer(tmp_path):
    with server.launch(small(), input_folder=tmp_path, port=0, block=False) as launched:
        yield launched


def port_of(viewer) -> int:
    return int(viewer.url.rstrip("/").rsplit(":", 1)[1])


def asked(viewer, raw: bytes, close: bool = True) -> bytes:
    """What the server answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", port_of(viewer)), timeout=600) as connection:
        connection.sendall(raw)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return bytes(answer)


def lives(viewer) -> bool:
    with urllib.request.urlopen(f"{viewer.url}api/model") as response:
        return json.load(response)["source"] == "model"


def test_it_serves_until_it_is_stopped_and_then_frees_the_port(tmp_path, capsys):
    viewer = server.launch(small(), input_folder=tmp_path, port=0, block=False)
    assert f"activation viewer: {viewer.url}" in capsys.readouterr().out
    assert lives(viewer) and viewer.url in repr(viewer) and f'src="{viewer.url}"' in viewer._repr_html_()
    viewer.stop()
    viewer.stop()
    assert "stopped" in repr(viewer) and "stopped" in viewer._repr_html_()
    listen("127.0.0.1", port_of(viewer)).close()


def test_two_viewers_run_side_by_side(viewer, tmp_path):
    with server.launch(small(), input_folder=tmp_path, port=0, block=False) as other:
        assert other.url != viewer.url and lives(other) and lives(viewer)


def test_a_port_in_use_is_named_with_the_next_free_one(viewer, tmp_path):
    port = port_of(viewer)
    with pytest.raises(UsageError, match=rf"port {port} is in use on 127\.0\.0\.1[\s\S]*try       port=\d+") as refused:
        server.launch(small(), input_folder=tmp_path, port=port, block=False)
    free = int(str(refused.value).rsplit("port=", 1)[1])
    assert free != port
    listen("127.0.0.1", free).close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 70000}, "port=70000: expected a whole number from 0 to 65535"),
        ({"port": "5000"}, "port='5000'"),
        ({"port": True}, "port=True"),
        ({"host": 5}, "host=5"),
        ({"host": "no.such.host.invalid"}, "cannot be listened on"),
        ({"top": 0}, "top=0"),
        ({"classes": "abc"}, "classes='abc'"),
        ({"input_folder": "/nothing/here"}, "there is no such folder"),
        ({"model": "/nothing/here.keras"}, "there is no such file"),
        ({"model": "/nothing/here"}, "no run directory"),
    ],
)
def test_a_wrong_argument_is_told_and_nothing_is_left_running(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        server.launch(**{"model": small(), "input_folder": tmp_path, "port": 0, "block": False, **arguments})


def test_a_host_that_others_reach_is_warned_of(tmp_path, capsys):
    with server.launch(small(), input_folder=tmp_path, port=0, host="0.0.0.0", block=False) as viewer:
        assert viewer.url.startswith("http://127.0.0.1:") and lives(viewer)
    assert "lets everybody who reaches it see the model" in capsys.readouterr().err


GET = b"HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"
POST = b"POST /api/inputs " + GET + b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /api/model HTTP/1.0\r\n\r\n", b"403"),
        (b"GET /api/model HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET http://evil.example/api/model " + GET + b"\r\n", b"403"),
        (b"GET /api/model " + GET + b"Host: evil.example\r\n\r\n", b"403"),
        (b"GET /../../../../etc/passwd " + GET + b"\r\n", b"404"),
        (b"GET /page/../../../../../etc/passwd " + GET + b"\r\n", b"404"),
        (b"GET /page/..%2f..%2f..%2f..%2fetc%2fpasswd " + GET + b"\r\n", b"404"),
        (b"GET /page/%c0%ae%c0%ae/x.js " + GET + b"\r\n", b"404"),
        (b"GET /" + b"x" * 70_000 + b" " + GET + b"\r\n", b"414"),
        (b"GET /api/inputs?search=" + b"x" * 10_000 + b" " + GET + b"\r\n", b"414"),
        (b"GET /api/model " + GET + b"X: y\r\n" * 500 + b"\r\n", b"431"),
        (POST + b"\r\n{}", b"400"),
        (POST + b"Content-Length: -5\r\n\r\n{}", b"400"),
        (POST + b"Content-Length: x\r\n\r\n{}", b"400"),
        (POST + b"Content-Length: 900\r\n\r\n{}", b"400"),
        (POST + b"Content-Length: 99999999999\r\n\r\n{}", b"413"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n10000\r\n" + bytes(0x10000) + b"\r\nzz\r\n", b"400"),
    ],
)
def test_hostile_requests_are_refused_and_the_server_lives(viewer, raw, status):
    answer = asked(viewer, raw.replace(b"PORT", str(port_of(viewer)).encode()))
    assert answer.split(b" ", 2)[1] == status and b"root:" not in answer
    assert lives(viewer)


@pytest.mark.parametrize("raw", [b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"", b"\r\n", b"\0" * 1000])
def test_what_is_no_http_does_no_harm(viewer, raw):
    assert b"200" not in asked(viewer, raw)
    assert lives(viewer)


def test_a_chunked_body_that_is_too_large_is_refused_at_the_limit(viewer):
    head = "POST /api/inputs HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 12
    answer = asked(viewer, head.replace("PORT", str(port_of(viewer))).encode() + chunks + b"0\r\n\r\n")
    assert answer.split(b" ", 2)[1] == b"413" and lives(viewer)


def test_a_body_that_is_too_large_gets_its_reason_before_the_line_is_cut(viewer):
    request = urllib.request.Request(f"{viewer.url}api/inputs", bytes(12 << 20), {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert answer.code == 413 and "8 MB at most" in json.load(answer)["error"]


def test_a_tab_that_is_closed_in_the_middle_of_an_answer_is_nothing_special(viewer, capsys):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port_of(viewer))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(f"GET /api/graph HTTP/1.1\r\nHost: 127.0.0.1:{port_of(viewer)}\r\n\r\n".encode())
    assert lives(viewer)
    assert "Traceback" not in capsys.readouterr().err


def test_the_server_tells_nothing_of_what_it_is_made_of(viewer):
    with urllib.request.urlopen(viewer.url) as response:
        assert response.headers["Server"] == "disttrain"


def script(tmp_path, body: str) -> subprocess.Popen:
    path = tmp_path / "show.py"
    path.write_text(
        "from disttrain.layers import Dense, Input\nfrom disttrain.models import Sequential\nfrom disttrain.viewers import server\n"
        "model = Sequential([Input((3,)), Dense(2)])\n" + textwrap.dedent(body)
    )
    command, pipe = [sys.executable, str(path)], subprocess.PIPE
    return subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_ctrl_c)


def test_in_a_script_it_blocks_until_ctrl_c_and_ends_quietly(tmp_path):
    with script(tmp_path, "server.launch(model, port=0)\nprint('after')\n") as process:
        assert "(Ctrl-C stops it)" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "stopped" in out and "after" in out and err == ""
    assert sorted(os.listdir(tmp_path)) == ["show.py"]


def test_ctrl_c_is_heeded_from_the_moment_at_which_it_is_offered(monkeypatch, capsys, tmp_path):
    def pressed(viewer: server.Viewer) -> None:
        raise KeyboardInterrupt  # before it waits

    monkeypatch.setattr(server.Viewer, "wait", pressed)
    viewer = server.launch(Sequential([Input((3,)), Dense(2)]), port=0, input_folder=tmp_path, block=True)
    assert "(stopped)" in repr(viewer) and "activation viewer: stopped" in capsys.readouterr().out


def test_in_a_prompt_it_returns_at_once(tmp_path):
    body = "import sys\nsys.ps1 = '>>> '\nviewer = server.launch(model, port=0)\nprint('after', viewer)\nviewer.stop()\n"
    with script(tmp_path, body) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "after <Viewer http://127.0.0.1:" in out and err == ""


def test_importing_it_brings_no_torch_and_no_server():
    code = "import sys, disttrain.viewers.server; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "werkzeug", "PIL"} & set(done.stdout.split())
