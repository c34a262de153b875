"""Launches with two workers that share the GPU: the bits of one process, and what the loss of one costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from gpu.telling import Teller, mib

_SCRIPT = Path(__file__).with_name("trained.py")
_LIMIT_S = 120.0
_LOOK_S = 0.02


class _Launch:
    """A command under way; what it prints goes into a file."""

    def __init__(self, tell: Teller, name: str, *options: str, steps: int, epochs: int) -> None:
        self.run_dir, self.report = tell.folder / f"run-{name}", tell.folder / f"{name}.json"
        self._log = tell.folder / f"{name}.txt"
        arguments = ["--report", str(self.report), "--steps", str(steps), "--epochs", str(epochs), "--device", tell.device.type]
        command = [sys.executable, str(_SCRIPT), *arguments]
        if options:
            command = [
                sys.executable,
                "-m",
                "disttrain",
                "launch",
                str(_SCRIPT),
                "--run-dir",
                str(self.run_dir),
                *options,
                "--",
                *arguments,
            ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def finished(self) -> dict[str, Any]:
        """Its report, once it has ended."""
        try:
            code = self.process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            raise TimeoutError(f"not done within {_LIMIT_S:g} s: {self.last_words()}") from None
        if code:
            raise RuntimeError(f"ended with exit code {code}: {self.last_words()}")
        found: dict[str, Any] = json.loads(self.report.read_text())
        return found

    def last_words(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").strip().splitlines()[-12:])

    def said(self, words: str) -> str:
        """The first line with these words."""
        return next((line.strip() for line in self._log.read_text(errors="replace").splitlines() if words in line), "nothing")

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.run_dir / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def stepping(self, epoch: int, workers: int) -> dict[str, Any]:
        """The first status in which so many workers are in that epoch or a later one."""
        end = time.monotonic() + _LIMIT_S
        while time.monotonic() < end and self.process.poll() is None:
            now = self.status()
            if now.get("kind") == "fit" and now.get("epoch", 0) >= epoch and len(now.get("workers", [])) == workers:
                return now
            time.sleep(_LOOK_S)
        raise TimeoutError(f"epoch {epoch} with {workers} workers never came: {self.last_words()}")

    def events(self) -> list[dict[str, Any]]:
        files = sorted((self.run_dir / "events").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def shared(tell: Teller) -> None:
    """V=4 in one process, on two workers that share the device, and on two of which one is killed: the same bits."""
    share = ["--device", "cuda", "--gpus-per-worker", "0.5"] if tell.on_gpu else ["--device", "cpu"]
    options = ["--workers", "2", "--virtual-workers", "4", *share, "--checkpoint-every", "1000000steps"]
    steps, epochs = (100, 8) if tell.on_gpu else (12, 6)
    alone = _Launch(tell, "alone", steps=steps, epochs=epochs).finished()
    tell.measured("V=4 in one process", alone["digest"][:16])
    used_before = _used(tell)
    whole = _Launch(tell, "shared", *options, steps=steps, epochs=epochs)
    with tell.trying("two workers that share the device have the bits of one process"):
        _same(tell, "two workers that share the device have the bits of one process", whole.finished(), alone)
    if tell.on_gpu:
        tell.measured("it says", f"{whole.said('training on')}; {whole.said('tensors go')}")
    killed = _Launch(tell, "killed", *options, steps=steps, epochs=epochs)
    with tell.trying("so have two of which one was killed"):
        _kill(tell, killed, used_before)
        _same(tell, "so have two of which one was killed", killed.finished(), alone)
    _timeline(tell, killed)


def _same(tell: Teller, what: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    tell.holds(what, found == expected, found["digest"][:16] + (" and the same history" if found["history"] == expected["history"] else ""))


def _kill(tell: Teller, launch: _Launch, used_before: int) -> None:
    """SIGKILL one of the two, and see its memory go."""
    now = launch.stepping(2, 2)
    used = _used(tell)
    each = (used - used_before) / 2
    began, free = time.perf_counter(), []

    def look() -> None:
        while time.perf_counter() - began < 30.0:
            if used - _used(tell) > 0.7 * each:
                free.append(time.perf_counter() - began)
                return
            time.sleep(0.005)

    looking = threading.Thread(target=look, daemon=True)
    os.kill(now["workers"][1]["pid"], signal.SIGKILL)
    if tell.on_gpu:
        looking.start()
        looking.join()
        tell.measured("memory that a worker holds", mib(each))
        tell.holds("the memory of a killed worker is free within 30 s", bool(free), f"{free[0]:.3f} s" if free else "not seen")


def _timeline(tell: Teller, launch: _Launch) -> None:
    """What the driver did, in seconds since it heard of the loss."""
    events = launch.events()
    lost = next((event for event in events if event["event"] == "worker lost"), None)
    if lost is None:
        tell.holds("the driver heard of the loss", False)
        return
    for event in events:
        if event["event"] == "recovered":
            tell.measured("back to stepping, seconds", event["seconds"])
    later = [
        event for event in events if event["time"] >= lost["time"] and event["event"] in ("worker lost", "formed", "recovered", "joined")
    ]
    tell.measured("since the loss", ", ".join(f"{event['event']} {event['time'] - lost['time']:+.2f}" for event in later[:8]))


def _used(tell: Teller) -> int:
    """Bytes of the GPU that anybody holds."""
    if not tell.on_gpu:
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free
