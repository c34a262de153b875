"""Kernels that processors of different makes have in common, so that a mixed group gets the same bits. Loads no torch."""

from __future__ import annotations

import os
import sys

from disttrain.errors import UsageError

KERNELS = ("own", "common")

# All three together: ATen's and oneDNN's instructions capped where every x86-64 server of the last ten years has them, and MKL told to
# compute the same on Intel and AMD. One of them alone leaves some processors apart.
COMMON = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def environment(kernels: str) -> dict[str, str]:
    """What the processes that compute need in their environment, before they load torch."""
    return dict(COMMON) if kernels == "common" else {}


def settle(kernels: str) -> None:
    """Let this process, and those that it starts, use them.

    Raises:
        UsageError: torch is loaded already, with other ones.
    """
    wanted = environment(kernels)
    missing = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    if missing and "torch" in sys.modules:
        words = " ".join(f"{name}={value}" for name, value in wanted.items())
        raise UsageError(
            "kernels='common' comes too late: this process has loaded torch with its own.\n"
            f"  expected  the environment {words} before Python starts\n"
            f"  try       disttrain launch --kernels common; or {words} python ..."
        )
    os.environ.update(missing)
