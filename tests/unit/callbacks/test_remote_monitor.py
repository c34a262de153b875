import json
import threading
import urllib.parse
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from disttrain.callbacks import RemoteMonitor


class Received(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.received.append((self.path, self.headers["Content-Type"], self.headers["X-Run"], body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Received) as server:
        server.received, server.status = [], 200
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


def begun(*arguments, **named):
    monitor = RemoteMonitor(*arguments, **named)
    monitor.on_train_begin()
    return monitor


def test_the_logs_of_an_epoch_arrive_as_a_form(server):
    begun(server.url, headers={"X-Run": "r1"}).on_epoch_end(3, {"loss": 0.5, "f1": [0.25, 1.0]})
    ((path, kind, run, body),) = server.received
    assert (path, kind, run) == ("/publish/epoch/end/", "application/x-www-form-urlencoded", "r1")
    assert json.loads(urllib.parse.parse_qs(body)["data"][0]) == {"epoch": 3, "loss": 0.5, "f1": [0.25, 1.0]}


def test_the_logs_of_an_epoch_arrive_as_json_without_what_json_lacks(server):
    begun(server.url, path="/in", send_as_json=True).on_epoch_end(0, {"loss": float("nan"), "best": 1})
    ((path, kind, _, body),) = server.received
    assert (path, kind, json.loads(body)) == ("/in", "application/json", {"epoch": 0, "loss": None, "best": 1})


def test_a_server_that_refuses_is_warned_of_once_and_again_when_it_had_come_back(server):
    monitor = begun(server.url)
    server.status = 500
    with pytest.warns(UserWarning, match="took no logs of epoch 0: it answered 500"):
        monitor.on_epoch_end(0, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.on_epoch_end(1, {})
        server.status = 200
        monitor.on_epoch_end(2, {})
    server.status = 404
    with pytest.warns(UserWarning, match="took no logs of epoch 3: it answered 404"):
        monitor.on_epoch_end(3, {})


def test_a_server_that_is_not_there_does_not_stop_the_training():
    with HTTPServer(("127.0.0.1", 0), Received) as gone:
        port = gone.server_port
    with pytest.warns(UserWarning, match="Going on"):
        begun(f"http://127.0.0.1:{port}", timeout_s=5).on_epoch_end(0, {"loss": 1.0})
