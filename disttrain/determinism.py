"""May computations on GPUs give other bits each time? The switch, and what it sets in torch; on CPUs nothing hangs on it.

    dt.set_determinism(False)        # or disttrain launch --no-determinism

It is on unless told otherwise: a step has one result then, which is what recovery, digests and audits rest on. What it is belongs to the
run, and so does how float32 is multiplied (TF32); both travel from the script to the workers, since the script runs in the driver alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from disttrain.errors import UsageError

_asked = True

# Read by cuBLAS and cuDNN as they begin. cuBLAS: workspaces of one size, of which no two streams share one. cuDNN: in MiB; without a limit
# it would choose another algorithm where memory is short, and so other bits.
ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "CUDNN_CONV_WSCAP_DBG": "1024"}


def set_determinism(enabled: bool) -> None:
    """Let training on GPUs be deterministic, as it is by default, or not.

    Operations of which torch has no deterministic version are refused by their name while it is on; of disttrain's own layers there are
    none, see `docs/determinism.md`. Off, some kernels are faster, and a step that is done again may have other last bits: then runs are
    no longer the same whichever workers die, and `--digest-every` and `--audit` compare what need not be equal.

    Args:
        enabled: True or False.
    """
    global _asked
    if not isinstance(enabled, bool):
        raise ValueError(f"set_determinism({enabled!r}): expected True or False.")
    _asked = enabled


@contextmanager
def chosen(enabled: bool) -> Iterator[None]:
    """Without `enabled`, switch it off inside the block."""
    before = _asked
    set_determinism(before and enabled)
    try:
        yield
    finally:
        set_determinism(before)


@dataclass(frozen=True)
class Numerics:
    """What the bits of a computation on GPUs depend on beside its operations.

    Args:
        deterministic: is it to have one result?
        matmul, convolution, recurrent: how torch multiplies float32 in each: "ieee", or "tf32", with 10 bits of a fraction.
    """

    deterministic: bool = True
    matmul: str = "ieee"
    convolution: str = "tf32"
    recurrent: str = "tf32"

    @property
    def tf32(self) -> str:
        """Where numbers lose bits, in words."""
        kinds = {"products of matrices": self.matmul, "convolutions": self.convolution, "recurrent layers": self.recurrent}
        return ", ".join(name for name, precision in kinds.items() if precision == "tf32") or "nowhere"


def numerics() -> Numerics:
    """As this process, which runs the script, has them now."""
    import torch.backends.cudnn  # late: the switch alone needs no torch

    cudnn: Any = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):  # before torch 2.9
        allowed: tuple[bool, ...] = torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.allow_tf32
    else:
        allowed = tuple(kind.fp32_precision == "tf32" for kind in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn))
    return Numerics(_asked, *("tf32" if tf32 else "ieee" for tf32 in allowed))


def settle(device_type: str, wanted: Numerics) -> None:
    """Let this process compute so, if it does on GPUs of NVIDIA."""
    if device_type != "cuda":
        return
    import torch.utils.deterministic  # late: see above

    memory: Any = torch.utils.deterministic
    if wanted.deterministic:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(wanted.deterministic)
    torch.backends.cudnn.deterministic = wanted.deterministic
    if wanted.deterministic:
        torch.backends.cudnn.benchmark = False
    memory.fill_uninitialized_memory = False  # what is read before it is written would be a bug, not luck
    _set_precisions(wanted)


def settle_now(device_type: str) -> None:
    """Let this process compute as its script has it now."""
    if device_type == "cuda":
        settle(device_type, numerics())


def _set_precisions(wanted: Numerics) -> None:
    import torch.backends.cudnn  # late: see above

    have = numerics()
    if have.matmul != wanted.matmul:
        torch.backends.cuda.matmul.allow_tf32 = wanted.matmul == "tf32"
    if (have.convolution, have.recurrent) == (wanted.convolution, wanted.recurrent):
        return
    if wanted.convolution == wanted.recurrent:  # torch's older names, which are refused once the newer ones have said different things
        torch.backends.cudnn.allow_tf32 = wanted.convolution == "tf32"
    else:
        cudnn: Any = torch.backends.cudnn
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = wanted.convolution, wanted.recurrent


def told(error: RuntimeError) -> BaseException:
    """`error`, or what to do about it where torch refuses an operation."""
    if "does not have a deterministic implementation" not in str(error):
        return error
    name = str(error).split(" ", 1)[0]
    return UsageError(
        f"{name} may give other bits each time on a GPU, and this training is to be deterministic.\n"
        "  expected  operations with one result; those of disttrain's own layers, losses and metrics are, see docs/determinism.md\n"
        "  try       another layer or loss in its place; or dt.set_determinism(False), disttrain launch --no-determinism"
    )


@contextmanager
def kept() -> Iterator[None]:
    """Leave torch's settings as they were: the script's own code may want others than its trainings."""
    import torch.utils.deterministic  # late: see above

    if not torch.backends.cuda.is_built():  # then nobody sets any
        yield
        return
    cudnn: Any = torch.backends.cudnn
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = flags
