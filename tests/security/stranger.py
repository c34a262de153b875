"""Somebody who may reach a run and belongs to it in no way: tries everything, and says in JSON what came of it.

    stranger.py HOST GCS_PORT STORE_PORT FOLDER PORT...

Runs where the test puts it: in another network namespace, or beside the run in its own. It has Ray, torch and disttrain, but no token and
no secret of the run. What it manages leaves a file in FOLDER.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

LIMIT_S = 60
_SUBMIT = """
import logging, pathlib, sys, ray
ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
@ray.remote(num_cpus=0)
def work():
    pathlib.Path(sys.argv[2], "a task of a stranger").touch()
    return 1
ray.get(work.remote(), timeout=20)
pathlib.Path(sys.argv[2], "an answer to a stranger").touch()
"""


def environment(token: str | None) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    own = {"RAY_AUTH_MODE": "disabled"} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    return {**clean, **own, "RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_rpc_server_connect_timeout_s": "5"}


def attempt(command: list[str], token: str | None) -> int:
    """The exit code of a command; 124 where it tried for too long. Everything that it started is ended."""
    process = subprocess.Popen(
        command, env=environment(token), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        return 124
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True


def call(host: str, port: int, method: bytes) -> int | None:
    """gRPC's status for a call without a token; None for no answer of gRPC."""
    from disttrain.clusters.ray import tokens

    headers = [b"\x83\x86", tokens._header(b"\x04", method), tokens._header(b"\x01", f"{host}:{port}".encode())]
    headers += [tokens._header(b"\x00", b"content-type", b"application/grpc"), tokens._header(b"\x00", b"te", b"trailers")]
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + tokens._frame(4, 0, 0) + tokens._frame(1, 4, 1, b"".join(headers))
    try:
        with socket.create_connection((host, port), timeout=3) as line:
            line.sendall(data + tokens._frame(0, 1, 1, bytes(5)))
            return tokens._status(line)
    except OSError:
        return None


def litter(host: str, port: int, held: list[socket.socket]) -> None:
    """Garbage of several kinds to a port; some connections are left open without a word."""
    dice = random.Random(port)
    kinds = [
        dice.randbytes(4096),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + dice.randbytes(1000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),
        b"\xff" * 65536,
        *[number.to_bytes(8, "little") for number in range(4)],  # what gloo takes for the number of a peer
    ]
    for kind in kinds:
        try:
            with socket.create_connection((host, port), timeout=3) as line:
                line.sendall(kind)
        except OSError:
            continue
    for _ in range(3):
        try:
            held.append(socket.create_connection((host, port), timeout=3))
        except OSError:
            return


def on_the_store(host: str, port: int) -> dict[str, str]:
    """What came of being a client of the store without the secret: of torch's kind, and of ours."""
    from datetime import timedelta

    import torch.distributed as dist

    from disttrain.collectives.run_store import RunStore
    from disttrain.collectives.store_server import StoreAddress

    tried = {
        "torch": lambda: dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=2)).num_keys(),
        "a guess": lambda: RunStore(StoreAddress(host, port, b"guessed")).num_keys(),
    }
    said = {}
    for name, act in tried.items():
        try:
            said[name] = f"answered {act()}"
        except Exception as error:  # whatever it is, it was refused
            said[name] = f"refused: {type(error).__name__}"
    return said


def main(host: str, gcs_port: int, store_port: int, folder: str, ports: list[int]) -> None:
    said: dict[str, object] = {"connected": sorted(port for port in ports if connects(host, port))}
    if said["connected"]:
        ray = [str(Path(sys.executable).with_name("ray")), "start", f"--address={host}:{gcs_port}", "--num-cpus=1"]
        submit = [sys.executable, "-c", _SUBMIT, f"{host}:{gcs_port}", folder]
        codes: dict[str, int] = {}
        tries = {
            "joins": (ray, None),
            "joins with a token": (ray, "guessed"),
            "submits": (submit, None),
            "submits with a token": (submit, "guessed"),
        }
        threads = [
            threading.Thread(target=lambda name=name, what=what: codes.update({name: attempt(*what)}), name=name)
            for name, what in tries.items()
        ]
        for thread in threads:
            thread.start()
        held: list[socket.socket] = []
        methods = [
            b"/ray.rpc.NodeManagerService/ShutdownRaylet",
            b"/ray.rpc.CoreWorkerService/Exit",
            b"/ray.rpc.NodeInfoGcsService/UnregisterNode",
        ]
        said["calls"] = sorted({str(call(host, port, method)) for port in ports for method in methods})
        said["store"] = on_the_store(host, store_port)
        for port in ports:
            litter(host, port, held)
        for thread in threads:
            thread.join()
        said["codes"] = codes
        for line in held:
            line.close()
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], [int(port) for port in sys.argv[5:]])
