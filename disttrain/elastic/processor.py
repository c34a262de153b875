"""What a worker computes on, in words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch


def processor(device: torch.device) -> str:
    """The processor's model and the instructions that torch uses on it, such as "AMD EPYC 7R13 Processor, AVX2"; a GPU's name besides."""
    words = f"{_model()}, {torch.backends.cpu.get_cpu_capability()}"
    return f"{torch.cuda.get_device_name(device)}; {words}" if device.type == "cuda" else words


@cache
def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "cpu model", "cpu part")))
    return next(named, "unknown processor")
