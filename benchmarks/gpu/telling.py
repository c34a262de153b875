"""How a check, in a process of its own, tells what it finds: a line of JSON for each result, as it comes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import torch

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """One of them. `holds` is None for a measurement, of which nothing was promised."""

    what: str
    found: str
    holds: bool | None = None


class Teller:
    """What a check is given.

    Args:
        answers: where results go.
        device: "cuda", or "cpu" where the checks themselves are tried.
        folder: for files.
    """

    def __init__(self, answers: IO[str], device: str, folder: Path) -> None:
        self._answers = answers
        self.device, self.folder = torch.device(device), folder

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def measured(self, what: str, found: object) -> None:
        """A number or words, of which nothing was promised."""
        self._tell(Result(what, str(found)))

    def holds(self, what: str, holds: bool, found: object = "") -> None:
        """Something that should be so, and whether it is."""
        self._tell(Result(what, str(found), bool(holds)))

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Let what the block raises be a result of its own, that should not be."""
        try:
            yield
        except Exception as error:
            self.holds(what, False, in_words(error))

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long `work` takes, the device's part included."""
        self.synchronize()
        began = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - began

    def _tell(self, result: Result) -> None:
        print(json.dumps(asdict(result)), file=self._answers, flush=True)


def in_words(error: BaseException, length: int = 200) -> str:
    """The kind of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:length]


def use_test_support() -> None:
    """The layers' cases, and what behaves like NCCL, lie beside the tests."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))


def mib(nbytes: float) -> str:
    return f"{nbytes / 2**20:.0f} MiB"
