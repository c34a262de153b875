"""Running `disttrain` as a person does, in a process of its own, and looking at what it leaves."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
EVERYTHING = SCRIPTS / "everything.py"


def heed_ctrl_c() -> None:
    """For `preexec_fn`: what a shell starts with `&` ignores SIGINT, and so would every process that these tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _own_terminal() -> None:
    """For `preexec_fn`, in a session of its own."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@dataclass
class Finished:
    """How a command ended."""

    code: int
    out: str
    report: dict[str, Any] | None


HANGS_AFTER_S = 600.0  # no claim about speed: a busy machine is not a failure


class Launch:
    """A `disttrain launch` under way."""

    def __init__(
        self, folder: Path, script: Path, options: list[str], arguments: list[str], address: str | None, stdout: int | None = None,
        terminal: int | None = None, within: Sequence[str] = (), variables: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.run_dir, self.report_path = folder / "run", folder / "report.json"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "marks").mkdir(exist_ok=True)
        command = [*within, sys.executable, "-m", "disttrain", "launch", str(script), "--run-dir", str(self.run_dir), *options]
        command += ["--address", address] if address else []
        command += ["--", "--report", str(self.report_path), *arguments]
        self.log = folder / "log.txt"
        self._file = self.log.open("ab")
        self.process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal or stdout or self._file, stderr=subprocess.STDOUT, cwd=folder,
            env={**environment(), **(variables or {})},
            start_new_session=terminal is not None, preexec_fn=None if terminal is None else _own_terminal,
        )  # fmt: skip

    def wait(self, limit_s: float = HANGS_AFTER_S) -> Finished:
        """Wait for the end; a run that hangs is killed and fails the test."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            time.sleep(5.0)
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the launch hangs:\n{self.text()}") from None
        finally:
            self._file.close()
        report = json.loads(self.report_path.read_text()) if self.report_path.exists() else None
        return Finished(code, self.text(), report)

    def kill(self) -> None:
        """SIGKILL the driver."""
        self.process.kill()
        self.process.wait()
        self._file.close()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """status.json as it is; {} where there is none yet."""
        try:
            found = json.loads((self.run_dir / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return dict(found)

    def wait_for(self, condition: Any, limit_s: float = HANGS_AFTER_S) -> dict[str, Any]:
        """The first status for which `condition` holds."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            now = self.status()
            try:
                if now and condition(now):
                    return now
            except KeyError:
                pass
            if self.process.poll() is not None:
                raise AssertionError(f"the launch ended with {self.process.returncode} too soon:\n{self.text()}")
            time.sleep(0.05)
        raise AssertionError(f"this never came; last status {self.status()}\n{self.text()}")

    def wait_for_words(self, words: str, limit_s: float = HANGS_AFTER_S) -> None:
        """Until they have been printed."""
        end = time.monotonic() + limit_s
        while words not in self.text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{words!r} never came:\n{self.text()}")
            time.sleep(0.05)

    def commits(self) -> list[str]:
        """The names of the committed checkpoints."""
        folder = self.run_dir / "checkpoints" / "commits"
        return sorted(path.stem for path in folder.iterdir()) if folder.is_dir() else []

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The timeline of every attempt, one kind of event."""
        lines = [line for file in sorted((self.run_dir / "events").glob("*.jsonl")) for line in file.read_text().splitlines()]
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def ended(pid: int) -> bool:
    """Is no such process left, or only its zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def environment() -> dict[str, str]:
    """One thread for maths, whatever the machine; no colours; none of the debugger that Ray sets where these tests have begun one."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONBREAKPOINT"}
    return {**own, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def launch(
    folder: Path, *options: str, script: Path = EVERYTHING, arguments: tuple[str, ...] = (), address: str | None = None,
    stdout: int | None = None, terminal: int | None = None, within: Sequence[str] = (), variables: Mapping[str, str] | None = None,
) -> Launch:  # fmt: skip
    """Start a launch in `folder`; what it prints goes into its log, or to the file descriptor `stdout`.

    Args:
        terminal: a file descriptor of a terminal on which it runs, as what a person starts over ssh.
        within, variables: what stands before the command, and what is added to its environment.
    """
    return Launch(folder, script, list(options), list(arguments), address, stdout, terminal, within, variables)


def python(folder: Path, *arguments: str, script: Path = EVERYTHING) -> dict[str, Any]:
    """Run the script in a plain Python process; its report."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, str(script), "--report", str(report), *arguments], capture_output=True, text=True, cwd=folder, env=environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(report.read_text()))
