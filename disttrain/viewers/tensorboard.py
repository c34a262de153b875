"""Opens TensorBoard on what a run has written: a server of its own in a child process, on this machine only unless told otherwise."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any

from disttrain.checkpoint.trouble import file_system
from disttrain.errors import UsageError
from disttrain.parsing import parsed
from disttrain.viewers.door import Door, listen

_START_TIMEOUT_S = 60.0
_STOP_S = 2.0

# It watches a pipe that closes with whoever opened it, however that one ends.
_PROGRAM = f"""
import os, runpy, signal, threading, time
def watch():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep({_STOP_S})
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
runpy.run_module("tensorboard.main", run_name="__main__", alter_sys=True)
"""


class TensorBoardServer:
    """A TensorBoard that runs. Also a context manager, which stops it.

    Attributes:
        url: where a browser finds it.
        log_dir: what it shows.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log_dir: str) -> None:
        self._process, self.url, self.log_dir = process, url, log_dir
        atexit.register(self.stop)  # a script that does not wait takes it with it

    def wait(self) -> None:
        """Until it ends; Ctrl-C or SIGTERM ends it."""
        try:
            with contextlib.suppress(KeyboardInterrupt):
                self._process.wait()
        finally:
            self.stop()

    def stop(self) -> None:
        """End it, and free the port. A second time does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        atexit.unregister(self.stop)

    def __enter__(self) -> TensorBoardServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<TensorBoard of {self.log_dir} at {self.url}>"


def launch(location: Any, port: int = 6006, host: str = "127.0.0.1", block: bool | None = None) -> TensorBoardServer:
    """Show a run, or any folder with event files, in TensorBoard.

    Args:
        location: a run directory, or a folder that the TensorBoard callback wrote; a path or URL.
        port: 0 takes any that is free.
        host: the address to listen on; other machines reach "0.0.0.0".
        block: return only when it has ended; None: in a script, not in a notebook or at the prompt.

    Returns:
        The server, which has ended if this blocked.

    Raises:
        UsageError: nothing for TensorBoard there, the port is in use, TensorBoard did not start.
    """
    log_dir = log_dir_of(location)
    with listen(host, port) as opened:  # a port in use is told by name before anything starts
        port = int(opened.getsockname()[1])
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-c", _PROGRAM, "--logdir", log_dir, "--host", host, "--port", str(port)]
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.PIPE, start_new_session=True)
        server = TensorBoardServer(process, Door(host, port).url, log_dir)
        try:
            _until_it_answers(process, server.url, port, said)
        except BaseException:
            server.stop()
            raise
    interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive) or hasattr(builtins, "__IPYTHON__")
    blocks = not interactive if block is None else block
    try:
        print(f"TensorBoard: {server.url} shows {log_dir}{'  (Ctrl-C stops it)' if blocks else ''}", flush=True)
        if blocks:
            server.wait()
    except KeyboardInterrupt:
        server.stop()
    return server


def log_dir_of(location: Any) -> str:
    """The folder with the event files of a run: its own, the newest that one of its attempts named, or the location itself.

    Raises:
        UsageError: there is none.
    """
    url: str = os.fspath(location).rstrip("/") or "/"
    files, path = file_system(url)
    if not files.exists(path):
        raise UsageError(f"{url} does not exist.\n  expected  a run directory, or a folder that the TensorBoard callback wrote")
    own = f"{url}/tensorboard"
    if files.isdir(f"{path}/tensorboard") and _has_events(own):
        return own
    named = _named_by_attempts(files, path)
    for found in ([named] if named else []) + [url]:
        if _has_events(found):
            return found
    hint = f"\n  found     a run that wrote to {named}, which is not there any more" if named else ""
    raise UsageError(
        f"{url} holds nothing for TensorBoard.{hint}\n  try       callbacks=[disttrain.callbacks.TensorBoard()] in fit, then run it again"
    )


def _named_by_attempts(files: Any, path: str) -> str | None:
    if not files.isdir(f"{path}/events"):
        return None
    for name in sorted(files.ls(f"{path}/events", detail=False), reverse=True):
        if not name.endswith(".jsonl"):
            continue
        for line in reversed(files.cat_file(name).decode(errors="replace").splitlines()):
            try:
                entry = parsed(line)
            except ValueError:  # cut short with its driver, or damaged
                continue
            if isinstance(entry, dict) and entry.get("event") == "tensorboard" and entry.get("log_dir"):
                return str(entry["log_dir"])
    return None


def _has_events(url: str) -> bool:
    files, path = file_system(url)
    if not files.exists(path):
        return False
    return any("tfevents" in name.rsplit("/", 1)[-1] for _, _, names in files.walk(path) for name in names)


def _until_it_answers(process: subprocess.Popen[bytes], url: str, port: int, said: Any) -> None:
    host = url.removeprefix("http://").rsplit(":", 1)[0].strip("[]")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((host, port), 1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    said.seek(0)
    words = said.read().decode(errors="replace").strip().splitlines()[-5:]
    raise UsageError("TensorBoard did not start.\n  found     " + "\n            ".join(words or ["no answer, and no word why"]))
